"""Measure how far a generator's clock is ahead of the coordinator's, and the largest error of that figure.

A generator notes its clock, asks the coordinator for the time, and notes its clock again. The coordinator's answer
was given somewhere between the two. So the middle of them is wrong by half of the round trip at most, whatever the
network did on the way there and back.

    A generator asks at 1,000 and has the answer at 1,010 of its clock; the coordinator says 405. The generator is
    ahead by 600, give or take 5.

It asks in bursts for as long as the load lasts, because clocks drift. Of each burst the fastest exchange counts.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from statistics import median_low

import msgspec


class Exchange(msgspec.Struct, frozen=True, kw_only=True):
    """One question and its answer, in nanoseconds."""

    sent_ns: int
    """The time of the question, by the generator's clock."""
    told_ns: int
    """The time that the coordinator's clock showed."""
    back_ns: int
    """The time of the answer, by the generator's clock."""

    @property
    def ahead_ns(self) -> int:
        """The time by which the generator's clock is ahead."""
        return (self.sent_ns + self.back_ns) // 2 - self.told_ns

    @property
    def error_ns(self) -> int:
        """The largest possible error of that time."""
        return (self.back_ns - self.sent_ns + 1) // 2


class Clock(msgspec.Struct, frozen=True, kw_only=True):
    """A generator's clock, beside the coordinator's."""

    ahead_ns: int = 0
    error_ns: int = 0
    """`ahead_ns` was wrong by no more at any burst."""


def measured(bursts: Iterable[Sequence[Exchange]]) -> Clock:
    """The clock of a generator that asked in these bursts.

    Raises:
        ValueError: Nothing was answered.
    """
    fastest = [min(burst, key=lambda one: one.error_ns) for burst in bursts if burst]
    if not fastest:
        raise ValueError("the generator's clock was never compared with the coordinator's")
    ahead_ns = median_low(one.ahead_ns for one in fastest)
    return Clock(
        ahead_ns=ahead_ns, error_ns=max(abs(one.ahead_ns - ahead_ns) + one.error_ns for one in fastest)
    )


def tolerance_ms(clocks: Iterable[Clock]) -> float:
    """Return the largest error in the time between two calls of different generators."""
    worst = sorted((one.error_ns for one in clocks), reverse=True)
    return sum(worst[:2]) / 1e6 if len(worst) > 1 else 0.0
