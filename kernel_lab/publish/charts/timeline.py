"""One deployment around one fault: how many calls were answered, refused and failed, and how long answers took."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from xml.etree import ElementTree as ET

from markupsafe import Markup

from kernel_lab.publish.charts.plot import to_markup

WIDTH, RATE, LATENCY, GAP, TOP = 260, 54, 26, 14, 12
HEIGHT = TOP + RATE + GAP + LATENCY + 4
SERIES = (("ok", "s0"), ("refused", "s4"), ("failed", "s1"))
"""The columns of ``fault_timeline.csv`` that are drawn as rates, and their colours."""


def timeline(rows: Sequence[dict[str, str]], *, bin_ms: int, until_ms: int, label: str) -> Markup:
    """A small picture: two panels over one axis of time, with the time of the fault shaded.

    Args:
        rows: Rows of ``fault_timeline.csv``, in the order of time.
        bin_ms: How long one row lasts.
        until_ms: Where the axis of time ends, so that pictures beside each other have the same.
        label: What it shows, for somebody who cannot see it.
    """
    root = ET.Element("svg", {"viewBox": f"0 0 {WIDTH} {HEIGHT}", "class": "plot", "role": "img"})
    begin_ms = min(int(row["at_ms"]) for row in rows)
    rates = [int(row[name]) * 1000 / bin_ms for row in rows for name, _ in SERIES]
    slow_ms = [float(row["latency_ms"]) for row in rows if row["latency_ms"]]
    most, slowest = max(rates, default=0) or 1, max(slow_ms, default=0) or 1

    def across(at_ms: float) -> int:
        return round(WIDTH * (at_ms - begin_ms) / max(until_ms - begin_ms, bin_ms))

    force = [int(row["at_ms"]) for row in rows if row["in_force"] == "1"]
    if force:
        left, right = across(force[0]), across(force[-1] + bin_ms)
        shade = {"x": str(left), "y": str(TOP), "width": str(right - left), "height": str(HEIGHT - TOP)}
        ET.SubElement(root, "rect", {**shade, "class": "bar b1 pale"})
    for name, colour in SERIES:
        _line(root, rows, across, colour, bin_ms, lambda row, name=name: (  # type: ignore[misc]
            TOP + RATE - RATE * int(row[name]) * 1000 / bin_ms / most
        ))  # fmt: skip
    below = TOP + RATE + GAP + LATENCY
    _line(
        root, [row for row in rows if row["latency_ms"]], across, "s3", bin_ms,
        lambda row: below - LATENCY * float(row["latency_ms"]) / slowest,
    )  # fmt: skip
    for words, y in ((f"{most:.0f} calls/s", TOP - 2), (f"{slowest:.0f} ms", TOP + RATE + GAP - 2)):
        ET.SubElement(root, "text", {"x": "0", "y": str(y), "class": "note"}).text = words
    root.set("aria-label", label)
    return to_markup(root)


def _line(
    root: ET.Element,
    rows: Sequence[dict[str, str]],
    across: Callable[[float], int],
    colour: str,
    bin_ms: int,
    height: Callable[[dict[str, str]], float],
) -> None:
    """One line through the middles of the bins, broken where nothing was called."""
    runs: list[list[str]] = []
    last_ms: int | None = None
    for row in rows:
        at_ms = int(row["at_ms"])
        if last_ms is None or at_ms - last_ms > bin_ms:
            runs.append([])
        runs[-1].append(f"{across(at_ms + bin_ms / 2)},{round(height(row))}")
        last_ms = at_ms
    for points in runs:
        if len(points) == 1:
            x, y = points[0].split(",")
            points.append(f"{int(x) + 1},{y}")  # a line of one point is not drawn
        ET.SubElement(root, "polyline", {"points": " ".join(points), "class": f"line {colour}"})
