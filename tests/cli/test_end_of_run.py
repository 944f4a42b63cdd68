"""The end of a run is short, and what an interrupted run left becomes CSVs and a page."""

import csv
import json
import shutil
from pathlib import Path

from kernel_lab.cli.screen import MOST_LINES, print_end
from kernel_lab.judge.verdict import Validity
from kernel_lab.publish.rebuild import rebuild
from kernel_lab.run.folder import RunFolder
from kernel_lab.run.results import CellResult

SAVED = Path(__file__).parent.parent / "histories"


def cell(scenario, deployment, connections, validity, **more):
    return CellResult(
        run="r", scenario=scenario, deployment=deployment, state="memory://", workers=4, replicas=1,
        routing="direct", connections=connections, validity=validity, **more,
    )  # fmt: skip


def test_one_matrix_what_broke_and_what_to_do_next(tmp_path, capsys):
    hostile = "a reason with [/red] and \x1b[31m in it"
    rows = [
        cell("tokens", "single", "round_robin", Validity.VALID, expected=Validity.VALID),
        cell("tokens", "single", "fresh", Validity.VALID, expected=Validity.VALID),
        cell("revocation", "single", "round_robin", Validity.VALID, expected=Validity.VALID),
        cell("revocation", "single", "fresh", Validity.UNKNOWN, reason=hostile),
        cell("revocation", "memory-4", "round_robin", Validity.INVALID, expected=Validity.INVALID,
             anomalies=9, first_anomaly="a token was accepted"),
        cell("tokens", "memory-4", "round_robin", Validity.INVALID, expected=Validity.VALID,
             first_anomaly="a token was refused"),
        cell("tokens", "memory-4", "fresh", Validity.SKIPPED, reason="why not"),
    ]  # fmt: skip
    print_end(rows, tmp_path / "run", tmp_path / "run" / "report.html")
    said = capsys.readouterr().out
    lines = said.splitlines()
    assert len(lines) < 20
    assert next(line for line in lines if line.startswith("single")).split() == ["single", "✓✓", "✓?"]
    assert next(line for line in lines if line.startswith("memory-4")).split() == ["memory-4", "✗!–", "✗"]
    print_end(rows[:3], tmp_path / "run", tmp_path / "run" / "report.html")
    assert "tokens      ✓✓" in capsys.readouterr().out
    assert "tokens · memory-4 · round robin: invalid, expected valid. a token was refused" in said
    assert "revocation on memory-4. On memory-4 over round_robin: a token was accepted" in said
    assert "a reason with [/red] and \\x1b[31m in it" in said
    assert "7 cells: 3 valid, 2 invalid, 1 unknown, 1 skipped; 6 as expected." in said
    assert "kernel-lab check" in said
    print_end(rows, tmp_path / "run", tmp_path / "run" / "report.html", details=True)
    assert "tokens: A token" in capsys.readouterr().out
    many = [cell("tokens", f"d{n}", "fresh", Validity.UNKNOWN, reason="r") for n in range(40)]
    print_end(many, tmp_path, tmp_path)
    assert "tokens · d0 · fresh and 39 more cells: r" in capsys.readouterr().out
    many = [cell("tokens", f"d{n}", "fresh", Validity.UNKNOWN, reason=f"r{n}") for n in range(40)]
    print_end(many, tmp_path, tmp_path)
    assert f"… and {40 - MOST_LINES} more" in capsys.readouterr().out


def test_an_interrupted_run_becomes_csvs_and_a_page(tmp_path):
    run = tmp_path / "run"
    for claim, name, to in (
        ("revocation", "bad-memory-4-fresh", "memory-4-fresh"), ("handles", "good-redis", "redis-fresh"),
    ):  # fmt: skip
        shutil.copytree(SAVED / claim / name, run / "cells" / claim / to)
    about = run / "cells/handles/redis-fresh/cell.json"
    about.write_text(json.dumps({**json.loads(about.read_text()), "finished": False}))
    done = rebuild(run)
    assert (done.judged, done.kept, done.about_was_missing) == (2, 0, True)
    with (run / "verdicts.csv").open(newline="") as file:
        rows = {row["scenario"]: row for row in csv.DictReader(file)}
    assert (rows["revocation"]["validity"], rows["handles"]["validity"]) == ("invalid", "unknown")
    assert "cut off" in rows["handles"]["reason"]
    assert RunFolder(run).table("revocation").exists()
    # once more, with one folder gone: its row stays, and is unknown
    shutil.rmtree(run / "cells/revocation")
    assert rebuild(run).kept == 1
    with (run / "verdicts.csv").open(newline="") as file:
        rows = {row["scenario"]: row for row in csv.DictReader(file)}
    assert rows["revocation"]["validity"] == "unknown"
    assert "is not there" in rows["revocation"]["reason"]
