"""Token bucket, or GCRA: a bucket of B tokens refills with L tokens in each W; an admission takes one token.

The bucket is full before the first call. It refills steadily, so a token comes every T = W / L. An admission
needs one whole token; a denial is right only while the bucket holds less than one.

    L = 2, W = 10, B = 2: admissions at 0, 0, 5, 10 are right, a token comes every 5. Admissions at 0, 0, 4
    are not. A denial at 3 after two admissions at 0 is right; one at 6 is not.

The generic cell rate algorithm (GCRA) and a leaky bucket used as a meter admit and deny the same calls: the
theoretical arrival time is the instant at which the bucket would be full again.

**How it is judged.** Let s be the last instant at which the bucket was full, just before an admission, and m
the number of admissions from s on. The bucket is full again at ``s + m T`` and holds one whole token from ``s
+ (m - B + 1) T`` on. So an admission at t is right

- at ``t >= s + m T``: the bucket was full, and t is the new s;
- or at ``s + (m - B + 1) T <= t <= s + m T``: m grows by one;

and a denial is right at ``t < s + (m - B + 1) T``. All bounds are relative to one anchor, s, so `search`
decides them exactly. A bound that falls between two nanoseconds is rounded to the one that lies within
the bound.

**Exact** for a bucket that refills steadily. One that refills in lumps (L tokens at each full window)
promises something else: a fixed window. Where a limiter's clock is coarse, ``tolerance_ms`` is needed.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from kernel_lab.judge.limits.search import State
from kernel_lab.judge.limits.zone import ANY_ANCHOR


@dataclass(frozen=True, slots=True)
class TokenBucket:
    """A bucket that refills steadily."""

    limit: int
    window_ns: int
    burst: int
    """Tokens of a full bucket."""

    fewer_is_easier = True
    denials_count = False

    def start(self) -> State:
        """The bucket is full: no token has been taken since it was full last."""
        return State((0,), ANY_ANCHOR)

    def admit(self, state: State, call: int, end: int) -> Iterator[State]:
        """Take a token while the bucket refills, or from a full bucket."""
        (taken,), zone = state
        if taken:
            first = max(0, self._after(taken - self.burst + 1))
            after = zone.within(call, end, first, taken * self.window_ns // self.limit)
            if after is not None:
                yield State((taken + 1,), after)
        after = zone.anchored(call, end, self._after(taken))
        if after is not None:
            yield State((1,), after)

    def deny(self, state: State, call: int, end: int) -> Iterator[State]:
        """Put the denial at an instant at which the bucket holds less than one token."""
        (taken,), zone = state
        if taken >= self.burst:
            after = zone.within(call, end, 0, self._after(taken - self.burst + 1) - 1)
            if after is not None:
                yield State((taken,), after)

    def _after(self, tokens: int) -> int:
        """The first whole nanosecond at which this many tokens have come since the anchor."""
        return -(-tokens * self.window_ns // self.limit)

    def within_any(self) -> int:
        """The most admissions that may lie within less than one window's length."""
        return self.burst + self.limit

    def promise(self, lasting: str) -> str:
        """Return the promise in words that follow "where"."""
        return f"a bucket of {self.burst} that refills with {self.limit} in {lasting} is promised"
