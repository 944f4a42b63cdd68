"""What a fault did, told from one history."""

from __future__ import annotations

import json

import pytest

from kernel_lab.faults.liveness import Probed
from kernel_lab.judge.history import read_history
from kernel_lab.judge.verdict import Anomaly, Validity, Verdict
from kernel_lab.run.effect import Effect, effect
from kernel_lab.run.timeline import Timeline

MS = 10**6


def line(index, f, call_ms, return_ms, outcome="ok", **more):
    asked = {"invoke": {"token_id": "t", "principal": "p", "capability": "c"}, "revoke": {"token_id": "t"}}
    return {
        "index": index, "client": f"c{index}", "f": f, "input": asked.get(f), "output": more.get("output"),
        "outcome": outcome, "call_ns": call_ms * MS, "return_ns": return_ms and return_ms * MS,
        "worker": None, "connection": None, "error": more.get("error"),
    }  # fmt: skip


FAULT = line(0, "fault.kill_store", 1000, 1010, output={"landed": True, "evidence": "it has ended"})
SERVED = {"action_id": "a", "handle_id": "h"}


@pytest.fixture
def told(tmp_path):
    def of(*lines, validity=Validity.VALID, kinds=(), expected=Validity.VALID, **beside):
        path = tmp_path / "history.jsonl"
        path.write_text("".join(json.dumps(one) + "\n" for one in lines))
        anomalies = tuple(Anomaly(kind=kind, message=kind, operations=(0,)) for kind in kinds)
        verdict = Verdict(claim="revocation", validity=validity, anomalies=anomalies)
        return effect(read_history(path), verdict, expected, **beside)

    return of


def test_a_claim_that_held_while_nothing_failed(told):
    found = told(FAULT, line(1, "invoke", 1020, 1030, output=SERVED))
    assert (found.mode, found.failed_requests, found.unavailable_ms) == ("none", 0, 0.0)
    assert found.recovered_ms is None
    assert found.landed == "it has ended"


def test_a_claim_that_held_while_requests_failed_was_closed_until_one_was_answered(told):
    found = told(
        FAULT,
        line(1, "invoke", 1020, 1030, "info", error="state_unavailable"),
        line(2, "invoke", 1100, 1250, "info", error="state_unavailable"),
        line(3, "invoke", 1300, 1310, output=SERVED),
    )
    assert (found.mode, found.failed_requests) == ("closed", 2)
    assert found.unavailable_ms == pytest.approx(290)
    assert found.recovered_ms == pytest.approx(310)


def test_what_never_came_back_has_no_time_of_recovery(told):
    found = told(FAULT, line(1, "invoke", 1020, 1030, "info", error="state_unavailable"))
    assert found.recovered_ms is None
    assert (found.failed_requests, found.requests) == (1, 1)


@pytest.mark.parametrize(
    ("expected", "mode", "lost"), [(Validity.VALID, "open", 1), (Validity.INVALID, "times_n", None)]
)
def test_a_broken_claim_is_open_unless_it_is_broken_without_the_fault(told, expected, mode, lost):
    found = told(FAULT, validity=Validity.INVALID, kinds=("leak", "phantom"), expected=expected)
    assert (found.mode, found.lost_acknowledged) == (mode, lost)


def test_a_revoke_that_failed_for_the_client_and_was_in_force_was_carried_out(told):
    found = told(
        FAULT,
        line(1, "revoke", 1020, None, "info", error="ReadError"),
        line(2, "invoke", 1100, 1110, "fail", error="token_revoked"),
    )
    assert found.carried_out_unacknowledged == 1


def test_an_unknown_verdict_has_no_mode(told):
    found = told(FAULT, validity=Validity.UNKNOWN)
    assert (found.mode, found.lost_acknowledged) == ("", None)


def test_without_a_fault_or_a_verdict_nothing_is_told(told, tmp_path):
    assert told(line(1, "invoke", 1, 2, output=SERVED)) == Effect()


def test_a_fault_that_did_not_land_has_no_figures(told):
    missed = line(0, "fault.kill_store", 1000, 1010, "fail", error="it did not land")
    assert told(missed, line(1, "invoke", 1020, 1030, output=SERVED), validity=Validity.UNKNOWN) == Effect()


@pytest.mark.parametrize(
    ("kinds", "mode"), [(("rejected",), "closed"), (("rejected", "forged"), "open"), (("leak",), "open")]
)
def test_a_good_token_that_was_refused_is_not_open_and_is_told(told, kinds, mode):
    found = told(FAULT, validity=Validity.INVALID, kinds=kinds)
    assert (found.mode, found.broke) == (mode, " ".join(kinds))


def test_an_invoke_that_failed_for_the_client_and_ran_was_carried_out(told):
    lines = (
        FAULT,
        line(1, "invoke", 1020, 1030, output=SERVED),
        line(2, "invoke", 1040, None, "info", error="state_unavailable"),
        line(3, "invoke", 1060, None, "info", error="state_unavailable"),
    )
    assert told(*lines, executions={"p": 2, "somebody else": 9}).carried_out_unacknowledged == 1
    assert told(*lines, executions={}).carried_out_unacknowledged == 0
    assert told(*lines).carried_out_unacknowledged is None


def test_what_a_liveness_probe_found_is_told_and_nothing_where_none_was_asked(told):
    probed = Probed()
    for answered in (True, False, False, True, False, False, False, False):
        probed.note("r0", answered=answered)
    found = told(FAULT, line(1, "invoke", 1020, 1030, output=SERVED), probed=probed)
    assert (found.liveness_asked, found.liveness_failed, found.liveness_restarts) == (8, 6, 1)
    assert (found.requests, found.failed_requests) == (1, 0)
    assert told(FAULT, line(1, "invoke", 1020, 1030, output=SERVED)).liveness_restarts is None


def test_a_timeline_counts_from_the_begin_of_the_fault(tmp_path):
    path = tmp_path / "history.jsonl"
    lines = (
        line(1, "invoke", 900, 910, output=SERVED),
        FAULT,
        line(2, "invoke", 1300, None, "info", error="state_unavailable"),
        line(3, "invoke", 1310, 1330, "fail", error="token_revoked"),
        line(4, "fault.kill_store", 2000, 2010, output={"ended": True}) | {"input": {"ended": True}},
        line(5, "invoke", 99_000, 99_001, output=SERVED),
    )
    path.write_text("".join(json.dumps(one) + "\n" for one in lines))
    timeline = Timeline()
    timeline.add(read_history(path))
    bins = timeline.bins
    assert (bins[-1].ok, bins[-1].latencies_ms, bins[-1].in_force) == (1, [10.0], False)
    assert (bins[1].failed, bins[1].refused, bins[1].latencies_ms) == (1, 1, [20.0])
    assert [number for number, one in sorted(bins.items()) if one.in_force] == [0, 1, 2, 3, 4]
    assert max(bins) == 4
