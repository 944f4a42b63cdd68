"""Sliding window counter: two fixed windows, of which the earlier counts as far as it overlaps.

At an instant t in window k, with p admissions in window k - 1 and c so far in window k, the limiter takes
``p (end of k - t) / W + c`` for the number of admissions in the last W. It approximates a sliding window as
if the earlier admissions had been spread evenly.

Libraries round differently. Some admit while the estimate, rounded down, is below L; others while one more
would not exceed L. **So this checker is sound rather than exact:** an admission is right where the estimate
is below L, and a denial is right where the estimate is above L - 1. A limiter of either kind is never
accused, and one that is off by less than one admission is not caught. For that envelope the verdict is exact.

    L = 4, W = 10, windows begin at 0 and 10. Four admissions at 1: the estimate at 12 is 4 * 8 / 10 = 3.2. An
    admission at 12 is right (3.2 < 4), and so is a denial (3.2 > 3). At 10 the estimate is 4: an admission is
    wrong. At 18 it is 0.8: a denial is wrong.

Two kinds differ in where windows begin. ``sliding_counter_clock``: at all multiples of W on the limiter's
clock, or at a fixed distance from them, which may be unknown. ``sliding_counter_first_hit``: at the first
admission, and from then on every W, until nothing was asked for a whole window; the next admission begins anew.
A denial asks too, so it can keep windows going. (``limits`` does the first in memory and the second on Redis.)

The anchor of the search is the beginning of a window. Between two calls the estimate only falls until the next window
begins, so an admission bounds its instant from below and a denial from above, both relative to the anchor.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from kernel_lab.judge.limits.search import State
from kernel_lab.judge.limits.zone import ANY_ANCHOR, Zone


@dataclass(frozen=True, slots=True)
class SlidingCounter:
    """Two windows and an estimate. A state holds a window's number, the count before it, and its own."""

    limit: int
    window_ns: int
    boundary_ns: int | None = None
    """An instant at which a window begins, on the history's clock; None where that is not known."""
    first_hit: bool = False
    """Windows begin at the first admission."""

    @property
    def fewer_is_easier(self) -> bool:
        """Fewer admissions lower every estimate, unless they move the windows."""
        return not self.first_hit

    @property
    def denials_count(self) -> bool:
        """A denial keeps windows going that began with the first hit."""
        return self.first_hit

    def start(self) -> State:
        """Nothing has been counted."""
        if self.first_hit:
            return State((None, 0, 0), ANY_ANCHOR)
        if self.boundary_ns is None:
            return State((None, 0, 0), Zone(0, self.window_ns - 1))
        return State((None, 0, 0), Zone(self.boundary_ns, self.boundary_ns))

    def admit(self, state: State, call: int, end: int) -> Iterator[State]:
        """Put the admission at the first instant of a window at which the estimate is below the limit."""
        window_ns, limit = self.window_ns, self.limit
        for k, earlier, current in self._windows(state, call, end):
            if current >= limit:
                continue
            first = k * window_ns
            if earlier:
                # earlier * (end of k - t) < (limit - current) * W
                first = max(first, first + window_ns + (current - limit) * window_ns // earlier + 1)
            after = state.zone.within(call, end, first, (k + 1) * window_ns - 1)
            if after is not None:
                yield State((k, earlier, current + 1), after)
        if self.first_hit:
            number = state.counts[0]
            after = state.zone.anchored(call, end, 0 if number is None else (number + 2) * window_ns)
            if after is not None:
                yield State((0, 0, 1), after)

    def deny(self, state: State, call: int, end: int) -> Iterator[State]:
        """Put the denial before the estimate of a window falls to the limit less one."""
        window_ns = self.window_ns
        for k, earlier, current in self._windows(state, call, end):
            last = (k + 1) * window_ns - 1
            spare = self.limit - 1 - current
            if spare >= 0:
                if not earlier:
                    continue
                # earlier * (end of k - t) > spare * W
                last = min(last, (k + 1) * window_ns - spare * window_ns // earlier - 1)
            after = state.zone.within(call, end, k * window_ns, last)
            if after is not None:
                yield State((k, earlier, current), after)

    def _windows(self, state: State, call: int, end: int) -> Iterator[tuple[int, int, int]]:
        """Each window that an effect in ``[call, end]`` can lie in, and the two counts in force there."""
        (number, earlier, current), zone = state
        if self.first_hit:
            if number is not None:
                yield number, earlier, current
                yield number + 1, current, 0
            return
        soonest = (max(call, zone.now) - zone.hi) // self.window_ns
        if number is not None and number > soonest:
            soonest = number
        for k in range(soonest, (end - zone.lo) // self.window_ns + 1):
            if number is None or k > number + 1:
                yield k, 0, 0
            elif k == number:
                yield k, earlier, current
            else:
                yield k, current, 0

    def within_any(self) -> int:
        """The most admissions that may lie within less than one window's length."""
        return 2 * self.limit

    def promise(self, lasting: str) -> str:
        """Return the promise in words that follow "where"."""
        begins = "its first hit" if self.first_hit else "the clock"
        return f"about {self.limit} in {lasting} are promised, estimated from two windows aligned to {begins}"
