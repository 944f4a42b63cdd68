"""The rate limiter of several processes: the part that is the same for every store."""

from __future__ import annotations

from abc import ABC, abstractmethod


class SharedLimiter(ABC):
    """A window log with upstream's meaning. One atomic step tests the limit and records the admission.

    At an instant `now` of the store's clock, an admission at `t` counts while ``t > now - window_seconds``
    (strictly newer). One more is admitted if fewer than `limit` count, or if none does (upstream's limiter
    never refuses into an empty window, not even at limit 0). Only admissions are recorded. A key is always asked about
    with the same window, so admissions that have left the window may be forgotten at once. If the clock is set back,
    admissions that now lie in its future count as made now. The limiter then refuses too much, for one window at most.

    Upstream makes two calls, ``check(key, limit, window)`` and, if that allows the grant, ``record(key)``. Between
    the two, another process can be allowed as well. Here `check` is `acquire`: it counts the admission before it
    answers, and `record` does nothing. This is right for the only caller there is, a policy engine that records every
    admission at once. It has a price: a check without its record has used up one admission all the same, so the
    limiter refuses too much. A caller that only wants to look must use `peek` and not `check`.
    """

    @abstractmethod
    def acquire(self, key: str, limit: int, window_seconds: float) -> bool:
        """Count one admission if the window has room. Return True if it was counted.

        Raises:
            StateUnavailable: The store could not be asked. An admission may have been counted.
        """

    @abstractmethod
    def peek(self, key: str, limit: int, window_seconds: float) -> bool:
        """Return whether `acquire` would succeed at present. Nothing is counted, and nothing is promised."""

    def check(self, key: str, limit: int, window_seconds: float) -> bool:
        """Call `acquire`; this is upstream's name for it."""
        return self.acquire(key, limit, window_seconds)

    def record(self, key: str) -> None:  # noqa: B027 - there is nothing left to do
        """Do nothing, because `check` has already counted the admission."""
