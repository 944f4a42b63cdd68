"""The output of a run on the terminal: its progress, and a matrix at the end."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Self

from rich.console import Console
from rich.markup import escape
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    SpinnerColumn,
    TextColumn,
    TimeRemainingColumn,
)
from rich.table import Table
from rich.text import Text

from kernel_lab.cli.terminal import visible
from kernel_lab.judge.verdict import MARK, Validity, merge
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
    """The progress bar on a terminal, or one line for each cell elsewhere."""

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
        """Remove the progress bar."""
        self._bar.stop()

    def planned(self, cells: int) -> None:
        """Set the number of cells that will be run."""
        self._cells = cells
        self._bar.update(self._task, total=cells)

    def doing(self, what: str) -> None:
        """Show what the run does now."""
        self._bar.update(self._task, description=escape(visible(what)))

    def done(self, cell: CellResult) -> None:
        """Show that a cell has its verdict.

        An unexpected verdict, and every verdict outside of a terminal, is printed on a line.
        """
        self._count += 1
        self._bar.advance(self._task)
        surprise = "" if cell.as_expected else f"  expected {cell.expected}"
        if not self._console.is_terminal or surprise or cell.validity is Validity.UNKNOWN:
            number = f"[{self._count}/{self._cells}]"
            self._console.print(
                visible(
                    f"{number} {MARK[cell.validity]} {cell.validity:8} {cell.label}{surprise}"
                    + (f"  ({cell.reason})" if cell.reason else "")
                ),
                style=STYLE[cell.validity] if surprise else None,
                markup=False,
            )


MATRIX = 112
"""Columns of text that the matrix may take, on a narrower terminal too."""
MOST_LINES = 10
"""Lines of one list at the end of a run; the rest is counted."""


def print_end(results: Sequence[CellResult], folder: Path, page: Path, *, details: bool = False) -> None:
    """Print one matrix, what broke, what stayed unknown, and what to do next.

    Args:
        results: Every cell.
        folder: The run folder.
        page: ``report.html``.
        details: Print a line for every cell as well.
    """
    console = Console(highlight=False, soft_wrap=True)

    def say(line: str) -> None:
        console.print(visible(line), markup=False)

    if details:
        _print_cells(results, console)
    _print_matrix(results, console)
    broken = [cell for cell in results if cell.validity is Validity.INVALID]
    unknown = [cell for cell in results if cell.validity is Validity.UNKNOWN]
    surprising = [cell for cell in results if not cell.as_expected]
    if surprising:
        _list(
            "Not as expected:",
            [f"{c.label}: {c.validity}, expected {c.expected}. {_why(c)}" for c in surprising],
            say,
        )
    expected = [cell for cell in broken if cell.as_expected]
    if expected:
        _list("Broken:", _worst_of_each(expected), say)
    if unknown:
        _list("Unknown:", _by_reason([cell for cell in unknown if cell not in surprising]), say)
    skipped = sum(cell.validity is Validity.SKIPPED for cell in results)
    say(
        f"{len(results)} cells: {len(results) - len(broken) - len(unknown) - skipped} valid, {len(broken)} invalid, "
        f"{len(unknown)} unknown, {skipped} skipped; {len(results) - len(surprising)} as expected."
    )
    say(f"Look at it: {short(page)}")
    say(f"Every counter-example: kernel-lab check {short(folder)}")


def _print_matrix(results: Sequence[CellResult], console: Console) -> None:
    """A table of deployments and claims, with one mark for each connection policy in a field.

    The longer of the two lists is the rows.
    """
    scenarios = list(dict.fromkeys(cell.scenario for cell in results))
    deployments = sorted(dict.fromkeys(cell.deployment for cell in results), key=_order)
    policies = [policy for policy in Policy if any(cell.connections == policy for cell in results)]
    upright = len(deployments) < len(scenarios)
    rows, columns = (scenarios, deployments) if upright else (deployments, scenarios)
    table = Table(box=None, pad_edge=False)
    for title in ("claim" if upright else "deployment", *columns):
        table.add_column(Text(visible(title)), no_wrap=True)
    for name in rows:
        line = [Text(visible(name))]
        for other in columns:
            scenario, deployment = (name, other) if upright else (other, name)
            line.append(
                _marks([c for c in results if (c.scenario, c.deployment) == (scenario, deployment)], policies)
            )
        table.add_row(*line)
    console.print(table, width=max(console.width, MATRIX))
    over = ", ".join(policy.replace("_", " ") for policy in policies)
    console.print(
        f"One mark for each connection policy ({over}): {MARK[Validity.VALID]} valid, {MARK[Validity.INVALID]} "
        f"invalid, {MARK[Validity.UNKNOWN]} unknown, {MARK[Validity.SKIPPED]} skipped"
    )


def _marks(cells: Sequence[CellResult], policies: Sequence[Policy]) -> Text:
    marks = Text()
    for policy in policies:
        of = [cell for cell in cells if cell.connections == policy]
        worst = merge(cell.validity for cell in of) if of else Validity.SKIPPED
        marks.append(MARK[worst] if of else " ", style=STYLE[worst])
        if any(not cell.as_expected for cell in of):
            marks.append("!", style="red")
    return marks


def _by_reason(cells: Sequence[CellResult]) -> list[str]:
    """One line for each reason, with the cells to which it applies."""
    lines = []
    for reason in dict.fromkeys(cell.reason for cell in cells):
        its = [cell.label for cell in cells if cell.reason == reason]
        lines.append(f"{its[0]}{f' and {len(its) - 1} more cells' if len(its) > 1 else ''}: {reason}")
    return lines


def _worst_of_each(broken: Sequence[CellResult]) -> list[str]:
    """One line for each broken claim: where it broke, and the figure of the deployment with most anomalies."""
    lines = []
    for name in dict.fromkeys(cell.scenario for cell in broken):
        its = [cell for cell in broken if cell.scenario == name]
        where = list(dict.fromkeys(cell.deployment for cell in its))
        most = max(its, key=lambda cell: cell.anomalies)
        places = ", ".join(where[:6]) + (f" and {len(where) - 6} more" if len(where) > 6 else "")
        lines.append(f"{name} on {places}. On {most.deployment} over {most.connections}: {_why(most)}")
    return lines


def _why(cell: CellResult) -> str:
    scenario = registry.scenarios().get(cell.scenario)
    return (_tell(scenario, cell) if scenario else "") or cell.first_anomaly or cell.reason


def _list(title: str, lines: Sequence[str], say: Callable[[str], None]) -> None:
    if lines:
        say(title)
    for line in lines[:MOST_LINES]:
        say(f"  {line}")
    if len(lines) > MOST_LINES:
        say(f"  … and {len(lines) - MOST_LINES} more")


def _print_cells(results: Sequence[CellResult], console: Console) -> None:
    """Every cell by its scenario."""
    for name in dict.fromkeys(cell.scenario for cell in results):
        scenario = registry.scenarios()[name]
        title = Text(f"{name}: {scenario.claim}")
        table = Table(title=title, title_justify="left", box=None, pad_edge=False)
        for column in ("deployment", "connections", ""):
            table.add_column(column)
        table.add_column("what was seen", overflow="fold")
        for cell in sorted((c for c in results if c.scenario == name), key=_place):
            word = f"{MARK[cell.validity]} {cell.validity}" + ("" if cell.as_expected else " (!)")
            table.add_row(
                Text(visible(cell.deployment)),
                cell.connections.replace("_", " "),
                Text(word, style=STYLE[cell.validity]),
                Text(visible(_tell(scenario, cell))),
            )
        console.print(table)
        console.print()


def _order(name: str) -> int:
    names = list(registry.deployments())
    return names.index(name) if name in names else len(names)


def _place(cell: CellResult) -> tuple[int, int]:
    return _order(cell.deployment), list(Policy).index(Policy(cell.connections))


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
