"""What an operator's step loses is measured on a live deployment, before and after."""

import csv

import pytest

from kernel_lab import runbook
from kernel_lab.deployments import StackUnavailable

pytestmark = pytest.mark.live


@pytest.mark.parametrize(
    ("deployment", "step", "lost"),
    [("single", "reload", True), pytest.param("sqlite", "reload", False, marks=pytest.mark.slow)],
)
async def test_a_reload_loses_what_lives_in_workers_and_nothing_that_is_shared(
    tmp_path, monkeypatch, deployment, step, lost
):
    monkeypatch.setattr(runbook, "STEPS", {step: runbook.STEPS[step]})
    try:
        rows = await runbook.measure(deployment, tmp_path)
    except StackUnavailable as error:
        pytest.skip(str(error))
    found = {row["kind"]: row for row in rows}
    assert set(found) == {"revocations", "windows", "handles", "traces"}
    assert all(row["before"] == 0 for row in found.values())
    all_of_it = {"revocations": 32, "windows": runbook.LIMIT, "handles": 32, "traces": 32}
    assert {kind: row["after"] for kind, row in found.items()} == (
        all_of_it if lost else dict.fromkeys(all_of_it, 0)
    )


async def test_state_that_cannot_be_made_is_a_row_with_its_reason(tmp_path, monkeypatch):
    monkeypatch.setattr(runbook, "STEPS", {"recycle": runbook.STEPS["recycle"]})
    monkeypatch.setattr(runbook, "ENV", {"LAB_RATE_LIMITS": "READ=1/60,WRITE=4/120,DESTRUCTIVE=2/120"})
    assert await runbook.measure("single", tmp_path) == [
        {"deployment": "single", "step": "recycle", "reason": "before the step, grant answered rate_limited"}
    ]


def test_the_figures_are_written_with_what_they_were_measured_on(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(runbook, "STEPS", {step: runbook.STEPS[step] for step in ("reload", "recycle")})
    assert runbook.main(["--deployment", "sqlite", "--out", str(tmp_path / "out")]) == 0
    with (tmp_path / "out" / "runbook.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert [tuple(row) for row in rows] == [runbook.COLUMNS] * 8
    assert {(row["step"], row["kind"]) for row in rows} == {
        (step, kind)
        for step in ("reload", "recycle")
        for kind in ("revocations", "windows", "handles", "traces")
    }
    assert all(int(row["asked"]) > 0 for row in rows)
    # a shared file loses nothing with its workers
    assert {(row["before"], row["after"]) for row in rows} == {("0", "0")}
    assert (tmp_path / "out" / "environment.json").exists()
    assert runbook.main(["--out", str(tmp_path / "out")]) == 64
    assert "is there already" in capsys.readouterr().err
