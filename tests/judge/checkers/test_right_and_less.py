"""No right run is accused; and whatever is forgotten of a history, a verdict gets no worse."""

import random

import msgspec
import pytest
from right import MIX, play
from sketch import RIGHT

from kernel_lab.judge.checkers import CHECKERS
from kernel_lab.judge.history import Invoke, Outcome
from kernel_lab.judge.verdict import Validity


def less(rng, history):
    """The same history, with less known of some operations: outcomes, instants, workers."""
    return [_less(rng, op) for op in history]


def _less(rng, op):
    known = {}
    if rng.random() < 0.1:
        known["worker"] = None
    if rng.random() < 0.15:
        known["call_ns"] = op.call_ns - rng.choice([0, 1, 5, 50])
        known["return_ns"] = None if op.return_ns is None else op.return_ns + rng.choice([0, 1, 5, 50])
    if rng.random() < 0.1 and op.outcome is not Outcome.INFO:
        came = op.output if isinstance(op, Invoke) and op.input.stream else None
        known |= {"outcome": Outcome.INFO, "return_ns": None, "error": None, "output": came}
    return msgspec.structs.replace(op, **known)


def spoil(rng, history):
    """Two answers are exchanged, here and there: a deployment that is wrong. Names stay unique."""
    spoilt = list(history)
    for _ in range(rng.randint(0, 2)):
        one, other = rng.sample(range(len(spoilt)), 2)
        a, b = spoilt[one], spoilt[other]
        if a.f == b.f and Outcome.INFO not in (a.outcome, b.outcome):
            spoilt[one] = msgspec.structs.replace(a, outcome=b.outcome, error=b.error, output=b.output)
            spoilt[other] = msgspec.structs.replace(b, outcome=a.outcome, error=a.error, output=a.output)
    return spoilt


def test_every_claim_is_played():
    assert set(MIX) == set(CHECKERS)


@pytest.mark.parametrize("claim", CHECKERS)
def test_a_right_run_is_not_accused(claim):
    judged = 0
    for seed in range(RIGHT):
        history, cell = play(seed, claim)
        verdict = CHECKERS[claim].check(history, cell)
        assert verdict.validity is not Validity.INVALID, (seed, verdict)
        judged += verdict.validity is Validity.VALID
    assert judged > RIGHT // 2


@pytest.mark.parametrize("claim", CHECKERS)
def test_less_information_makes_no_verdict_worse(claim):
    rng = random.Random(17)
    wrong = 0
    for seed in range(RIGHT):
        history, cell = play(seed, claim, calls=rng.choice([8, 20, 60]))
        if len(history) > 2:
            history = spoil(rng, history)
        before = CHECKERS[claim].check(history, cell)
        if before.validity is Validity.INVALID:
            wrong += 1
            continue
        after = CHECKERS[claim].check(less(rng, history), cell)
        assert after.validity is not Validity.INVALID, (seed, before, after)
    assert wrong < RIGHT
