"""What a run shows on the terminal: its progress, and a table at the end."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Self

from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    SpinnerColumn,
    TextColumn,
    TimeRemainingColumn,
)
from rich.table import Table

from kernel_lab.cli.exits import MARK
from kernel_lab.judge.verdict import Validity
from kernel_lab.run import registry
from kernel_lab.run.results import CellResult
from kernel_lab.run.scenario import Scenario
from kernel_lab.traffic.connections import Policy

STYLE = {
    Validity.VALID: "green",
    Validity.INVALID: "red",
    Validity.UNKNOWN: "yellow",
    Validity.SKIPPED: "dim",
}


class Screen:
    """The progress bar on a terminal; one line a cell elsewhere."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._bar = Progress(
            SpinnerColumn(),
            TextColumn("{task.description}"),
            BarColumn(),
            MofNCompleteColumn(),
            TimeRemainingColumn(),
            console=console,
            transient=True,
            disable=not console.is_terminal,
        )
        self._task = self._bar.add_task("starting")
        self._count = 0
        self._cells = 0

    def __enter__(self) -> Self:
        self._bar.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._bar.stop()

    def stop(self) -> None:
        """Take the bar away."""
        self._bar.stop()

    def planned(self, cells: int) -> None:
        """This many cells will be run."""
        self._cells = cells
        self._bar.update(self._task, total=cells)

    def doing(self, what: str) -> None:
        """This is going on now."""
        self._bar.update(self._task, description=what)

    def done(self, cell: CellResult) -> None:
        """A cell has its verdict; off a terminal, and where it surprises, it is a line."""
        self._count += 1
        self._bar.advance(self._task)
        surprise = "" if cell.as_expected else f"  expected {cell.expected}"
        if not self._console.is_terminal or surprise or cell.validity is Validity.UNKNOWN:
            number = f"[{self._count}/{self._cells}]"
            self._console.print(
                f"{number} {MARK[cell.validity]} {cell.validity:8} {cell.label}{surprise}"
                + (f"  ({cell.reason})" if cell.reason else ""),
                style=STYLE[cell.validity] if surprise else None,
                markup=False,
            )


def print_table(results: Sequence[CellResult], folder: Path, page: Path) -> None:
    """Print every cell by its scenario, then what was not as expected, then where to look."""
    console = Console(highlight=False)
    for name in dict.fromkeys(cell.scenario for cell in results):
        scenario = registry.scenarios()[name]
        table = Table(title=f"{name}: {scenario.claim}", title_justify="left", box=None, pad_edge=False)
        table.add_column("deployment")
        table.add_column("connections")
        table.add_column("")
        table.add_column("what was seen", overflow="fold")
        for cell in sorted((c for c in results if c.scenario == name), key=_place):
            word = f"{MARK[cell.validity]} {cell.validity}" + ("" if cell.as_expected else " (!)")
            table.add_row(
                cell.deployment,
                cell.connections.replace("_", " "),
                f"[{STYLE[cell.validity]}]{word}[/]",
                _tell(scenario, cell),
            )
        console.print(table)
        console.print()
    unexpected = [cell for cell in results if not cell.as_expected]
    for cell in unexpected:
        why = cell.first_anomaly or cell.reason
        console.print(f"(!) {cell.label}: {cell.validity}, expected {cell.expected}. {why}", markup=False)
    good = len(results) - len(unexpected)
    console.print(f"{len(results)} cells, {good} as expected. Everything is in {short(folder)}")
    console.print(f"Look at it: {short(page)}")


def _place(cell: CellResult) -> tuple[int, int]:
    names = [*registry.deployments(), cell.deployment]
    return names.index(cell.deployment), list(Policy).index(Policy(cell.connections))


def _tell(scenario: Scenario, cell: CellResult) -> str:
    if cell.validity in (Validity.SKIPPED, Validity.UNKNOWN):
        return cell.reason
    return scenario.finding(scenario.observed(cell.measures)) or cell.first_anomaly


def short(path: Path) -> str:
    """A path as a person would type it here."""
    try:
        return str(path.relative_to(Path.cwd()))
    except ValueError:
        return str(path)
