"""A rate limiter that several processes share: what every store's limiter has in common."""

from __future__ import annotations

from abc import ABC, abstractmethod


class SharedLimiter(ABC):
    """A window log with upstream's meaning, reserved and recorded in one atomic step.

    At an instant `now` of the store's clock, an admission at `t` counts while ``t > now - window_seconds``
    (strictly newer). One more is admitted if fewer than `limit` count, or if none does (upstream's limiter
    never refuses into an empty window, not even at limit 0). Only admissions are recorded. A key is always
    asked about with the same window: what has left the window may be forgotten at once. Should the clock be
    set back, admissions that now lie in its future were made now at the latest: the limiter errs towards
    refusing, for one window at most.

    Upstream asks in two calls, ``check(key, limit, window)`` and, if it said yes, ``record(key)``; between
    the two another process can be told yes as well. Here `check` is `acquire`: it has already counted when it
    answers, and `record` does nothing. That keeps the sum right for the only caller there is, a policy engine
    that records at once what it was allowed. What it costs: a check that is not followed by its record has
    taken a slot all the same (the store errs towards refusing), and nobody may ask `check` just to look;
    `peek` looks.
    """

    @abstractmethod
    def acquire(self, key: str, limit: int, window_seconds: float) -> bool:
        """Take a slot if there is one; True when it was taken.

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
