"""Zones: the instants at which the calls so far can have taken effect, relative to one anchor.

Every limiter of this package counts time from one instant, its *anchor*: the start of the open window, the
last moment at which a bucket was full, or a boundary of the clock. A zone says which anchors are possible,
and how early the latest effect can have been for each of them.

A zone ``(lo, hi, now, lag)`` stands for the anchors ``s`` in ``[lo, hi]``. For each of them the earliest
instant of the latest effect is ``max(now, s + lag)``.

**Why four numbers are enough.** Let a call with the interval ``[call, end]`` have to take effect at an
instant ``t`` with ``s + first <= t <= s + last``. For a fixed ``s`` the earliest such ``t`` is the best
choice: every later condition bounds an instant from above, or from below by the anchor or by a later call.
The earliest is ``max(now, call, s + max(lag, first))``, which has the form of a zone again. It must be at
most ``end`` and at most ``s + last``, which gives four conditions: ``max(now, call) <= end``, ``max(lag,
first) <= last``, ``s <= end - max(lag, first)`` and ``s >= max(now, call) - last``. So the anchors that
remain are an interval again. Nothing is lost and nothing is added.

    Anchors [0, 5], nothing before. A call [3, 4] that must take effect from s + 2 until s + 10: the anchors
    are [0, 2], and the earliest instant is max(3, s + 2).

Instants are whole nanoseconds; all arithmetic is on integers, so nothing is rounded.
"""

from __future__ import annotations

from typing import NamedTuple

from kernel_lab.judge.operation import FOREVER


class Zone(NamedTuple):
    """Possible anchors, and the earliest instant of the latest effect for each. See the module."""

    lo: int
    hi: int
    now: int = -FOREVER
    lag: int = -FOREVER

    def within(self, call: int, end: int, first: int, last: int) -> Zone | None:
        """The zone after an effect in ``[call, end]`` and ``[anchor + first, anchor + last]``.

        None where no instant is in both.
        """
        now, lag = max(self.now, call), max(self.lag, first)
        lo, hi = max(self.lo, now - last), min(self.hi, end - lag)
        if now > end or lag > last or lo > hi:
            return None
        return Zone(lo, hi, now, lag)

    def anchored(self, call: int, end: int, first: int) -> Zone | None:
        """The zone after an effect in ``[call, end]``, from ``anchor + first`` on, that is the new anchor.

        The earliest old anchor allows the most: every new one from its earliest instant to `end` can be had.
        """
        lo = max(self.now, call, self.lo + max(self.lag, first))
        return Zone(lo, end, lo, 0) if lo <= end else None

    def covers(self, other: Zone) -> bool:
        """Whether every call that can follow the other zone can follow this zone too."""
        return self.lo <= other.lo and self.hi >= other.hi and self.now <= other.now and self.lag <= other.lag

    @property
    def earliest(self) -> int:
        """No later effect can lie before this instant."""
        return max(self.now, self.lo + self.lag)


ANY_ANCHOR = Zone(-FOREVER, FOREVER)
"""The zone before anything has happened: the first effect will be the anchor."""
