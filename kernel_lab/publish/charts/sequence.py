"""A counter-example as a sequence: each worker has lanes, and each call is a box from its call to its return.

The order of all calls and returns is exact, so boxes overlap where calls did; distances are not, or the
milliseconds beside a second could not be seen. Each box says when it was called.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import count
from typing import Any
from xml.etree import ElementTree as ET

from markupsafe import Markup

from kernel_lab.publish.charts.plot import to_markup

LANE_PX, BOX_PX = 46, 22
LEFT_PX, STEP_PX = 96, 12
LETTER_PX = 6.6
SILENT = "no reply"


def sequence(lines: Sequence[Mapping[str, Any]]) -> Markup:
    """Draw history lines. The last call is the one that should not have been answered as it was."""
    calls = sorted(lines, key=lambda line: (line["call_ns"], line["index"]))
    lanes = _lanes(calls)
    workers = list(dict.fromkeys(worker for worker, _ in lanes))
    rows = sorted(set(lanes), key=lambda lane: (workers.index(lane[0]), lane[1]))
    at, width = _places(calls)
    height = LANE_PX * len(rows) + 8
    root = ET.Element(
        "svg",
        {
            "viewBox": f"0 0 {width:g} {height}",
            "width": f"{width:g}",
            "height": str(height),
            "class": "sequence",
            "role": "img",
            "aria-label": f"{len(calls)} calls over {len(workers)} workers; told line by line beside it",
        },
    )
    for number, (worker, part) in enumerate(rows):
        y = LANE_PX * number + 20
        ends = {"x1": str(LEFT_PX), "x2": f"{width:g}", "y1": str(y), "y2": str(y)}
        ET.SubElement(root, "line", {**ends, "class": "lane"})
        if not part:
            _write(root, worker, 0, y + 4, "lane-name")
    start_ns = calls[0]["call_ns"] if calls else 0
    for order, line in enumerate(calls):
        y = LANE_PX * rows.index(lanes[order]) + 20
        wrong = order == len(calls) - 1
        _box(root, line, at[order], y, since_ns=line["call_ns"] - start_ns, wrong=wrong)
    return to_markup(root)


def _lanes(calls: Sequence[Mapping[str, Any]]) -> list[tuple[str, int]]:
    """Each call's worker, and which of its lanes: a worker has as many as it has calls at once."""
    busy_ns: dict[tuple[str, int], int] = {}
    found = []
    for line in calls:
        worker = "/".join(line["worker"].split("/")[:2]) if line["worker"] else SILENT
        part = next(part for part in count() if busy_ns.get((worker, part), -1) < line["call_ns"])
        busy_ns[worker, part] = _end_ns(line)
        found.append((worker, part))
    return found


def _end_ns(line: Mapping[str, Any]) -> int:
    """A call that never returned takes up no room."""
    end_ns: int = line["call_ns"] if line["return_ns"] is None else line["return_ns"]
    return end_ns


def word(line: Mapping[str, Any]) -> str:
    """Return the text of a box."""
    answered = {"ok": "ok", "fail": "refused", "info": "no reply"}[line["outcome"]]
    return f"{line['f'].replace('_', ' ')}: {answered}"


def _places(calls: Sequence[Mapping[str, Any]]) -> tuple[list[tuple[float, float]], float]:
    """Begin and end of every box, in pixels, and how wide the picture is.

    Calls and returns are taken in the order in which they happened, each a step after the one before; a
    return is far enough from its call for the words.
    """
    events = [(line["call_ns"], 0, order) for order, line in enumerate(calls)]
    events += [(_end_ns(line), 1, order) for order, line in enumerate(calls)]
    begin, end = [0.0] * len(calls), [0.0] * len(calls)
    x = LEFT_PX - STEP_PX / 2
    for _, returns, order in sorted(events):
        if returns:
            x = end[order] = max(x + STEP_PX, begin[order] + LETTER_PX * len(word(calls[order])) + 14)
        else:
            x = begin[order] = x + STEP_PX
    return list(zip(begin, end, strict=True)), x + STEP_PX


def _box(
    root: ET.Element,
    line: Mapping[str, Any],
    place: tuple[float, float],
    y: float,
    *,
    since_ns: int,
    wrong: bool,
) -> None:
    low, high = place
    group = ET.SubElement(root, "g", {"class": f"call {line['outcome']}" + (" wrong" if wrong else "")})
    box = {
        "x": f"{low:.1f}",
        "y": f"{y - BOX_PX / 2:.1f}",
        "width": f"{high - low:.1f}",
        "height": f"{BOX_PX}",
    }
    ET.SubElement(group, "rect", {**box, "rx": "4"})
    _write(group, word(line), low + 7, y + 4, "what")
    _write(group, f"+{since_ns / 1e6:.1f} ms", low + 1, y + BOX_PX / 2 + 11, "when")


def _write(parent: ET.Element, text: str, x: float, y: float, cls: str) -> None:
    ET.SubElement(parent, "text", {"x": f"{x:.1f}", "y": f"{y:.1f}", "class": cls}).text = text
