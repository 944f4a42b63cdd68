"""A breaker closes when its probe succeeds, in whatever way the probes before it failed."""

import time

import pytest

from lab.state.breaker import Breaker
from lab.state.seam import StateUnavailable


@pytest.mark.parametrize(
    "failure", [StateUnavailable("no answer"), ValueError("no version"), KeyError("role")]
)
def test_a_probe_that_fails_in_any_way_is_repeated(failure: Exception) -> None:
    failures = [failure, failure]

    def probe() -> None:
        if failures:
            raise failures.pop()

    breaker = Breaker(probe)
    breaker.trip("the store is away")
    with pytest.raises(StateUnavailable, match="the store is away; not asked again yet"):
        breaker.check()
    deadline = time.monotonic() + 30
    while breaker.open and time.monotonic() < deadline:
        time.sleep(0.02)
    assert not failures
    assert not breaker.open
