"""Placement: the search agrees with trying every order."""

import random
from itertools import permutations

import pytest
from sketch import ORACLE

from kernel_lab.judge import work
from kernel_lab.judge.checkers import placement
from kernel_lab.judge.checkers.placement import unplaceable
from kernel_lab.judge.work import CutOff, budget


def placeable(calls, returns, limit, apart):
    """Every order, each as early as may be."""
    return any(_runs(order, calls, returns, limit, apart) for order in permutations(range(len(calls))))


def _runs(order, calls, returns, limit, apart):
    starts = []
    for k, i in enumerate(order):
        start = max([calls[i], *starts[-1:]])
        if k >= limit:
            start = max(start, starts[k - limit] + apart)
        if start > returns[i]:
            return False
        starts.append(start)
    return True


def random_spans(rng):
    horizon = rng.choice([6, 12, 20])
    calls = [rng.randint(0, horizon) for _ in range(rng.randint(1, 6))]
    return calls, [call + rng.choice([0, 1, 2, 3, 5, 8, 15]) for call in calls]


def test_a_window_is_kept_exactly_if_some_order_keeps_it():
    rng = random.Random(1)
    for _ in range(ORACLE):
        calls, returns = random_spans(rng)
        limit, apart = rng.randint(1, 3), rng.randint(0, 8)
        proof = unplaceable(calls, returns, limit=limit, apart_ns=apart)
        assert (proof is None) == placeable(calls, returns, limit, apart), (calls, returns, limit, apart)


def test_the_search_itself_is_exact_without_the_short_cut(monkeypatch):
    monkeypatch.setattr(placement, "in_order_of_calls", lambda *_: False)
    test_a_window_is_kept_exactly_if_some_order_keeps_it()


def test_the_operations_looked_at_are_a_proof_by_themselves():
    rng = random.Random(3)
    proofs = 0
    for _ in range(ORACLE):
        calls, returns = random_spans(rng)
        limit, apart = rng.randint(1, 2), rng.randint(4, 9)
        proof = unplaceable(calls, returns, limit=limit, apart_ns=apart)
        if proof is not None:
            proofs += 1
            assert not placeable([calls[i] for i in proof], [returns[i] for i in proof], limit, apart)
    assert proofs


def test_the_earliest_return_first_is_not_enough():
    # [0, 20] at 0 would push [1, 2] out; [1, 2] at 1 leaves 11 for the other
    assert unplaceable([0, 1], [20, 2], limit=1, apart_ns=10) is None
    assert unplaceable([0, 1], [10, 2], limit=1, apart_ns=10) is not None


def test_a_search_that_takes_too_long_is_cut_off(monkeypatch):
    monkeypatch.setattr(work, "STEPS", 1)
    with budget(0), pytest.raises(CutOff, match="of 2 effects was given up after 1 steps"):
        unplaceable([0, 1], [20, 2], limit=1, apart_ns=10)
