"""kernel-lab diff and kernel-lab history: what changed beyond noise, and what held over many runs."""

import json

import pytest
from few_cells import REFERENCE, few_cells

from kernel_lab.compare.changes import diff
from kernel_lab.gate.judging import open_run

CLAIMS = ("tokens", "rate_limit", "revocation", "stats")


def copy(path, edit=lambda name, row: row, *, finished="2026-11-27T01:43:52+00:00"):
    """A few cells of the reference run, each row through `edit`."""
    return few_cells(path, claims=CLAIMS, tables=("verdicts", "cost"), edit=edit, finished=finished)


def test_a_run_does_not_differ_from_itself(tmp_path, command_line):
    run = copy(tmp_path / "a")
    done = command_line("diff", run, run)
    assert done.returncode == 0
    assert "nothing changed beyond noise" in done.stdout
    assert "0 cells" not in done.stdout


def test_a_deployment_without_a_store_differs_from_one_with_it(tmp_path, command_line):
    run = copy(tmp_path / "a")
    page = tmp_path / "page.html"
    done = command_line("diff", run, run, "--rename", "memory-4=redis", "--page", page)
    assert done.returncode == 1
    found = diff(open_run(run), open_run(run), {"memory-4": "redis"})
    changed = {change.where for change in found.changes if change.sort == "verdict"}
    assert {"revocation on redis over round_robin", "rate_limit on redis over round_robin"} <= changed
    # stats and tokens are judged the same on both, and so are not named
    assert not [where for where in changed if where.startswith(("stats", "tokens"))]
    assert [change for change in found.changes if change.sort == "share"]
    text = page.read_text()
    assert "revocation on redis over round_robin" in text
    assert "<script" not in text


def test_a_share_that_moves_within_its_interval_has_not_changed(tmp_path):
    one = copy(tmp_path / "a")
    two = copy(tmp_path / "b")
    for by, expected in ((1.05, 0), (0.3, 1)):
        path = two / "cells/revocation/memory-4-round_robin/verdict.json"
        told = json.loads((one / "cells/revocation/memory-4-round_robin/verdict.json").read_text())
        told["verdicts"][0]["measures"]["leak_rate"] *= by
        path.write_text(json.dumps(told))
        changes = diff(open_run(one), open_run(two)).changes
        assert len(changes) == expected, changes


def test_a_cost_ratio_has_changed_where_the_intervals_do_not_touch(tmp_path):
    def dear(name, row):
        if name == "cost" and row["deployment"] == "redis":
            names = [f"throughput_vs_single{end}" for end in ("", "_low", "_high")]
            return row | {one: str(float(row[one]) * 0.3) for one in names if row[one]}
        return row

    found = diff(open_run(copy(tmp_path / "a")), open_run(copy(tmp_path / "b", dear)))
    assert found.changes
    assert all((one.sort, one.worse) == ("cost", True) for one in found.changes)
    assert all("throughput vs single of redis" in one.where for one in found.changes)


def test_what_one_run_did_not_judge_is_named_and_is_no_change(tmp_path):
    def unknown(name, row):
        return {**row, "validity": "unknown"} if row["deployment"] == "redis" else row

    found = diff(open_run(copy(tmp_path / "a")), open_run(copy(tmp_path / "b", unknown)))
    assert not [change for change in found.changes if "redis" in change.where]
    assert any(
        "tokens on redis over round_robin: valid before, unknown after" in one for one in found.not_compared
    )


def test_many_runs_are_one_line_a_guarantee(tmp_path, command_line):
    folder = tmp_path / "runs"
    copy(folder / "new", finished="2026-11-28T00:00:00+00:00")

    def broken(name, row):
        return {**row, "validity": "invalid"} if row["deployment"] == "redis" and name == "verdicts" else row

    copy(folder / "old", broken, finished="2026-11-26T00:00:00+00:00")
    (folder / "damaged").mkdir()
    (folder / "damaged" / "verdicts.csv").write_text("x")
    guarantees = tmp_path / "guarantees.toml"
    guarantees.write_text('[[guarantee]]\nclaim = "tokens"\ndeployment = "redis"\n')
    done = command_line("history", folder, "--guarantees", guarantees)
    assert done.returncode == 0
    assert "tokens on redis  ✗✓" in done.stdout
    assert "left out: " in done.stdout
    text = (folder / "history.html").read_text()
    assert text.count("<tr>") == 2
    done = command_line("history", folder)
    assert done.stdout.count(" on redis") == len(CLAIMS)


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["diff", "nowhere", "nowhere"], "nowhere"),
        (["diff", REFERENCE, REFERENCE, "--rename", "memory-4"], "should be OLD=NEW"),
        (["diff", REFERENCE, REFERENCE, "--rename", "memory-4=reddis"], "has no reddis; one of:"),
        (["diff", REFERENCE, REFERENCE, "--page", "/nowhere/page.html"], "cannot be written"),
        (["history", "nowhere"], "holds no run"),
    ],
)
def test_bad_input_is_one_sentence(command_line, arguments, said):
    done = command_line(*arguments)
    assert (done.returncode, said in done.stderr, len(done.stderr.splitlines())) == (64, True, 1), done.stderr
