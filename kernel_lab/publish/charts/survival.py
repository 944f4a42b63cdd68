"""How long stale authority survives: the share of workers that still accept, by time since the revoke."""

from __future__ import annotations

from collections.abc import Collection, Sequence

from kernel_lab.judge.history import read_history
from kernel_lab.judge.staleness import Slice, since_revoke, slices
from kernel_lab.publish.charts import Picture
from kernel_lab.publish.charts.plot import Plot, from_zero, percents
from kernel_lab.publish.figures import Share
from kernel_lab.run.folder import CellFolder
from kernel_lab.run.saved import SavedCell, SavedRun

SLICES = 6
"""Slices of a token's life: each is asked about often enough to have a share."""
MOST = 5
"""Curves a person can tell apart."""


def survival(run: SavedRun, drawn: Collection[str], watched: Sequence[str]) -> Picture | None:
    """The curves of those deployments of `drawn` in which anything survived.

    Deployments of `watched` that accepted nothing are counted in words. Round robin asks every worker equally
    often, so the share of accepted invokes is the share of workers. The tokens are those of short life, which
    are asked for until they have expired.
    """
    curves: list[tuple[str, list[Slice]]] = []
    silent: list[str] = []
    life_s = 0.0
    for name in watched:
        cell = next((c for c in run.of("revocation", name) if c.connections == "round_robin"), None)
        lives = cell.parameters.get("token_ttls") if cell and cell.history else None
        if cell is None or not lives:
            continue
        life_s = max(life_s, *lives.values())
        found = _slices(run, cell, lives)
        asked, accepted = sum(one.asked for one in found), sum(one.accepted for one in found)
        if accepted and name in drawn and len(curves) < MOST:
            curves.append((name, found))
        elif asked and not accepted:
            silent.append(f"{name} {Share(0, asked)}")
    if not curves:
        return None
    x = from_zero("seconds since the revoke returned", [life_s * (1 + 1 / SLICES)], " s")
    plot = Plot(x=x, y=percents("workers that still accept the token"))
    plot.upright(life_s, 0, 1, cls="ceiling")
    plot.write("expires", plot.px(life_s) + 5, plot.py(1) + 12, cls="note")
    told = []
    for series, (name, found) in enumerate(curves):
        _curve(plot, series, name, found)
        first = found[0]
        told.append(f"{name} begins at {Share(first.accepted, first.asked)}")
    caption = (
        f"Tokens that live for {life_s:g} s are revoked, and every worker goes on being asked. A mark is the "
        "share accepted in its slice of time, the shade its 95 % interval. "
    )
    if silent:
        caption += "Accepted nothing at any time: " + "; ".join(silent) + "."
    return Picture(
        title="How long stale authority survives",
        svg=plot.svg("Share of workers that still accept a revoked token, against time: " + "; ".join(told)),
        legend=tuple((series, name) for series, (name, _) in enumerate(curves)),
        caption=caption,
    )


def _slices(run: SavedRun, cell: SavedCell, lives: dict[str, float]) -> list[Slice]:
    """Up to one slice past the token's life: by then it has expired everywhere."""
    width_s = max(lives.values()) / SLICES
    history = read_history(CellFolder(run.path / cell.folder).history)
    return slices(since_revoke(history, lives), width_s=width_s)[: SLICES + 1]


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
