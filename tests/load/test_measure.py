"""What one slot came to, from the lines of its histories."""

import json

import pytest

from kernel_lab.judge.operation import Outcome
from kernel_lab.load.measure import Line, Traffic, read_slot, traffic
from kernel_lab.load.plan import Slot

S = 1_000_000_000


def line(intended_s: float, return_s: float | None, f: str = "invoke", **more) -> Line:
    outcome = more.pop("outcome", Outcome.OK if return_s is not None else Outcome.INFO)
    return Line(
        f=f,
        outcome=outcome,
        intended_ns=int(intended_s * S),
        return_ns=None if return_s is None else int(return_s * S),
        **more,
    )


def test_the_warm_up_does_not_count():
    found = traffic([line(0.5, 0.6), line(1.5, 1.6)], counted_ns=S, end_ns=2 * S)
    assert (found.answered, found.outcomes.total()) == (1, 1)


def test_throughput_counts_answers_and_latency_counts_starts():
    """One begins in the warm-up and is answered later, one is answered after the end: each counts once."""
    found = traffic([line(0.9, 1.4), line(1.9, 2.4)], counted_ns=S, end_ns=2 * S)
    assert found.answered == 1
    assert found.latencies_ms == {"invoke": [pytest.approx(500)]}


def test_latency_is_from_the_start_that_was_meant():
    found = traffic([line(1.0, 1.75)], counted_ns=S, end_ns=2 * S)
    assert found.latencies_ms["invoke"] == [pytest.approx(750)]


def test_an_info_has_no_latency_and_is_an_error():
    found = traffic([line(1.1, None), line(1.2, 1.3)], counted_ns=S, end_ns=2 * S)
    assert found.share(Outcome.INFO) == 0.5
    assert len(found.latencies_ms["invoke"]) == 1


def test_a_refusal_is_an_answer():
    found = traffic([line(1.1, 1.2, outcome=Outcome.FAIL)], counted_ns=S, end_ns=2 * S)
    assert (found.answered, found.share(Outcome.FAIL)) == (1, 1.0)


def test_anomalies_are_counted_by_name():
    found = traffic([line(1.1, 1.2, anomaly="leak")] * 2, counted_ns=S, end_ns=2 * S)
    assert found.anomalies == {"leak": 2}


def test_rounds_add_up():
    pool = Traffic()
    for _ in range(2):
        pool.add(traffic([line(1.1, 1.2), line(1.3, 1.4, f="grant")], counted_ns=S, end_ns=2 * S))
    assert (pool.per_s, pool.outcomes.total()) == (2.0, 4)
    assert {f: len(found) for f, found in pool.latencies_ms.items()} == {"invoke": 2, "grant": 2}


def test_nothing_measured_is_no_rate_and_no_share():
    assert (Traffic().per_s, Traffic().share(Outcome.OK)) == (0.0, None)


def test_a_slot_is_read_from_all_its_processes(tmp_path):
    slot = Slot(name="a", subject="s", base_url="", mix="grant", counted_s=1.0, end_s=2.0)
    for process in range(2):
        recorded = {"f": "grant", "outcome": "ok", "intended_ns": 6 * S + process, "return_ns": 6 * S + 5}
        (tmp_path / f"a.g{process}.jsonl").write_text(
            json.dumps(recorded | {"client": "c", "index": 0}) + "\n"
        )
        (tmp_path / f"paces-{process}.json").write_text(json.dumps({"a": {"offered": 3, "dropped": 2}}))
    (tmp_path / "a-other.g0.jsonl").write_text("")
    found = read_slot(tmp_path, slot, start_ns=5 * S)
    assert (found.answered, found.offered, found.dropped) == (2, 6, 4)
