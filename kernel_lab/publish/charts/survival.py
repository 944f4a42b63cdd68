"""Draw the number of workers that still give the old answer, against the time since the change."""

from __future__ import annotations

from collections.abc import Collection, Sequence

from kernel_lab.judge.history import read_history
from kernel_lab.judge.staleness import Slice, slices
from kernel_lab.publish.charts import Picture
from kernel_lab.publish.charts.plot import Plot, from_zero, percents
from kernel_lab.run.declaration import OverTime
from kernel_lab.run.folder import CellFolder
from kernel_lab.run.measures import Share
from kernel_lab.run.saved import SavedCell, SavedRun

SLICES = 6
"""Slices of a token's life: each is asked about often enough to have a share."""
MOST = 5
"""Curves a person can tell apart."""


def survival(run: SavedRun, scenario: str, drawn: Collection[str], watched: Sequence[str]) -> Picture | None:
    """The curves of those deployments of `drawn` in which the old answer survived.

    The text counts the deployments of `watched` that never gave the old answer. Round robin asks every worker equally
    often, so the share of old answers is the share of workers that give them.
    """
    declared = run.declared.get(scenario)
    if declared is None or declared.over_time is None:
        return None
    chart = declared.over_time
    curves: list[tuple[str, list[Slice]]] = []
    silent: list[str] = []
    life_s = 0.0
    for name in watched:
        cell = next((c for c in run.of(scenario, name) if c.connections == "round_robin"), None)
        lives = list(chart.watched(cell.parameters)) if cell and cell.history else []
        if cell is None or not lives:
            continue
        life_s = max(life_s, *lives)
        found = _slices(run, cell, chart, max(lives))
        asked, accepted = sum(one.asked for one in found), sum(one.accepted for one in found)
        if accepted and name in drawn and len(curves) < MOST:
            curves.append((name, found))
        elif asked and not accepted:
            silent.append(f"{name} {Share(0, asked)}")
    if not curves:
        return None
    x = from_zero(chart.x, [life_s * (1 + 1 / SLICES)], " s")
    plot = Plot(x=x, y=percents(chart.y))
    plot.upright(life_s, 0, 1, cls="ceiling")
    plot.write(chart.end, plot.px(life_s) + 5, plot.py(1) + 12, cls="note")
    told = []
    for series, (name, found) in enumerate(curves):
        _curve(plot, series, name, found)
        first = found[0]
        told.append(f"{name} begins at {Share(first.accepted, first.asked)}")
    caption = chart.caption.format(life_s=f"{life_s:g}")
    asked_of = ", ".join(f"{name} {sum(one.asked for one in found)}" for name, found in curves)
    caption += f" Asked were, over all slices: {asked_of}."
    if silent:
        caption += " None at any time: " + "; ".join(silent) + "."
    return Picture(
        title=chart.title,
        svg=plot.svg(f"{chart.y}, against {chart.x}: " + "; ".join(told)),
        legend=tuple((series, name) for series, (name, _) in enumerate(curves)),
        caption=caption,
    )


def _slices(run: SavedRun, cell: SavedCell, chart: OverTime, life_s: float) -> list[Slice]:
    """Return the slices, up to one slice after the end of the watched life."""
    history = read_history(CellFolder(run.path / cell.folder).history)
    return slices(chart.since(history, cell.parameters), width_s=life_s / SLICES)[: SLICES + 1]


def _curve(plot: Plot, series: int, name: str, found: Sequence[Slice]) -> None:
    parts = [(one, Share(one.accepted, one.asked)) for one in found]
    band, steps = [], []
    for one, part in parts:
        low, high = part.interval
        band += [(one.begin_s, low, high), (one.end_s, low, high)]
        steps += [(one.begin_s, part.value), (one.end_s, part.value)]
    plot.area(band, cls=f"band s{series}")
    plot.line(steps, cls=f"line s{series}")
    for one, part in parts:
        said = f"{name}, {one.begin_s:.1f} to {one.end_s:.1f} s after the revoke: {part} accepted"
        plot.point((one.begin_s + one.end_s) / 2, part.value, series=series, title=said)
