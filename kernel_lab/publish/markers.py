"""Markers: where a figure of a run stands in a text.

Two kinds, both invisible once rendered::

    <!-- figure: rate_limit.csv memory-4 fresh factor -->× 3.8<!-- /figure -->
    <!-- table: front -->
    | … |
    <!-- /table -->

A **figure** names a CSV, the row by its keys, and the column. Keys are taken in the file's own order (see
`KEYS`); keys that are left out must be empty in the row. The column ``share`` of a scenario's CSV is the
share the scenario is about, with its count and its interval. Where a run has no row at all of a deployment that the
lab has, the figure reads `NOT_MEASURED`. A **table** has a name that the caller gives a
meaning.

Filling a text twice changes nothing, so a text and a run are held together by comparing the two.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence

from kernel_lab.publish import figures
from kernel_lab.run import registry
from kernel_lab.run.measures import Kind, percent
from kernel_lab.run.saved import Row, SavedRun, number

KEYS: dict[str, tuple[str, ...]] = {
    "convergence": ("deployment", "max_stale_ms"),
    "cost": ("deployment", "mix", "step"),
    "cost_app": ("app", "mix"),
    "cost_callers": ("deployment", "mix", "callers"),
    "cost_distance": ("deployment", "mix", "rtt_ms"),
    "cost_size": ("deployment", "mix", "handles"),
    "faults": ("deployment", "fault", "claim"),
    "frontier": ("deployment",),
    "shares": ("scenario", "deployment", "connections", "worker"),
    "state": ("state", "call"),
    "verdicts": ("scenario", "deployment", "connections", "fault"),
}
"""The columns that name a row, per CSV; a scenario's are the last of these without the scenario."""

NOT_MEASURED = "not measured in this run"

_FIGURE = re.compile(r"<!-- figure: (?P<words>[^>]*?) -->(?P<text>.*?)<!-- /figure -->", re.DOTALL)
_TABLE = re.compile(r"<!-- table: (?P<name>[^>]*?) -->\n(?P<text>.*?)<!-- /table -->", re.DOTALL)
_OPEN = re.compile(r"<!-- /?(?:figure|table)\b")


class BadMarker(ValueError):  # noqa: N818 - it names a thing
    """A marker that says nothing about the run; the message says what is wrong with it."""


def fill(text: str, run: SavedRun, tables: Mapping[str, Callable[[SavedRun], str]]) -> str:
    """The text with every marker's figure or table as the run has it.

    Raises:
        BadMarker: A marker that is not closed, or that names what is not there.
    """
    check(text, tables)
    text = _FIGURE.sub(lambda found: _put("figure", found["words"], figure(run, found["words"])), text)
    return _TABLE.sub(
        lambda found: _put("table", found["name"], "\n" + tables[found["name"]](run).strip() + "\n"), text
    )


def check(text: str, tables: Mapping[str, Callable[[SavedRun], str]]) -> None:
    """Check that every marker is complete, and that every table is known.

    Raises:
        BadMarker: With the marker.
    """
    whole = 2 * (len(_FIGURE.findall(text)) + len(_TABLE.findall(text)))
    if len(_OPEN.findall(text)) != whole:
        raise BadMarker("a marker that is not closed, or closed and not opened")
    for found in _TABLE.finditer(text):
        if found["name"] not in tables:
            raise BadMarker(f"no table {found['name']!r}; one of: {', '.join(tables)}")


def figure(run: SavedRun, words: str) -> str:
    """One figure as it is read: ``rate_limit.csv memory-4 fresh factor`` is ``× 3.8``.

    Raises:
        BadMarker: No such file, row or column in the run, or nothing was observed.
    """
    file, *keys, column = words.split() if len(words.split()) > 2 else ("", "", "")
    name = file.removesuffix(".csv")
    rows = run.tables.get(name)
    if not file.endswith(".csv") or rows is None:
        there = ", ".join(f"{one}.csv" for one in run.tables)
        raise BadMarker(f"figure: {words}: should be FILE.csv KEYS… COLUMN, with a file of: {there}")
    named = KEYS.get(name, KEYS["verdicts"][1:])
    wanted = dict(zip(named, [*keys, *[""] * (len(named) - len(keys))], strict=False))
    found = [row for row in rows if all(row.get(key, "") == value for key, value in wanted.items())]
    if not found and len(keys) <= len(named) and _was_left_out(rows, wanted.get("deployment", "")):
        return NOT_MEASURED
    if len(keys) > len(named) or len(found) != 1:
        raise BadMarker(f"figure: {words}: {len(found)} rows of {file} have {wanted}")
    if column == "share" and name not in KEYS:
        return _share(run, name, wanted, words)
    declared = run.declared.get(name)
    kinds = {one.name: one.kind for one in declared.quantities} if declared else {}
    return _say(found[0], column, kinds.get(column), words)


def _was_left_out(rows: Sequence[Row], deployment: str) -> bool:
    """Whether a deployment that the lab has is in no row: the run is older, or did not ask it."""
    return deployment in registry.deployments() and all(row["deployment"] != deployment for row in rows)


def _share(run: SavedRun, scenario: str, wanted: Mapping[str, str], words: str) -> str:
    for cell in run.of(scenario, wanted["deployment"], fault=wanted["fault"]):
        part = figures.share(cell) if cell.connections == wanted["connections"] else None
        if part is not None:
            return str(part)
    raise BadMarker(f"figure: {words}: the cell counts no share")


def _say(row: Row, column: str, kind: Kind | None, words: str) -> str:
    """A field with its unit: as its scenario declares it, or as its column's name tells."""
    if column not in row:
        raise BadMarker(f"figure: {words}: no such column; one of: {', '.join(row)}")
    value = number(row[column])
    if value is None:
        raise BadMarker(f"figure: {words}: not observed: the field is empty")
    if isinstance(value, str):
        return value
    low, high = row.get(f"{column}_low"), row.get(f"{column}_high")
    between = f" ({float(low):.2f} to {float(high):.2f})" if low and high else ""
    if "_vs_" in column:
        return f"× {value:.2f}{between}"
    if kind is Kind.MULTIPLE:
        return f"× {value:.1f}"
    if kind is Kind.RATE or column.endswith(("_rate", "_share", "share")):
        return percent(value)
    if kind is Kind.LAG or "_ms" in column:
        said = f"{value / 1000:.1f} s" if value >= 950 else f"{value:.3g} ms"
        return said + between.replace(")", " ms)")
    return f"{value:,.0f}" if isinstance(value, int) or value >= 100 else f"{value:.3g}"


def _put(kind: str, name: str, text: str) -> str:
    return f"<!-- {kind}: {name} -->{text}<!-- /{kind} -->"
