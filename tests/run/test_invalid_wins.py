"""A proven violation stays invalid, whatever else a cell lacks; what was valid does not stay valid."""

import dataclasses
import json
import shutil
from pathlib import Path

import msgspec
import pytest

from kernel_lab.judge.checkers import CHECKERS
from kernel_lab.judge.verdict import Validity
from kernel_lab.run import registry
from kernel_lab.run.folder import CellFolder
from kernel_lab.run.judging import judge_cell, judge_recorded
from kernel_lab.run.plan import PlannedCell
from kernel_lab.run.results import CellResult
from kernel_lab.traffic.connections import Policy

SAVED = Path(__file__).parent.parent / "histories"
MUCH = {"min_workers": 99, "min_operations": 10**9, "min_overlap": 99}


def saved(claim, kind):
    return next(path.parent for path in sorted(SAVED.glob(f"{claim}/{kind}-*/expected.json")))


def lacking(folder, to, **changes):
    """A saved cell, in another folder, with other facts."""
    shutil.copytree(folder, to)
    about = json.loads((to / "cell.json").read_text())
    (to / "cell.json").write_text(json.dumps(about | changes))
    return CellFolder(to)


def with_a_stranger(checker):
    """The checker, which returns a measure that no scenario declares."""

    class Stranger:
        CLAIM, JUDGES, lacks = checker.CLAIM, checker.JUDGES, staticmethod(checker.lacks)

        @staticmethod
        def check(history, cell):
            verdict = checker.check(history, cell)
            return msgspec.structs.replace(verdict, measures={**verdict.measures, "stranger": 1})

    return Stranger


@pytest.mark.parametrize("claim", CHECKERS)
@pytest.mark.parametrize(("kind", "becomes"), [("bad", Validity.INVALID), ("good", Validity.UNKNOWN)])
def test_what_is_lacking_takes_back_what_was_valid_and_nothing_that_was_proven(
    tmp_path, claim, kind, becomes
):
    cell = saved(claim, kind)
    lines = len([line for line in CellFolder(cell).history.read_bytes().splitlines() if line.strip()])
    few = lacking(cell, tmp_path / "few", assumptions=MUCH)
    broke = lacking(cell, tmp_path / "broke", finished=False, operations=lines)
    whole = lacking(cell, tmp_path / "whole")
    killed = lacking(cell, tmp_path / "killed", finished=False)
    scenario = registry.scenarios()[claim]
    strange = dataclasses.replace(scenario, checker=with_a_stranger(scenario.checker))
    assert [judge_cell(few)[0].validity, judge_cell(broke)[0].validity] == [becomes, becomes]
    assert judge_cell(whole, strange)[0].validity is becomes
    assert "stranger" in judge_cell(whole, strange)[0].reason
    # what was under way when it was killed is not in the history, and could explain what was found
    assert judge_cell(killed)[0].validity is Validity.UNKNOWN


@pytest.mark.parametrize(("kind", "becomes"), [("bad", Validity.INVALID), ("good", Validity.UNKNOWN)])
def test_the_row_of_a_cell_that_broke_off_says_what_was_proven_before(tmp_path, kind, becomes):
    folder = lacking(saved("revocation", kind), tmp_path / "cell")
    folder.probe.write_bytes(b"")
    planned = PlannedCell(
        scenario=registry.scenarios()["revocation"],
        deployment=registry.deployments()["memory-4"],
        policy=Policy.FRESH,
    )
    blank = CellResult(
        run="r", scenario="revocation", deployment="memory-4", state="memory://", workers=4, replicas=1,
        routing="direct", connections="fresh",
    )  # fmt: skip
    row = judge_recorded(folder, blank, planned, "the cell broke off: ConnectError")
    assert (row.validity, row.reason.split(";")[0]) == (becomes, "the cell broke off: ConnectError")
    assert folder.read_verdict()[0].validity is becomes
