"""``python -m kernel_lab.publish.rejudge RUN``: bring a saved run up to date with today's checkers.

Each cell that kept its history is judged again. Its ``verdict.json`` is written where the verdict is another,
and the CSVs are written with the columns that the scenarios declare today. Predictions stay as they were, and
are compared with what was measured.
A cell whose history was left out for its size keeps its verdict, and the command says how many there are.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from kernel_lab.bad_input import EXIT_CODE
from kernel_lab.judge.verdict import Verdict
from kernel_lab.publish.pack import on_one_line
from kernel_lab.run.folder import CellFolder, NotARun, RunFolder, read_whole
from kernel_lab.run.judging import judge_cell
from kernel_lab.run.results import VERDICTS, columns_of, write_rows
from kernel_lab.run.saved import NotASavedRun, Row, SavedRun, number, read_run
from kernel_lab.run.scenario import COUNT_OF_ANOMALIES, Scenario

Place = tuple[str, str, str, str]
"""Scenario, deployment, connections and fault."""


def rejudge(path: Path) -> tuple[int, int]:
    """Judge a saved run again. Return how many cells were judged, and how many have no history.

    Raises:
        NotASavedRun: The folder holds no run.
    """
    run = read_run(path)
    verdicts: dict[Place, Verdict] = {}
    for cell in run.cells:
        if cell.history:
            folder = CellFolder(path / cell.folder)
            (verdict,) = judge_cell(folder)
            if cell.verdict != verdict:
                _write_verdict(folder, verdict)
            verdicts[cell.scenario, cell.deployment, cell.connections, cell.fault] = verdict
    _write(run, verdicts)
    return len(verdicts), sum(bool(cell.folder) and not cell.history for cell in run.cells)


def _write_verdict(folder: CellFolder, verdict: Verdict) -> None:
    """Write the verdict in the form that it had: a packed run has its verdicts on one line."""
    packed = folder.verdict.exists() and read_whole(folder.verdict).count(b"\n") == 1
    folder.write_verdict([verdict])
    if packed:
        on_one_line(folder)


def _write(run: SavedRun, verdicts: Mapping[Place, Verdict]) -> None:
    told = [{**row, **_verdict(verdicts.get(_place(row["scenario"], row)))} for row in run.tables["verdicts"]]
    folder = RunFolder(run.path)
    write_rows(folder.table("verdicts"), VERDICTS, told)
    for name, scenario in run.declared.items():
        if name in run.tables:
            rows = [_compared(scenario, row, verdicts.get(_place(name, row))) for row in run.tables[name]]
            write_rows(folder.table(name), columns_of(scenario), rows)


def _place(scenario: str, row: Row) -> Place:
    return scenario, row["deployment"], row["connections"], row["fault"]


def _verdict(verdict: Verdict | None) -> dict[str, Any]:
    if verdict is None:
        return {}
    return {
        "validity": verdict.validity,
        "anomalies": verdict.measures.get(COUNT_OF_ANOMALIES, len(verdict.anomalies)),
        "first_anomaly": verdict.anomalies[0].message if verdict.anomalies else "",
        "reason": verdict.reason,
    }


def _compared(scenario: Scenario, row: Row, verdict: Verdict | None) -> dict[str, Any]:
    told = {**row, **_measures(verdict)}
    known = {name: number(value) if isinstance(value, str) else value for name, value in told.items()}
    return told | scenario.compared(known)


def _measures(verdict: Verdict | None) -> dict[str, Any]:
    if verdict is None:
        return {}
    return {**verdict.measures, "validity": verdict.validity, "reason": verdict.reason}


def main(arguments: Sequence[str] | None = None) -> int:
    """Judge a saved run again."""
    parser = argparse.ArgumentParser(description="Judge a saved run again.")
    parser.add_argument("run", type=Path, help="a run folder")
    given = parser.parse_args(arguments)
    try:
        judged, kept = rejudge(given.run)
    except (NotASavedRun, NotARun) as error:
        print(f"rejudge: {error}", file=sys.stderr)
        return EXIT_CODE
    print(f"{given.run}: {judged} cells judged again; {kept} have no history and keep their verdict")
    return 0


if __name__ == "__main__":
    sys.exit(main())
