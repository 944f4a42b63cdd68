"""The search for the smallest fault that is seen. All of them: ``make smallest-faults``."""

from __future__ import annotations

import csv

import pytest

from kernel_lab.run import registry
from mutants import smallest
from mutants.catalogue import LIVE_CLAIMS
from mutants.graded import GRADED, STRENGTHS


@pytest.mark.parametrize("name", ["RejectsTokens", "LosesHandles", "MissesGrants"])
def test_a_strong_fault_is_seen_and_none_at_all_is_not(name):
    assert smallest.caught(name, 50, 1, quick=True)
    assert not smallest.caught(name, 0, 1, quick=True)


def test_every_claim_that_can_be_simulated_has_graded_faults():
    assert {one.breaks for one in GRADED.values()} == set(registry.scenarios()) - set(LIVE_CLAIMS)


def test_the_search_finds_the_weakest_strength_that_is_seen(monkeypatch):
    monkeypatch.setattr(smallest, "caught", lambda name, strength, seed, *, quick: strength >= 5)
    row = smallest.smallest(("LosesHandles", True, 20))
    assert (row.smallest, row.caught, row.weaker, row.weaker_caught, row.weaker_runs) == (5, 20, 2, 0, 2)


@pytest.mark.parametrize(("seen", "said"), [
    (lambda strength: True, "0.5 % of calls (20 of 20), the weakest that was tried"),
    (lambda strength: False, "**not even 50** % of calls (0 of 2)"),
])  # fmt: skip
def test_a_search_that_ends_at_either_end_says_so(monkeypatch, seen, said):
    monkeypatch.setattr(smallest, "caught", lambda name, strength, seed, *, quick: seen(strength))
    assert smallest._said(smallest.smallest(("LosesHandles", True, 20))) == said


def test_the_committed_table_has_a_row_for_each_fault_and_mode():
    with smallest.CSV.open(encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    assert {(row["fault"], row["mode"]) for row in rows} == {
        (name, mode) for name in GRADED for mode in ("quick", "full")
    }
    for row in rows:
        assert float(row["smallest"]) in STRENGTHS[row["unit"]]
