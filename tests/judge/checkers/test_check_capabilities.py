"""capabilities: imported once, there everywhere from then on, and not before."""

import random
from functools import partial

import pytest
from sketch import ORACLE, cell, grant, history, imported, invoke, kinds

from kernel_lab.judge.checkers import capabilities
from kernel_lab.judge.history import ImportCapability, Outcome
from kernel_lab.judge.verdict import Validity

unfound = partial(grant, error="capability_not_found")
exists = partial(imported, error="capability_exists")


def judged(*operations):
    return capabilities.check(history(*operations), cell("capabilities"))


LEGAL = {
    "served after the import": [imported(0, 2), grant(3, 4), invoke(5, 6)],
    "not found while it was imported": [imported(0, 2), unfound(2, 3), grant(4, 5)],
    "not found before": [unfound(0, 1), imported(2, 3), grant(4, 5)],
    "refused by policy": [imported(0, 2), grant(3, 4, error="missing_role"), grant(5, 6)],
    "another capability": [imported(0, 2), unfound(3, 4, of="d"), grant(5, 6)],
    "an import without an answer may be late": [imported(0), unfound(5, 6), grant(7, 8), grant(9, 10)],
    "there all along": [exists(0, 1), grant(2, 3)],
    "there all along, and imported again": [grant(0, 1), exists(2, 3), imported(4), grant(5, 6)],
    "served while it was imported": [imported(0, 9), grant(1, 2), grant(10, 11)],
    "an import without an answer, of what may have been there": [grant(2, 3), imported(6), grant(8, 9)],
    "told that it exists while it is imported": [imported(0, 5), exists(4, 6), grant(7, 8)],
    "not found, then put there by an import without an answer": [
        unfound(0, 1), imported(2), exists(3, 4), grant(5, 6),
    ],
}  # fmt: skip
ILLEGAL = {
    "not found after the import": ([imported(0, 2), unfound(3, 4)], "not_found"),
    "its token not invoked": (
        [imported(0, 2), grant(3, 4), invoke(5, 6, error="capability_not_found")],
        "not_found",
    ),
    "not found after it was served": ([imported(0), grant(1, 2), unfound(3, 4)], "not_found"),
    "not found though another import was told": ([exists(0, 1), unfound(2, 3)], "not_found"),
    "served before anybody imported it": ([grant(0, 1), imported(2, 3), grant(4, 5)], "phantom_capability"),
    "told that it exists before it was imported": (
        [exists(0, 1), imported(2, 3), grant(4, 5)], "phantom_capability",
    ),
    "not found, then there, and nobody imported it": (
        [unfound(0, 1), exists(2, 3), grant(4, 5)], "phantom_capability",
    ),
    "not found, then invoked with arguments, and nobody imported it": (
        [unfound(0, 1), exists(2, 3), invoke(4, 5, args={"id": 1})], "phantom_capability",
    ),
    "there, before the only import that may have put it there": (
        [unfound(0, 1), grant(2, 3), imported(4)], "phantom_capability",
    ),
    "imported twice": ([imported(0, 1), imported(2, 3), grant(4, 5)], "doubled_import"),
    "imported twice at once": ([imported(0, 5), imported(2, 3), grant(6, 7)], "doubled_import"),
}  # fmt: skip


@pytest.mark.parametrize("name", LEGAL)
def test_it_is_legal(name):
    verdict = judged(*LEGAL[name])
    assert verdict.validity is Validity.VALID, verdict


@pytest.mark.parametrize("name", ILLEGAL)
def test_it_is_illegal(name):
    operations, kind = ILLEGAL[name]
    verdict = judged(*operations)
    assert kind in kinds(verdict)
    assert verdict.validity is Validity.INVALID
    assert len(verdict.counterexample) <= 3


def test_the_share_that_was_not_found():
    verdict = judged(imported(0, 1), grant(2, 3), unfound(2, 3), unfound(0, 5), grant(6, 7, error="x"))
    assert (verdict.measures["uses"], verdict.measures["not_found_rate"]) == (2, 0.5)


def test_nothing_was_used():
    assert "nothing to judge" in judged(imported(0, 1), grant(2, 3, of="d")).reason


def legal(operations):
    """Try every instant at which it can have been put there: before the history, never, or by an import."""
    imports = [op for op in operations if isinstance(op, ImportCapability)]
    ok = [op for op in imports if op.outcome is Outcome.OK]
    unknown = [op for op in imports if op.outcome is Outcome.INFO]
    if ok:
        return len(ok) == 1 and any(_fits(operations, t) for t in range(ok[0].call_ns, ok[0].return_ns + 1))
    late = {t for op in unknown for t in range(op.call_ns, HORIZON)}
    return any(_fits(operations, since) for since in [-1, *late, HORIZON])


HORIZON = 20


def _fits(operations, since):
    for op in operations:
        if op.error == "capability_not_found" and op.call_ns > since:
            return False
        there = op.error == "capability_exists" or (op.outcome is Outcome.OK and op.f != "import_capability")
        if there and op.return_ns < since:
            return False
    return True


def test_it_agrees_with_trying_everything():
    rng = random.Random(11)
    seen = {True: 0, False: 0}
    for _ in range(ORACLE * 2):
        operations = []
        for _ in range(rng.choice([1, 1, 1, 2, 3])):
            call = rng.randint(0, 8)
            how = rng.choice([imported, imported, exists, None])
            operations.append(imported(call) if how is None else how(call, call + rng.randint(0, 4)))
        since = rng.randint(-1, 8)
        for _ in range(rng.randint(1, 4)):
            call = rng.randint(0, 10)
            ret = call + rng.randint(0, 3)
            there = rng.randint(call, ret) >= since
            operations.append(grant(call, ret, error=None if there else "capability_not_found"))
        verdict = judged(*operations)
        wanted = legal(operations)
        assert (verdict.validity is not Validity.INVALID) == wanted, (operations, verdict)
        seen[wanted] += 1
    assert min(seen.values()) > ORACLE // 10
