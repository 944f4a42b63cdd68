"""Every cell: its verdict in words, its smallest counter-example drawn, its files."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass

from markupsafe import Markup

from kernel_lab.judge.verdict import Validity
from kernel_lab.publish import figures
from kernel_lab.publish.charts.sequence import sequence
from kernel_lab.publish.report.matrix import Box
from kernel_lab.run.saved import SavedCell, SavedRun
from kernel_lab.run.scenario import Scenario

NAMED = 3
"""Anomalies a cell spells out; how many there are is said."""
FILES = {
    "history": "history",
    "verdict.json": "verdict",
    "server.log": "server log",
    "cell.json": "parameters",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class CellView:
    """A cell as the page tells it."""

    cell: SavedCell
    box: Box
    told: str
    interval: str
    messages: tuple[str, ...]
    more: int
    picture: Markup | None
    story: tuple[str, ...]
    links: tuple[tuple[str, str], ...]
    surprise: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Chapter:
    """The cells of one scenario, under its claim."""

    scenario: str
    claim: str
    cells: tuple[CellView, ...]

    @property
    def tally(self) -> str:
        """``51 cells: 18 broken, 33 hold``."""
        counts = Counter(view.cell.validity for view in self.cells)
        said = {Validity.INVALID: "broken", Validity.UNKNOWN: "unknown", Validity.SKIPPED: "skipped"}
        parts = [f"{counts[one]} {word}" for one, word in said.items() if counts[one]]
        parts += [f"{counts[Validity.VALID]} hold"] if counts[Validity.VALID] else []
        return f"{len(self.cells)} cells: {', '.join(parts)}"


def chapters(run: SavedRun, scenarios: Mapping[str, Scenario]) -> list[Chapter]:
    """In the order of the run."""
    found = []
    for name in run.scenarios:
        scenario = scenarios.get(name) or run.declared.get(name)
        cells = tuple(_view(cell) for cell in run.cells if cell.scenario == name)
        found.append(Chapter(scenario=name, claim=scenario.claim if scenario else "", cells=cells))
    return found


def _view(cell: SavedCell) -> CellView:
    verdict = cell.verdict
    anomalies = verdict.anomalies if verdict else ()
    total = cell.measures.get("anomalies")
    part = figures.share(cell)
    return CellView(
        cell=cell,
        box=Box.of(cell),
        told=_told(cell),
        interval=f"{figures.counted(cell)}: {part}" if part else "",
        messages=tuple(anomaly.message for anomaly in anomalies[:NAMED]),
        more=max(0, (total if isinstance(total, int) else len(anomalies)) - NAMED) if anomalies else 0,
        picture=sequence(verdict.counterexample) if verdict and verdict.counterexample else None,
        story=verdict.story if verdict else (),
        links=_links(cell),
        surprise="" if cell.as_expected else f"expected: {cell.expected}",
    )


def _told(cell: SavedCell) -> str:
    """Return the finding in the scenario's words; the reason where there is no finding."""
    if cell.validity in (Validity.SKIPPED, Validity.UNKNOWN):
        return cell.reason
    if cell.declared is not None and cell.observed is not None:
        told = cell.declared.finding(cell.observed)
        if told:
            return told
    return cell.verdict.anomalies[0].message if cell.verdict and cell.verdict.anomalies else cell.reason


def _links(cell: SavedCell) -> tuple[tuple[str, str], ...]:
    return tuple(
        (said, f"{cell.folder}/{file}")
        for prefix, said in FILES.items()
        for file in cell.files
        if file.startswith(prefix)
    )
