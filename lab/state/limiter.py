"""A rate limiter that several processes share: what every store's limiter has in common."""

from __future__ import annotations

from abc import ABC, abstractmethod


class SharedLimiter(ABC):
    """A window log with upstream's meaning, reserved and recorded in one atomic step.

    At an instant `now` of the store's clock, an admission at `t` counts while ``t > now - window_seconds``
    (strictly newer). One more is admitted if fewer than `limit` count, or if none does (upstream's limiter
    never refuses into an empty window, not even at limit 0). Only admissions are recorded. A key is always asked about
    with the same window, so admissions that have left the window may be forgotten at once. If the clock is set back,
    admissions that now lie in its future count as made now. The limiter then refuses too much, for one window at most.

    Upstream makes two calls, ``check(key, limit, window)`` and, if that allows the grant, ``record(key)``. Between the
    two, another process can be allowed as well. Here `check` is `acquire`: it counts the admission before it answers,
    and `record` does nothing. This is right for the only caller there is, a policy engine that records at once what it
    was allowed. It has a price: a check without its record has used up one admission all the same, so the limiter
    refuses too much. And a caller must not use `check` only to look; `peek` is for that.
    """

    @abstractmethod
    def acquire(self, key: str, limit: int, window_seconds: float) -> bool:
        """Count one admission if the window has room; True if it was counted.

        Raises:
            StateUnavailable: When the store could not be asked. A slot may have been taken.
        """

    @abstractmethod
    def peek(self, key: str, limit: int, window_seconds: float) -> bool:
        """Whether `acquire` would have said yes just now. Takes nothing and promises nothing."""

    def check(self, key: str, limit: int, window_seconds: float) -> bool:
        """`acquire`, under upstream's name."""
        return self.acquire(key, limit, window_seconds)

    def record(self, key: str) -> None:  # noqa: B027 - there is nothing left to do
        """Nothing: `check` has already counted."""
