"""Saved histories are judged again: what was found in them once is found today, and nothing else."""

import json
from pathlib import Path

import msgspec
import pytest
from save import expected

from kernel_lab.judge.checkers import CHECKERS
from kernel_lab.run.judging import judge_cell

HERE = Path(__file__).parent
SAVED = sorted(path.parent for path in HERE.glob("*/*/expected.json"))


@pytest.mark.parametrize("folder", SAVED, ids=lambda folder: f"{folder.parent.name}/{folder.name}")
def test_it_is_judged_as_before(folder):
    [verdict] = judge_cell(folder)
    said = json.loads(msgspec.json.encode(expected(verdict)))
    kept = json.loads((folder / "expected.json").read_text())
    # there may be new measures
    said["measures"] = {name: said["measures"].get(name) for name in kept["measures"]}
    assert said == kept
    assert said["validity"] == {"good": "valid", "bad": "invalid"}[folder.name.split("-")[0]]


def test_every_claim_has_a_good_and_a_bad_one():
    kept = {(folder.parent.name, folder.name.split("-")[0]) for folder in SAVED}
    assert kept == {(claim, what) for claim in CHECKERS for what in ("good", "bad")}
