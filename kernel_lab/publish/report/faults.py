"""The page's matrix of faults: faults down, deployments across, and in each box which claims broke."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from markupsafe import Markup

from kernel_lab.publish.charts import link
from kernel_lab.publish.charts.timeline import timeline
from kernel_lab.run.saved import Row, SavedRun
from kernel_lab.run.timeline import BIN_MS, TABLE

WORDS = {
    "open": "fails open",
    "times_n": "broken without the fault too",
    "": "unknown",
    "refuses_good": "refuses what is good",
    "closed": "refuses",
    "none": "goes on",
}
"""Mode → what a box says of the claims in it, the worst first; `shown` tells the mode."""
CLASSES = {
    "open": "invalid",
    "times_n": "invalid",
    "": "unknown",
    "refuses_good": "invalid",
    "closed": "valid",
    "none": "valid",
}
"""Mode → the colour of a box in which it is the worst."""


def shown(row: Row) -> str:
    """The mode of a row; a claim that refused what is good has a word of its own, because it is violated."""
    return "refuses_good" if (row["mode"], row["validity"]) == ("closed", "invalid") else row["mode"]


@dataclass(frozen=True, slots=True, kw_only=True)
class FaultBox:
    """One deployment under one fault."""

    validity: str
    """The colour: the worst of its claims."""
    lines: tuple[tuple[str, str, str, bool], ...]
    """For each mode: its words, the claims in it, a link to the first claim's cell (empty where the run does not have
    it), and whether the fault broke them."""
    said: str
    """The time for which the service was away, and the number of failed requests, in words."""


@dataclass(frozen=True, slots=True, kw_only=True)
class FaultTable:
    """Faults by deployments."""

    columns: tuple[str, ...]
    rows: tuple[tuple[str, tuple[FaultBox | None, ...]], ...]
    """A fault, and its boxes; None where the deployment cannot have it."""


def fault_table(run: SavedRun) -> FaultTable | None:
    """The matrix of ``faults.csv``; None for a run without faults."""
    rows = run.tables.get("faults", ())
    if not rows:
        return None
    cells = {(one.scenario, one.deployment, one.connections, one.fault): one.name for one in run.cells}
    suffered: dict[str, dict[str, list[Row]]] = {}
    for row in rows:
        suffered.setdefault(row["fault"], {}).setdefault(row["deployment"], []).append(row)
    deployments = tuple(dict.fromkeys(row["deployment"] for row in rows))
    boxes = {
        fault: tuple(_box(found.get(name, ()), cells) for name in deployments)
        for fault, found in suffered.items()
    }
    return FaultTable(
        columns=deployments, rows=tuple((fault, some) for fault, some in boxes.items() if any(some))
    )


def _box(rows: Sequence[Row], cells: Mapping[tuple[str, str, str, str], str]) -> FaultBox | None:
    judged = [row for row in rows if row["validity"] != "skipped"]
    modes = {mode: some for mode in WORDS if (some := [row for row in judged if shown(row) == mode])}
    if not modes:
        return None
    lines = []
    for mode, some in modes.items():
        first = some[0]
        cell = cells.get((first["claim"], first["deployment"], first["connections"], first["fault"]))
        lines.append((WORDS[mode], _claims(some), link(cell) if cell else "", mode == "open"))
    return FaultBox(validity=CLASSES[next(iter(modes))], lines=tuple(lines), said=_away(judged))


def _claims(rows: Sequence[Row]) -> str:
    return ", ".join(row["claim"].replace("_", " ") for row in rows)


def _requests(count: int) -> str:
    return f"{count} request{'' if count == 1 else 's'}"


def _away(rows: Sequence[Row]) -> str:
    failed = [int(row["failed_requests"]) for row in rows if row["failed_requests"]]
    if not failed:
        return ""
    asked = [row.get("requests", "") for row in rows if row["failed_requests"]]
    total = sum(map(int, asked)) if all(asked) else None
    if not any(failed):
        return "no request failed" if total is None else f"none of {_requests(total)} failed"
    many = _requests(sum(failed)) if total is None else f"{sum(failed)} of {_requests(total)}"
    away = max(float(row["unavailable_ms"]) for row in rows if row["unavailable_ms"])
    back = [float(row["recovered_ms"]) for row in rows if row["recovered_ms"]]
    said = f"{many} failed over {away / 1000:.1f} s"
    never = any(row["failed_requests"] not in ("", "0") and not row["recovered_ms"] for row in rows)
    if never:
        return f"{said}, until the lab stopped looking"
    return f"{said}; back {max(back) / 1000:.1f} s after the fault" if back else said


@dataclass(frozen=True, slots=True, kw_only=True)
class FaultTimelines:
    """The calls of each deployment around one fault."""

    fault: str
    pictures: tuple[tuple[str, str, Markup], ...]
    """A deployment, what was counted and for how long, and the picture."""


def timelines(run: SavedRun) -> list[FaultTimelines]:
    """The timelines of ``fault_timeline.csv``, fault by fault; nothing for a run that has none."""
    found: dict[str, dict[str, list[Row]]] = {}
    for row in run.tables.get(TABLE, ()):
        found.setdefault(row["fault"], {}).setdefault(row["deployment"], []).append(row)
    return [
        FaultTimelines(
            fault=fault,
            pictures=tuple(
                (name, _said(rows), _picture(name, fault, rows, some)) for name, rows in some.items()
            ),
        )
        for fault, some in found.items()
    ]


def _said(rows: Sequence[Row]) -> str:
    """Return the counted numbers, their totals, and the time."""
    ok, refused, failed = (sum(int(row[name]) for row in rows) for name in ("ok", "refused", "failed"))
    begin_ms, end_ms = int(rows[0]["at_ms"]), int(rows[-1]["at_ms"]) + BIN_MS
    return (
        f"{ok + refused + failed} calls: {ok} answered, {refused} refused, {failed} failed, from "
        f"{-begin_ms / 1000:g} s before the fault to {end_ms / 1000:g} s after it began"
    )


def _picture(deployment: str, fault: str, rows: Sequence[Row], beside: Mapping[str, Sequence[Row]]) -> Markup:
    until_ms = max(int(row["at_ms"]) for some in beside.values() for row in some) + BIN_MS
    label = f"{deployment} under {fault.replace('_', ' ')}: {_said(rows)}"
    return timeline(rows, bin_ms=BIN_MS, until_ms=until_ms, label=label)


STORE_FAULTS = ("kill_store", "stop_store", "lock_store", "kill_sidecar", "kill_remote")
"""Faults in which what holds the shared state is away."""


def store_away(run: SavedRun, deployment: str) -> str:
    """Return the measurements of a deployment whose store cannot be reached; empty where there are none."""
    told = []
    for fault in STORE_FAULTS:
        rows = [
            row
            for row in run.tables.get("faults", ())
            if (row["deployment"], row["fault"]) == (deployment, fault) and row["validity"] != "skipped"
        ]
        broken = [row for row in rows if row["mode"] == "open"]
        refused = [row for row in rows if shown(row) == "refuses_good"]
        unknown = [row for row in rows if not row["mode"]]
        said = []
        if broken:
            said.append(f"fails open ({_claims(broken)})")
        if refused:
            said.append(f"refuses what is good ({_claims(refused)})")
        if not broken and not refused and len(unknown) < len(rows):
            said.append("nothing broke that held before")
        if unknown:
            said.append(f"unknown ({_claims(unknown)})")
        if said:
            told.append(f"{fault.replace('_', ' ')}: {', '.join(said)}")
    return "; ".join(told)
