"""findings: counted all, kept a few, the smallest of the gravest told."""

import pytest
from sketch import audit, cell, grant, history, invoke, revoke

from kernel_lab.judge.checkers import finding, revocation, traces
from kernel_lab.judge.checkers.finding import Findings
from kernel_lab.judge.checkers.story import lasting, short, tell
from kernel_lab.judge.verdict import Validity


def test_all_are_counted_and_the_first_are_kept():
    found = Findings()
    for number in range(100):
        found.add("leak", [], lambda n: f"leak {n}", number)
    found.add("phantom", [], lambda: "phantom")
    assert (found.counts["leak"], found.counts["phantom"]) == (100, 1)
    assert [f.message for f in found.kept["leak"]] == [f"leak {n}" for n in range(finding.KEPT)]


def test_a_verdict_counts_what_it_does_not_name():
    leaks = [op for n in range(50) for op in (revoke(0, 1, token=f"t{n}"), invoke(2, 3, token=f"t{n}"))]
    verdict = revocation.check(history(*leaks), cell("revocation"))
    assert verdict.measures["anomalies"] == 50
    assert len(verdict.anomalies) == finding.KEPT


def test_the_gravest_kind_is_told():
    operations = [invoke(0, 1, error="token_revoked", token="u"), grant(0, 1), revoke(2, 3), invoke(4, 5)]
    verdict = revocation.check(history(*operations), cell("revocation"))
    assert {anomaly.kind for anomaly in verdict.anomalies} == {"leak", "phantom"}
    assert [line["f"] for line in verdict.counterexample] == ["revoke", "invoke"]


@pytest.mark.parametrize(("limit", "told"), [(2, 0), (9, 3)])
def test_what_nobody_can_read_is_left_out_and_said_so(monkeypatch, limit, told):
    monkeypatch.setattr(finding, "TOLD", limit)
    operations = [*(invoke(0, 1, action=f"a{n}") for n in range(9)), audit(2, 3, records=1)]
    verdict = traces.check(history(*operations), cell("traces"))
    assert verdict.validity is Validity.INVALID
    assert (len(verdict.counterexample), len(verdict.story)) == (told, told)
    assert verdict.reason == ("" if told else "the smallest counter-example found has 3 operations")


def test_a_story_is_timed_from_its_first_call():
    story = tell(
        history(grant(1_000_000, 3_500_000, worker="r0/4711/ab12"), invoke(2_000_000, tampered=True))
    )
    assert story == (
        "+0.0 ms  c0 @r0/4711  grant c to p → ok: token t (returned +2.5 ms)",
        "+1.0 ms  c0 @r0/1  tampered invoke token t → info (no return)",
    )


def test_names_and_durations_are_short():
    assert short("0123456789abcdef") == "01234567…"
    assert short("token-7") == "token-7"
    assert [lasting(ns) for ns in (5, 1_500, 2e6, 1.84e9)] == ["5 ns", "1.5 µs", "2 ms", "1.84 s"]
