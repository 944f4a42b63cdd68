"""capabilities: imported once, there everywhere from then on, and not before."""

import random
from functools import partial
from itertools import product

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
}
ILLEGAL = {
    "not found after the import": ([imported(0, 2), unfound(3, 4)], "not_found"),
    "its token not invoked": (
        [imported(0, 2), grant(3, 4), invoke(5, 6, error="capability_not_found")],
        "not_found",
    ),
    "not found after it was served": ([imported(0), grant(1, 2), unfound(3, 4)], "not_found"),
    "not found though another import was told": ([exists(0, 1), unfound(2, 3)], "not_found"),
    "served before anybody imported it": ([grant(0, 1), imported(2, 3), grant(4, 5)], "phantom_capability"),
}


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
    """Try every instant of every import; the first of them is X."""
    imports = [op for op in operations if isinstance(op, ImportCapability) and op.outcome is not Outcome.FAIL]
    spans = [
        [*range(op.call_ns, op.return_ns + 1)] if op.outcome is Outcome.OK else [*range(op.call_ns, 16), None]
        for op in imports
    ]
    return any(
        _fits(operations, min((t for t in instants if t is not None), default=None))
        for instants in product(*spans)
    )


def _fits(operations, since):
    for op in operations:
        there = op.outcome is Outcome.OK or op.error == "capability_exists"
        if isinstance(op, ImportCapability) and op.outcome is not Outcome.FAIL:
            continue
        if there and (since is None or op.return_ns < since):
            return False
        if op.error == "capability_not_found" and since is not None and op.call_ns > since:
            return False
    return True


def test_it_agrees_with_trying_everything():
    rng = random.Random(11)
    seen = {True: 0, False: 0}
    for _ in range(ORACLE * 2):
        operations = []
        for _ in range(rng.randint(1, 3)):
            call = rng.randint(0, 8)
            operations.append(imported(call, None if rng.random() < 0.3 else call + rng.randint(0, 4)))
        since = rng.randint(1, 8)
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
