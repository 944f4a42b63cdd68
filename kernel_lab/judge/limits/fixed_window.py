"""Fixed windows: at most L admissions in each window of W, and none denied while the open window has room.

Two kinds differ in where a window begins.

**Aligned to the clock** (``fixed_window_clock``): windows begin at all multiples of W on the limiter's clock,
or at a fixed distance from them. Two limits may meet at a boundary: 2 L admissions within less than W are
right.

    L = 2, W = 10, windows begin at 0, 10, 20: admissions at 8, 9, 10, 11 are right; 1, 2, 3 are not.

Where nobody knows at which instants the windows begin, any distance from the multiples may be the true one,
the same for the whole history of a key. The zone's anchor is that distance, so all distances are searched at
once.

**From the first hit** (``fixed_window_first_hit``): an admission that finds no open window opens one, which
lasts for W from that instant. The next window opens with the first admission after its end.

    L = 2, W = 10: admissions at 0, 9, 10, 11 are right: windows open at 0 and at 10. Admissions at 8, 9, 11
    are not: the window that opened at 8 is open until 18.

**Exact.** Both are decided by `search`: the verdict is that of trying every order and every instant. A window
is full when it holds L admissions; a denial must fall into a full window. What cannot be seen: a wrong count
in a window that was never full.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from kernel_lab.judge.limits.search import State
from kernel_lab.judge.limits.zone import ANY_ANCHOR, Zone


@dataclass(frozen=True, slots=True)
class FixedWindowClock:
    """Windows that begin at fixed instants of a clock."""

    limit: int
    window_ns: int
    boundary_ns: int | None = None
    """An instant at which a window begins, on the history's clock; None where that is not known."""

    fewer_is_easier = True
    denials_count = False

    def start(self) -> State:
        """No window is open: its number is 0 and it holds nothing."""
        if self.boundary_ns is None:
            return State((None, 0), Zone(0, self.window_ns - 1))
        return State((None, 0), Zone(self.boundary_ns, self.boundary_ns))

    def admit(self, state: State, call: int, end: int) -> Iterator[State]:
        """Put the admission into the open window while it has room, or into a later window."""
        (number, count), zone = state
        window_ns = self.window_ns
        soonest = (max(call, zone.now) - zone.hi) // window_ns
        if number is not None and number > soonest:
            soonest = number
        for k in range(soonest, (end - zone.lo) // window_ns + 1):
            taken = count if k == number else 0
            if taken < self.limit:
                after = zone.within(call, end, k * window_ns, (k + 1) * window_ns - 1)
                if after is not None:
                    yield State((k, taken + 1), after)

    def deny(self, state: State, call: int, end: int) -> Iterator[State]:
        """In the open window, if it is full."""
        (number, count), zone = state
        if count == self.limit:
            after = zone.within(call, end, number * self.window_ns, (number + 1) * self.window_ns - 1)
            if after is not None:
                yield State((number, count), after)

    def within_any(self) -> int:
        """The most admissions that may lie within less than one window's length."""
        return 2 * self.limit

    def promise(self, lasting: str) -> str:
        """Return the promise in words that follow "where"."""
        return f"{self.limit} in each window of {lasting} on the clock are promised"


@dataclass(frozen=True, slots=True)
class FixedWindowFirstHit:
    """Windows that begin with the first admission after the last window."""

    limit: int
    window_ns: int

    fewer_is_easier = False
    denials_count = False
    """Without its first admission a window would have begun later, and might have held too many."""

    def start(self) -> State:
        """No window is open."""
        return State((0,), ANY_ANCHOR)

    def admit(self, state: State, call: int, end: int) -> Iterator[State]:
        """Put the admission into the open window while it has room, or open a new window once the old one is over."""
        (count,), zone = state
        if 0 < count < self.limit:
            after = zone.within(call, end, 0, self.window_ns - 1)
            if after is not None:
                yield State((count + 1,), after)
        after = zone.anchored(call, end, self.window_ns)
        if after is not None:
            yield State((1,), after)

    def deny(self, state: State, call: int, end: int) -> Iterator[State]:
        """In the open window, if it is full."""
        (count,), zone = state
        if count == self.limit:
            after = zone.within(call, end, 0, self.window_ns - 1)
            if after is not None:
                yield State((count,), after)

    def within_any(self) -> int:
        """The most admissions that may lie within less than one window's length."""
        return 2 * self.limit

    def promise(self, lasting: str) -> str:
        """Return the promise in words that follow "where"."""
        return f"{self.limit} in each window of {lasting} from its first hit are promised"
