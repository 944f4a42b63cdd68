"""Wrong reactions to a fault are caught on real stacks. All of them: ``make teeth-faults``."""

from __future__ import annotations

import os

import pytest

from kernel_lab.deployments.live import StackUnavailable
from kernel_lab.deployments.native.binaries import find_store
from kernel_lab.run import registry
from mutants import under_fault
from mutants.catalogue import ALL
from mutants.reactions import REACTIONS

SAMPLE = ("AnswersNotRevokedOfADeadStore",)
EVERY_ONE = pytest.mark.skipif(
    not os.environ.get("LAB_ALL_FAULTS"), reason="takes 10 s each; LAB_ALL_FAULTS=1 runs it"
)


@pytest.mark.live
@pytest.mark.parametrize(
    "name", [pytest.param(name, marks=() if name in SAMPLE else EVERY_ONE) for name in REACTIONS]
)
def test_a_wrong_reaction_is_caught(name):
    try:
        find_store()
    except StackUnavailable as error:
        pytest.skip(str(error))
    assert under_fault.catch(name).missed == ""


def test_there_are_at_least_twenty_reactions_of_known_faults_and_claims():
    assert len(REACTIONS) >= 20
    assert {one.fault for one in REACTIONS.values()} <= set(registry.faults())
    assert {one.breaks for one in REACTIONS.values()} <= set(registry.scenarios())
    assert not set(REACTIONS) & set(ALL)


def test_a_reaction_that_was_missed_stands_on_the_page_as_missed():
    reaction = next(iter(REACTIONS.values()))
    missed = under_fault.Caught(reaction=reaction, mode="none", found="", missed="judged valid")
    text = under_fault.page([missed], 3, ["tokens under kill_store: invalid: rejected"])
    assert "**0 of 1 caught. 1 of 3 right cells accused.**" in text
    assert "**missed**: judged valid" in text


@pytest.mark.skipif(not under_fault.PAGE.exists(), reason="make teeth-faults writes docs/faulty-reactions.md")
def test_the_page_tells_of_every_reaction_and_that_it_was_caught():
    text = under_fault.PAGE.read_text(encoding="utf-8")
    assert "**missed**" not in text
    assert all(f"| {one.title} | {one.wrong} |" in text for one in REACTIONS.values())
