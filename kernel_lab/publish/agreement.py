"""Compare the predictions of a run with its measurements, and find the reason where a prediction misses.

Some results are certain in advance: 0 % or 100 % both predicted and measured, and a limit whose every window was full.
Such cells do not count. Negative controls do not count either, because their state is not where the model says.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from statistics import median

from kernel_lab import markdown
from kernel_lab.intervals import percentile
from kernel_lab.judge.history import MalformedHistory, read_history
from kernel_lab.publish import figures
from kernel_lab.run import registry
from kernel_lab.run.folder import CellFolder, NotARun
from kernel_lab.run.measures import Kind, percent
from kernel_lab.run.saved import SavedCell, SavedRun

AT_MOST = 0.1
"""An error above 10 points, or 10 % of a count, is listed even where it lies inside of the interval."""
EXPLAINED = 1 / 3
"""If the model is told the cell's own routing and at most this part of the error is left, the routing was the reason.
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Compared:
    """One cell: what was predicted, and what was measured."""

    cell: SavedCell
    predicted: float
    low: float
    high: float
    measured: float
    error: float
    """The distance from the prediction: in points of a share, or relative to a predicted count. Never negative."""
    inside: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Agreement:
    """Every cell that was predicted and did not predict itself."""

    cells: tuple[Compared, ...]

    @property
    def median(self) -> float:
        """The median error."""
        return median(one.error for one in self.cells)

    @property
    def p95(self) -> float:
        """The bound below which 95 % of the errors lie."""
        return percentile(sorted(one.error for one in self.cells), 0.95) or 0.0

    @property
    def within(self) -> int:
        """The number of errors that are at most `AT_MOST`."""
        return sum(one.error <= AT_MOST for one in self.cells)

    @property
    def inside(self) -> int:
        """The number of measurements that lie inside of their interval."""
        return sum(one.inside for one in self.cells)

    @property
    def misses(self) -> list[Compared]:
        """Those outside of their interval, or further off than `AT_MOST`; the furthest first."""
        found = [one for one in self.cells if not one.inside or one.error > AT_MOST]
        return sorted(found, key=lambda one: -one.error)


def agreement(run: SavedRun, controls: Collection[str]) -> Agreement | None:
    """Return how well the predictions of the run's cells agree; None where no cell was predicted."""
    told = []
    for cell in run.cells:
        if cell.fault or cell.verdict is None or cell.deployment in controls:
            continue
        if (one := _compared(cell)) is not None:
            told.append(one)
    return Agreement(cells=tuple(told)) if told else None


def _compared(cell: SavedCell) -> Compared | None:
    seen, declared = cell.observed, cell.declared
    if seen is None or declared is None or declared.predicted is None:
        return None
    by = declared.predicted
    told, measured, inside = seen.find(by.quantity), seen.find(by.of), seen.find(by.inside)
    low, high = seen.find(by.low), seen.find(by.high)
    if told is None or measured is None or inside is None or low is None or high is None:
        return None
    if by.of.kind is Kind.COUNT:
        over = figures.times(cell)
        if not told or over is None or not 1 < over < cell.processes:
            return None
        error = abs(measured - told) / told
    elif (told, measured) in ((0.0, 0.0), (1.0, 1.0)):
        return None
    else:
        error = abs(measured - told)
    return Compared(
        cell=cell, predicted=told, low=low, high=high, measured=measured, error=error, inside=bool(inside)
    )


def reason(run: SavedRun, one: Compared) -> str:
    """Return why a prediction missed, from the answer of the same model for the routing of the cell itself."""
    cell = one.cell
    if one.inside:
        return "chance: inside of the interval"
    deployment = registry.deployments().get(cell.deployment)
    if not cell.history or deployment is None or cell.declared is None or cell.declared.predicted is None:
        return "not known: its history was not kept"
    if cell.declared.predicted.of.kind is Kind.COUNT:
        return "not known"
    try:
        history = read_history(CellFolder(run.path / cell.folder).history)
    except (MalformedHistory, NotARun):
        return "not known: its history cannot be read"
    own = cell.declared.predicted.by(history, deployment, dict(cell.parameters))
    if own is None:
        return "not known"
    said = f"from its own routing the model says {percent(own.value)}"
    if abs(own.value - one.measured) <= EXPLAINED * one.error:
        return f"routing: the cell's connections met other workers than the probe's; {said}"
    return f"not the routing: {said}"


def sentence(run: SavedRun, controls: Collection[str]) -> str:
    """The agreement in one paragraph."""
    found = agreement(run, controls)
    if found is None:
        return "Nothing was predicted in this run."
    count = len(found.cells)
    return (
        f"{count} cells had a result that was not certain in advance. The median error is "
        f"{100 * found.median:.1f} points (or per cent, of a count), and 95 % of the errors are at most "
        f"{100 * found.p95:.1f}. {found.within} of {count} ({percent(found.within / count)}) are at most 10. "
        f"{found.inside} of {count} measurements ({percent(found.inside / count)}) lie inside of the 95 % interval."
    )


HEAD = ("claim", "deployment", "connections", "predicted (95 %)", "measured", "error", "why")


def misses(run: SavedRun, controls: Collection[str]) -> list[list[str]]:
    """Every miss with its reason, a row each, by the columns of `HEAD`."""
    found = agreement(run, controls)
    return [_said(run, one) for one in found.misses] if found else []


def table(run: SavedRun, controls: Collection[str]) -> str:
    """The docs' table of the misses."""
    rows = misses(run, controls)
    return markdown.table([[*HEAD], *rows] if rows else [["misses"], ["none"]])


def _said(run: SavedRun, one: Compared) -> list[str]:
    cell = one.cell
    by = cell.declared.predicted if cell.declared else None
    count = by is not None and by.of.kind is Kind.COUNT
    predicted, low, high, measured = (
        f"{value:.0f}" if count else percent(value)
        for value in (one.predicted, one.low, one.high, one.measured)
    )
    return [
        cell.scenario.replace("_", " "), cell.deployment, cell.connections.replace("_", " "),
        f"{predicted} ({low} to {high})", measured,
        f"{100 * one.error:.0f} {'%' if count else 'points'}", reason(run, one),
    ]  # fmt: skip
