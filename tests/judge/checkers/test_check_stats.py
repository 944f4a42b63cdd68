"""stats: every worker reports the deployment's numbers, or no instants agree with what they report."""

import random
from itertools import product

import pytest
from sketch import ORACLE, cell, expand, grant, history, invoke, kinds, stats

from kernel_lab.judge.checkers import stats as checker
from kernel_lab.judge.history import Invoke, Outcome, Stats
from kernel_lab.judge.verdict import Validity


def judged(*operations, **baseline):
    return checker.check(history(*operations), cell("stats", baseline=baseline))


LEGAL = {
    "counted": [grant(0, 2), stats(3, 4, grants=1)],
    "counted meanwhile, or not yet": [grant(0, 2), stats(2, 4, grants=0), stats(1, 5, grants=1)],
    "an info counts": [grant(0), stats(3, 4, grants=1)],
    "an info does not count": [grant(0), stats(3, 4, grants=0)],
    "an info counts late": [grant(0), stats(3, 4, grants=0), stats(5, 6, grants=1)],
    "a refused grant does not count": [grant(0, 2, error="missing_role"), stats(3, 4, grants=0)],
    "a dry run does not count": [invoke(0, 2, dry_run=True), stats(3, 4, invocations=0)],
    "on top of what had been before": [stats(0, 1, grants=7), grant(2, 3), stats(4, 5, grants=8)],
    "each counter by itself": [
        grant(0, 1), invoke(2, 3), expand(4, 5), expand(4, 5),
        stats(6, 7, grants=1, invocations=1, expansions=2),
    ],
    "a stream that its caller closed counts late, or not": [
        invoke(2, 2, stream=True, closed=True, final=False), stats(3, 4, invocations=0),
        stats(5, 6, invocations=1),
    ],
    "before anybody looked": [grant(0, 1), stats(2, 3, grants=9)],
}  # fmt: skip
ILLEGAL = {
    "less than the deployment did": ([grant(0, 1), grant(0, 1), stats(2, 3, grants=1)], "undercount", 3),
    "less, on top of what had been": (
        [stats(0, 1, grants=7), grant(2, 3), stats(4, 5, grants=7)], "undercount", 3,
    ),
    "more than was done": ([stats(0, 1, grants=7), grant(2, 3), stats(4, 5, grants=9)], "overcount", 2),
    "one worker's number and another's": (
        [stats(0, 1, grants=7), stats(2, 3, grants=4, worker="b")], "went_back", 2,
    ),
    "long ones that only together do not fit": (
        [grant(0, 50), stats(5, 30, grants=0), stats(5, 30, grants=5)], "disagree", 3,
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", LEGAL)
def test_it_is_legal(name):
    verdict = judged(*LEGAL[name])
    assert verdict.validity is Validity.VALID, verdict


@pytest.mark.parametrize("name", ILLEGAL)
def test_it_is_illegal(name):
    operations, kind, size = ILLEGAL[name]
    verdict = judged(*operations)
    assert verdict.validity is Validity.INVALID
    assert kind in kinds(verdict)
    assert len(verdict.counterexample) <= size


def test_a_stated_baseline_is_gone_by():
    operations = [grant(0, 1), stats(2, 3, grants=8)]
    assert judged(*operations, grants=7).validity is Validity.VALID
    assert kinds(judged(*operations, grants=6)) == {"overcount"}
    assert kinds(judged(*operations, grants=8)) == {"undercount"}


def test_the_smallest_undercount_is_told():
    verdict = judged(
        *(grant(t, t + 1) for t in range(0, 40, 2)),
        stats(50, 51, grants=9, worker="a"),
        stats(50, 51, grants=1, worker="b"),
    )
    assert [line["f"] for line in verdict.counterexample] == ["grant", "grant", "stats"]
    assert verdict.measures["undercounts"] == 2
    assert (verdict.measures["grants_reported_min"], verdict.measures["grants_reported_max"]) == (1, 9)
    assert verdict.measures["grants_certain"] == 20


def test_nothing_was_reported():
    assert "nothing to judge" in judged(grant(0, 1)).reason


def test_too_many_baselines_are_unknown(monkeypatch):
    monkeypatch.setattr(checker, "SEARCH", 0)
    verdict = judged(grant(0), stats(2, 3, grants=9))
    assert verdict.validity is Validity.UNKNOWN
    assert "before the traffic" in verdict.reason


def test_a_report_without_numbers_is_a_malformed_line():
    assert "grants" in checker.lacks(stats(0, 1))
    assert checker.lacks(stats(0, 1, expansions=0)) is None


def legal(operations):
    """Try every baseline, every instant of what is counted, and look for one of each report."""
    counted = [op for op in operations if not isinstance(op, Stats)]
    reports = [op for op in operations if isinstance(op, Stats)]
    spans = [
        [*range(op.call_ns, 14), None]
        if op.outcome is Outcome.INFO or (isinstance(op, Invoke) and op.output.closed)
        else [*range(op.call_ns, op.return_ns + 1)]
        for op in counted
    ]
    return any(
        all(_agrees(op, [t for t in instants if t is not None], baseline) for op in reports)
        for baseline in range(6)
        for instants in product(*spans)
    )


def _agrees(op, instants, baseline):
    told = op.output.grants if op.output.invocations is None else op.output.invocations
    seen = told - baseline
    return any(
        sum(t < now for t in instants) <= seen <= sum(t <= now for t in instants)
        for now in range(op.call_ns, op.return_ns + 1)
    )


def random_history(rng):
    """Of grants, or of streams, some of which their caller closed: those count late, or not."""
    operations, baseline = [], rng.choice([0, 0, 2])
    streams = rng.random() < 0.5
    instants = []
    for _ in range(rng.randint(1, 4)):
        call = rng.randint(0, 8)
        ret = None if rng.random() < 0.2 else call + rng.choice([0, 1, 2, 4])
        closed = streams and ret is not None and rng.random() < 0.3
        operations.append(
            invoke(call, ret, stream=True, closed=closed, final=not closed) if streams else grant(call, ret)
        )
        instants.append(rng.randint(call, call + 3 if ret is None or closed else ret))
    for _ in range(rng.randint(1, 3)):
        call = rng.randint(0, 10)
        ret = call + rng.choice([0, 1, 2, 6])
        now = rng.randint(call, ret)
        value = baseline + sum(t <= now for t in instants) + rng.choice([-1, 0, 0, 0, 0, 1])
        operations.append(stats(call, ret, **{"invocations" if streams else "grants": max(0, value)}))
    return operations


def test_it_agrees_with_trying_everything():
    rng = random.Random(12)
    seen = {True: 0, False: 0}
    for _ in range(ORACLE):
        operations = random_history(rng)
        verdict = judged(*operations)
        wanted = legal(operations)
        assert (verdict.validity is not Validity.INVALID) == wanted, (operations, verdict)
        seen[wanted] += 1
    assert min(seen.values()) > ORACLE // 10
