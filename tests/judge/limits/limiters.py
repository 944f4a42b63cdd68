"""Limiters as a textbook has them, right and wrong, on a clock that the test turns.

Written apart from `kernel_lab.judge.limits`, so that they can be an oracle for it. Each answers with what it
may say: (True,) to admit, (False,) to deny, or both where libraries differ.
"""

from dataclasses import dataclass
from fractions import Fraction


@dataclass(frozen=True)
class FixedClock:
    limit: int
    window: int
    phase: int = 0
    burst: int = 0
    kind = "fixed_window_clock"

    def start(self):
        return (None, 0)

    def ask(self, state, now):
        number = (now - self.phase) // self.window
        count = state[1] if state[0] == number else 0
        return (True,) if count < self.limit else (False,)

    def admit(self, state, now):
        number = (now - self.phase) // self.window
        return (number, state[1] + 1 if state[0] == number else 1)


@dataclass(frozen=True)
class FixedFirstHit:
    limit: int
    window: int
    phase: int = 0
    burst: int = 0
    kind = "fixed_window_first_hit"

    def start(self):
        return (None, 0)

    def _open(self, state, now):
        return state[0] is not None and now < state[0] + self.window

    def ask(self, state, now):
        return (not self._open(state, now) or state[1] < self.limit,)

    def admit(self, state, now):
        return (state[0], state[1] + 1) if self._open(state, now) else (now, 1)


@dataclass(frozen=True)
class Bucket:
    limit: int
    window: int
    phase: int = 0
    burst: int = 0
    kind = "token_bucket"

    def start(self):
        return (Fraction(self.burst or self.limit), None)

    def _tokens(self, state, now):
        if state[1] is None:
            return state[0]
        return min(
            Fraction(self.burst or self.limit),
            state[0] + Fraction((now - state[1]) * self.limit, self.window),
        )

    def ask(self, state, now):
        return (self._tokens(state, now) >= 1,)

    def admit(self, state, now):
        return (self._tokens(state, now) - 1, now)


@dataclass(frozen=True)
class Counter:
    """`rounds` down before it compares, or not, or either (None)."""

    limit: int
    window: int
    phase: int = 0
    burst: int = 0
    rounds: bool | None = None
    kind = "sliding_counter_clock"

    def start(self):
        return (None, 0, 0)

    def at(self, state, now):
        number = (now - self.phase) // self.window
        if state[0] == number:
            return state
        return (number, state[2] if state[0] == number - 1 else 0, 0)

    def _end(self, state):
        return self.phase + (state[0] + 1) * self.window

    def ask(self, state, now):
        shifted = self.at(state, now)
        estimate = Fraction(shifted[1] * (self._end(shifted) - now), self.window) + shifted[2]
        down, plain = estimate < self.limit, estimate + 1 <= self.limit
        if self.rounds is None:
            return tuple({down, plain})
        return (down if self.rounds else plain,)

    def admit(self, state, now):
        number, before, count = self.at(state, now)
        return (number, before, count + 1)


@dataclass(frozen=True)
class CounterFirstHit(Counter):
    """Windows from the first hit; whatever is asked within a window keeps them going."""

    kind = "sliding_counter_first_hit"

    def start(self):
        return (None, None, 0, 0)

    def at(self, state, now):
        begin, number, _, count = state
        if begin is None:
            return state
        here = (now - begin) // self.window
        if here == number:
            return state
        return (begin, here, count, 0) if here == number + 1 else (None, None, 0, 0)

    def ask(self, state, now):
        begin, number, before, count = self.at(state, now)
        if begin is None:
            return (True,)
        estimate = Fraction(before * (begin + (number + 1) * self.window - now), self.window) + count
        down, plain = estimate < self.limit, estimate + 1 <= self.limit
        return tuple({down, plain}) if self.rounds is None else (down if self.rounds else plain,)

    def admit(self, state, now):
        begin, number, before, count = self.at(state, now)
        return (now, 0, 0, 1) if begin is None else (begin, number, before, count + 1)


RIGHT = {limiter.kind: limiter for limiter in (FixedClock, FixedFirstHit, Bucket, Counter, CounterFirstHit)}


class Running:
    """A right limiter that is asked in turn, by name of the key's owner and of the worker."""

    def __init__(self, right):
        self.right = right
        self.state = right.start()

    def hit(self, now, worker=0, number=0):
        admits = self.right.ask(self.state, now)[0]
        if admits:
            self.state = self.right.admit(self.state, now)
        elif hasattr(self.right, "at"):  # a denial shifts the windows too
            self.state = self.right.at(self.state, now)
        return admits


class PerWorker(Running):
    """Every worker counts for itself."""

    def __init__(self, right):
        super().__init__(right)
        self.own = {}

    def hit(self, now, worker=0, number=0):
        return self.own.setdefault(worker, Running(self.right)).hit(now)


class LosesUpdates(Running):
    """Forgets to count one admission in three."""

    def hit(self, now, worker=0, number=0):
        before = self.state
        admits = super().hit(now)
        if number % 3 == 0:
            self.state = before
        return admits


class FailsOpen(Running):
    """Takes an error of the store, one call in five, for permission."""

    def hit(self, now, worker=0, number=0):
        return super().hit(now) or number % 5 == 0


class FailsShut(Running):
    """Takes an error of the store, one call in three, for a full window."""

    def hit(self, now, worker=0, number=0):
        return super().hit(now) and number % 3 != 0


class Restarted(Running):
    """Loses what it counted, again and again."""

    def hit(self, now, worker=0, number=0):
        if number % 40 == 39:
            self.state = self.right.start()
        return super().hit(now)


class OneWorkerIgnoresTheStore(PerWorker):
    """One worker of four counts for itself, the others share."""

    def hit(self, now, worker=0, number=0):
        return super().hit(now, worker=int(worker == 0))


class OneWorkerAhead(Running):
    """The clock of one worker of four is most of a window ahead."""

    def hit(self, now, worker=0, number=0):
        return super().hit(now + (worker == 0) * self.right.window * 8 // 10)


class ChecksThenRecords(Running):
    """Sees the counts as they were four calls ago."""

    def __init__(self, right):
        super().__init__(right)
        self.past = []

    def hit(self, now, worker=0, number=0):
        self.past = [*self.past, self.state][-4:]
        admits = self.right.ask(self.past[0], now)[0]
        if admits:
            self.state = self.right.admit(self.state, now)
        return admits


class SharesItsKey(Running):
    """Counts somebody else's calls as well: one for each of the caller's."""

    def hit(self, now, worker=0, number=0):
        super().hit(now)
        return super().hit(now)


def wrong(right):
    """Limiters that do not keep the promise of `right`, by name."""
    of = type(right)
    limit, window, phase = right.limit, right.window, right.phase
    return {
        "one more": lambda: Running(of(limit + 1, window, phase)),
        "one fewer": lambda: Running(of(limit - 1, window, phase)),
        "half the window": lambda: Running(of(limit, window // 2, phase)),
        "twice the window": lambda: Running(of(limit, window * 2, phase)),
        "a window per worker": lambda: PerWorker(right),
        "one worker ignores the store": lambda: OneWorkerIgnoresTheStore(right),
        "one worker's clock is ahead": lambda: OneWorkerAhead(right),
        "loses updates": lambda: LosesUpdates(right),
        "fails open": lambda: FailsOpen(right),
        "fails shut": lambda: FailsShut(right),
        "restarts": lambda: Restarted(right),
        "checks, then records": lambda: ChecksThenRecords(right),
        "shares its key": lambda: SharesItsKey(right),
    }
