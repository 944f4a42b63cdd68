"""Placement: the search agrees with trying every order."""

import random
from itertools import combinations, permutations

import pytest
from sketch import ORACLE

from harness.checkers import placement
from harness.checkers.placement import CutOff, unplaceable
from harness.history import FOREVER


def placeable(calls, returns, limit, apart, not_before=(), not_after=()):
    """Every choice of the optional ones, every order, each as early as may be."""
    must = [i for i, end in enumerate(returns) if end < FOREVER]
    optional = [i for i, end in enumerate(returns) if end == FOREVER]
    chosen = (c for size in range(len(optional) + 1) for c in combinations(optional, size))
    return any(
        _runs(order, calls, returns, limit, apart, not_before, not_after)
        for choice in chosen
        for order in permutations([*must, *choice])
        if len(order) >= len(not_after)
    )


def _runs(order, calls, returns, limit, apart, not_before, not_after):
    starts = []
    for k, i in enumerate(order):
        start = max([calls[i], *starts[-1:], *not_before[k : k + 1]])
        if k >= limit:
            start = max(start, starts[k - limit] + apart)
        if start > returns[i] or any(start > end for end in not_after[k : k + 1]):
            return False
        starts.append(start)
    return True


def random_spans(rng):
    horizon = rng.choice([6, 12, 20])
    calls = [rng.randint(0, horizon) for _ in range(rng.randint(1, 6))]
    return calls, [call + rng.choice([0, 1, 2, 3, 5, 8, 15]) for call in calls], horizon


def test_a_window_is_kept_exactly_if_some_order_keeps_it():
    rng = random.Random(1)
    for _ in range(ORACLE):
        calls, returns, _ = random_spans(rng)
        limit, apart = rng.randint(1, 3), rng.randint(0, 8)
        proof = unplaceable(calls, returns, limit=limit, apart_ns=apart)
        assert (proof is None) == placeable(calls, returns, limit, apart), (calls, returns, limit, apart)


def test_positions_with_bounds_are_filled_exactly_if_some_order_fills_them():
    rng = random.Random(2)
    for _ in range(ORACLE):
        calls, returns, horizon = random_spans(rng)
        returns = [FOREVER if rng.random() < 0.3 else end for end in returns]
        limit, apart = rng.choice([(1, 0), (1, 0), (2, 3)])
        not_before = sorted(rng.randint(-2, horizon) for _ in range(rng.randint(0, 6)))
        not_after = sorted(rng.randint(0, horizon + 8) for _ in range(rng.randint(0, len(calls))))
        proof = unplaceable(
            calls, returns, limit=limit, apart_ns=apart, not_before=not_before, not_after=not_after
        )
        wanted = placeable(calls, returns, limit, apart, not_before, not_after)
        assert (proof is None) == wanted, (calls, returns, limit, apart, not_before, not_after)


def test_the_operations_looked_at_are_a_proof_by_themselves():
    rng = random.Random(3)
    proofs = 0
    for _ in range(ORACLE):
        calls, returns, _ = random_spans(rng)
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
    monkeypatch.setattr(placement, "WORK", 0)
    monkeypatch.setattr(placement, "WORK_EACH", 0)
    with pytest.raises(CutOff, match="2 effects"):
        unplaceable([0, 1], [20, 2], limit=1, apart_ns=10)
