"""Convergence is measured on live deployments: an injected delay must lie inside of every bracket."""

import itertools
import os
from pathlib import Path

import msgspec
import pytest
from effort import effort

from kernel_lab.convergence.measure import STALENESS_MS, Case, lags, measure, planned
from kernel_lab.convergence.table import OF_A_REFUSAL
from kernel_lab.convergence.watch import EDGE_S, pause_s
from kernel_lab.deployments import StackUnavailable
from kernel_lab.judge.lag import End
from kernel_lab.run import registry

HERE = Path(__file__).parent
RUNS = effort(3, 6, "CONVERGENCE_RUNS")
"""20 in the full sequence."""
SLOW = pytest.mark.slow
DELAYS_MS = (pytest.param(20, marks=SLOW), 250, *([2000] if RUNS >= 20 else []))


@pytest.mark.live
@pytest.mark.counted
@pytest.mark.parametrize("delay_ms", DELAYS_MS)
async def test_an_injected_delay_lies_inside_of_the_bracket_of_every_run(tmp_path, delay_ms):
    shared = msgspec.structs.replace(registry.deployments()["memory-4"], shares=("revocations",))
    instants = tmp_path / "instants"
    instants.mkdir()
    env = {
        "LAB_KERNEL": "late_kernel:late", "LAB_TELL": "settings", "LATE_MS": str(delay_ms),
        "LATE_DIR": str(instants),
        "PYTHONPATH": os.pathsep.join([str(HERE), os.environ.get("PYTHONPATH", "")]),
    }  # fmt: skip
    row = await measure(Case(deployment=shared), tmp_path, revocations=RUNS, env=env)
    brackets = lags(tmp_path / "convergence" / "memory-4" / "history.jsonl")
    print(f"{delay_ms} ms: {[(one.lower_ns / 1e6, one.upper_ns / 1e6) for one in brackets]}, {row}")
    assert len(brackets) == RUNS
    for one in brackets:
        assert one.end is End.REFUSAL
        # on a busy machine the first look can come later than 20 ms: then no accept is seen
        assert one.lower_ns / 1e6 <= delay_ms <= one.upper_ns / 1e6
        assert one.lower_ns > 0 or delay_ms == 20
    assert row["width_p50_ms"] > 0


@pytest.mark.live
@pytest.mark.parametrize(
    ("name", "end"),
    [
        pytest.param("memory-2", End.EXPIRY, marks=SLOW),
        pytest.param("replicas", End.EXPIRY, marks=SLOW),
        pytest.param("redis-cached", End.REFUSAL, marks=SLOW),
    ],
)
async def test_every_end_is_seen_by_refusal_or_by_expiry(tmp_path, name, end):
    case = next(planned({name: registry.deployments()[name]}))
    try:
        row = await measure(case, tmp_path, revocations=4)
    except StackUnavailable as error:
        pytest.skip(str(error))
    if row.get("reason"):
        pytest.skip(row["reason"])
    assert (row["revocations"], row["not_seen"], row["end"]) == (4, 0, end)
    if end is End.EXPIRY:
        assert {row[name] for name in OF_A_REFUSAL} == {None}
    else:
        assert row["p50_ms"] <= row["p99_ms"] <= row["max_ms"]
    assert row["p99_high_ms"] is None  # four say nothing of a 99th percentile
    assert (row["expired"] == 4) is (end is End.EXPIRY)


def test_a_delayed_call_at_an_expiry_costs_its_delay_and_not_the_life_of_the_token():
    left_s, asked = 2.0, []
    while left_s > EDGE_S:
        left_s -= pause_s(left_s)
        asked.append(left_s)
    # each call is followed by another after at most as much again: whichever is the last, it was not long before
    assert asked[0] == 1.0
    assert asked[-1] == pytest.approx(EDGE_S)
    assert all(later >= before / 2 - 1e-9 for before, later in itertools.pairwise(asked))
    assert len(asked) < 10


def test_a_deployment_that_states_its_staleness_is_measured_at_each():
    known = registry.deployments()
    cases = list(planned({name: known[name] for name in ("redis", "redis-cached")}))
    assert [case.max_stale_ms for case in cases] == [None, *STALENESS_MS]
    assert [case.deployment.stale.get("max_stale_ms") for case in cases] == [None, *STALENESS_MS]
    assert len({case.name for case in cases}) == len(cases)
