"""Pace: starts that are meant, whoever comes for them."""

import pytest

from kernel_lab.load.generator.pace import PATIENCE_NS, Pace

MS = 1_000_000


class Clock:
    def __init__(self) -> None:
        self.now = 0

    def __call__(self) -> int:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


def pace(
    clock: Clock, *, rate_per_s: float = 0.0, phase: float = 0.0, end_ns: int | None = 1000 * MS
) -> Pace:
    return Pace(
        begin_ns=0, counted_ns=200 * MS, end_ns=end_ns, rate_per_s=rate_per_s, phase=phase, clock=clock
    )


def test_a_closed_loop_means_now(clock):
    loop = pace(clock)
    clock.now = 300 * MS
    assert loop.next_start() == 300 * MS
    clock.now = 999 * MS
    assert loop.next_start() == 999 * MS


def test_nothing_starts_before_the_slot_begins(clock):
    clock.now = -5 * MS
    assert pace(clock).next_start() == 0


@pytest.mark.parametrize("rate_per_s", [0.0, 100.0])
def test_nothing_starts_once_the_slot_is_over(clock, rate_per_s):
    clock.now = 1000 * MS
    assert pace(clock, rate_per_s=rate_per_s).next_start() is None


def test_a_constant_rate_is_fixed_beforehand(clock):
    steady = pace(clock, rate_per_s=100)
    assert [steady.next_start() for _ in range(3)] == [0, 10 * MS, 20 * MS]


def test_a_late_caller_is_given_the_start_that_was_meant_not_now(clock):
    steady = pace(clock, rate_per_s=100)
    clock.now = 700 * MS
    assert steady.next_start() == 0


def test_two_processes_take_turns(clock):
    starts = [pace(clock, rate_per_s=50, phase=phase).next_start() for phase in (0.0, 0.5)]
    assert starts == [0, 10 * MS]


def test_a_start_that_nobody_took_in_time_is_dropped_and_counted(clock):
    steady = pace(clock, rate_per_s=100, end_ns=3000 * MS)
    clock.now = PATIENCE_NS + 505 * MS
    assert steady.next_start() == 510 * MS
    clock.now = 3000 * MS
    assert steady.next_start() is None
    assert (steady.offered, steady.started, steady.dropped) == (280, 1, 279)


def test_what_is_offered_leaves_the_warm_up_out(clock):
    steady = pace(clock, rate_per_s=100)
    while steady.next_start() is not None:
        pass
    assert (steady.offered, steady.dropped) == (80, 0)


def test_a_closed_loop_drops_nothing(clock):
    loop = pace(clock)
    for clock.now in (100 * MS, 300 * MS, 500 * MS):
        loop.next_start()
    assert (loop.offered, loop.dropped) == (2, 0)
