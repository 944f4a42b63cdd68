"""The measurements over several hosts, which stand beside the run: ``hosts.csv`` and ``hosts_faults.csv``.

::

    python -m kernel_lab.publish.hosts RUN [RUN ...] OUT

reads one or more runs on a swarm. ``OUT/hosts.csv`` has one row for each of their cells without a fault, and
``OUT/hosts_faults.csv`` one for each cell under a fault of hosts. The column ``run`` tells the runs apart: the same
cell in several runs is how a verdict is shown to repeat. ``OUT/environment.json`` is that of the first run, and
names the others. `OUT` can be packed beside another run (``kernel-lab pack --beside``).
"""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

from kernel_lab import markdown
from kernel_lab.deployments.deployment import Deployment
from kernel_lab.judge.verdict import MARK, Validity
from kernel_lab.publish import markers
from kernel_lab.publish.figures import share, times
from kernel_lab.run import effect, registry
from kernel_lab.run.folder import RunFolder
from kernel_lab.run.results import write_rows
from kernel_lab.run.saved import NotASavedRun, Row, SavedCell, SavedRun, read_run
from kernel_lab.traffic.connections import Policy

COLUMNS = (
    "run", "deployment", "replicas", "workers", "routing", "scenario", "connections", "quick", "validity", "expected",
    "figure", "reason",
)  # fmt: skip
FAULT_COLUMNS = ("run", *effect.COLUMNS)
JUDGED = (Validity.VALID, Validity.INVALID)
PAIRS = (("memory-4", "hosts-memory"), ("redis", "hosts-redis"))
"""State in each worker and state in one store: on one host, and over several."""
WHERE = ("one host,", "several hosts,")
TOLD = ("started", "finished", "commit", "load_average", "arguments")
"""The facts about a run other than the first that ``environment.json`` keeps."""
KINDS_OF_STATE = ("memory", "sqlite", "redis", "sticky", "sidecar", "remote")


def rows(run: SavedRun, number: int) -> list[dict[str, object]]:
    """A row for each cell without a fault of a run on a swarm; `number` tells runs apart, from 1."""
    known = registry.hosts()
    quick = {(row["scenario"], row["deployment"]): row.get("quick", "") for row in run.tables["verdicts"]}
    return [
        {
            "run": number, "deployment": cell.deployment, "replicas": cell.replicas, "workers": cell.workers,
            "routing": known[cell.deployment].routing, "scenario": cell.scenario, "connections": cell.connections,
            "quick": quick[cell.scenario, cell.deployment], "validity": cell.validity, "expected": cell.expected or "",
            "figure": _figure(cell), "reason": cell.reason,
        }
        for cell in run.cells
        if cell.deployment in known and not cell.fault
    ]  # fmt: skip


def fault_rows(run: SavedRun, number: int) -> list[dict[str, object]]:
    """A row for each cell under a fault of hosts."""
    known = registry.hosts()
    return [{"run": number, **row} for row in run.tables.get("faults", ()) if row["deployment"] in known]


def _figure(cell: SavedCell) -> str:
    """The figure that a claim is about, in words; empty where none was observed."""
    if cell.validity not in JUDGED:
        return ""
    if (over := times(cell)) is not None:
        return f"× {over:.1f}"
    part = share(cell)
    return "" if part is None else str(part)


def table(run: SavedRun) -> str:
    """Claims by deployments over hosts: a mark for each connection policy, and the figure with every worker asked."""
    measured = _first(run)
    if not measured:
        return markdown.table([["what"], [markers.NOT_MEASURED]])
    names = list(dict.fromkeys(row["deployment"] for row in measured))
    shapes = {row["deployment"]: f"{row['replicas']} × {row['workers']}" for row in measured}
    head = ["claim", *(f"`{name}` ({shapes[name]})" for name in names)]
    body = [
        [claim.replace("_", " "), *(_box(measured, claim, name) for name in names)]
        for claim in dict.fromkeys(row["scenario"] for row in measured)
    ]
    return markdown.table([head, *body])


def _first(run: SavedRun) -> list[Row]:
    """The rows of the first run: the others show what repeats."""
    return [row for row in run.tables.get("hosts", ()) if row["run"] == "1"]


def repeated(run: SavedRun) -> str:
    """How often each deployment was measured, and how many of its verdicts were the same every time."""
    body = []
    for name in dict.fromkeys(row["deployment"] for row in run.tables.get("hosts", ())):
        mine = [row for row in run.tables["hosts"] if row["deployment"] == name and row["validity"] in JUDGED]
        runs = {row["run"] for row in mine}
        verdicts: dict[tuple[str, str], list[str]] = {}
        for row in mine:
            verdicts.setdefault((row["scenario"], row["connections"]), []).append(row["validity"])
        same = sum(len(found) == len(runs) and len(set(found)) == 1 for found in verdicts.values())
        as_expected = sum(row["validity"] == row["expected"] for row in mine)
        body.append(
            [f"`{name}`", str(len(runs)), f"{same} of {len(verdicts)}", f"{as_expected} of {len(mine)}"]
        )
    if not body:
        return markdown.table([["what"], [markers.NOT_MEASURED]])
    head = ["deployment", "runs", "cells with the same verdict in each run", "verdicts as expected, all runs"]
    return markdown.table([head, *body])


def suffered(run: SavedRun) -> str:
    """Faults of hosts by claims: a mark for each run, and what the faults cost over all of them."""
    measured = run.tables.get("hosts_faults", ())
    if not measured:
        return markdown.table([["what"], [markers.NOT_MEASURED]])
    claims = list(dict.fromkeys(row["claim"] for row in measured))
    body = []
    for deployment, fault in dict.fromkeys((row["deployment"], row["fault"]) for row in measured):
        mine = [row for row in measured if (row["deployment"], row["fault"]) == (deployment, fault)]
        marks = (
            "".join(MARK[Validity(row["validity"])] for row in mine if row["claim"] == claim)
            for claim in claims
        )
        body.append([f"`{fault}`", f"`{deployment}`", *marks, _failed(mine), _away(mine)])
    head = [
        "fault", "deployment", *(claim.replace("_", " ") for claim in claims),
        "requests that failed", "from the first failure to the end of failures",
    ]  # fmt: skip
    return markdown.table([head, *body])


def _failed(cells: Sequence[Row]) -> str:
    counted = [(int(row["failed_requests"]), int(row["requests"])) for row in cells if row["requests"]]
    return (
        f"{sum(failed for failed, _ in counted):,} of {sum(asked for _, asked in counted):,}"
        if counted
        else ""
    )


def _away(cells: Sequence[Row]) -> str:
    """From the first failed call until calls succeeded: the shortest time and the longest; empty where none failed."""
    seconds = [float(row["unavailable_ms"]) / 1000 for row in cells if float(row["unavailable_ms"] or 0)]
    return f"{min(seconds):.1f} to {max(seconds):.1f} s" if seconds else ""


def compared(run: SavedRun) -> str:
    """One host beside three, with every worker asked in turn; each cell is measured."""
    measured = _first(run)
    if not measured:
        return markdown.table([["what"], [markers.NOT_MEASURED]])
    there = {row["deployment"] for row in measured}
    pairs = [(one, three) for one, three in PAIRS if three in there]
    head = [
        "claim",
        *(f"{where} `{name}`" for pair in pairs for where, name in zip(WHERE, pair, strict=True)),
    ]
    body = [
        [
            claim.replace("_", " "),
            *(box for one, three in pairs for box in (_one(run, claim, one), _three(measured, claim, three))),
        ]
        for claim in dict.fromkeys(row["scenario"] for row in measured)
    ]
    return markdown.table([head, *body])


def _one(run: SavedRun, claim: str, name: str) -> str:
    cells = [cell for cell in run.of(claim, name) if cell.connections == Policy.ROUND_ROBIN]
    return f"{MARK[cells[0].validity]} {_figure(cells[0])}" if cells else markers.NOT_MEASURED


def _three(measured: Sequence[Row], claim: str, name: str) -> str:
    found = [
        row
        for row in measured
        if (row["scenario"], row["deployment"], row["connections"]) == (claim, name, Policy.ROUND_ROBIN)
    ]
    return f"{MARK[Validity(found[0]['validity'])]} {found[0]['figure']}" if found else markers.NOT_MEASURED


def _box(measured: Sequence[Row], claim: str, name: str) -> str:
    cells = {
        row["connections"]: row for row in measured if (row["scenario"], row["deployment"]) == (claim, name)
    }
    marks = "".join(MARK[Validity(cells[policy]["validity"])] for policy in Policy if policy in cells)
    # counts and intervals stand in the CSV: six deployments are to fit beside each other
    figure, _, _ = cells.get(Policy.ROUND_ROBIN, {}).get("figure", "").partition(" (")
    return f"{marks} {figure}".strip()


def spans(run: SavedRun, deployment: Deployment) -> str:
    """Return how many claims hold over hosts with the state of this deployment; empty where this was not measured."""
    name = f"hosts-{_kind(deployment)}"
    rows = [row for row in _first(run) if row["deployment"] == name and row["validity"] in JUDGED]
    if not rows:
        return ""
    judged: dict[str, set[str]] = {}
    for row in rows:
        judged.setdefault(row["scenario"], set()).add(row["validity"])
    held = sum(found == {Validity.VALID.value} for found in judged.values())
    quick = ", quick run" if any(row["quick"] == "quick" for row in rows) else ""
    return (
        f"measured with {rows[0]['replicas']} hosts × {rows[0]['workers']} workers ({name}{quick}): "
        f"{held} of {len(judged)} claims hold"
    )


def _kind(deployment: Deployment) -> str:
    """The kind of deployment over hosts of which this deployment is one replica; empty if there is none."""
    if deployment.name in KINDS_OF_STATE:
        return deployment.name
    return "memory" if deployment.name in ("memory-2", "memory-4", "memory-8", "replicas") else ""


def _runs(written: Sequence[Mapping[str, object]]) -> int:
    return len({row["run"] for row in written})


def main(arguments: Sequence[str]) -> int:
    """Write ``hosts.csv`` and ``hosts_faults.csv`` of runs into a folder."""
    if len(arguments) < 2:
        print(
            "hosts: two or more arguments are needed: runs on a swarm, and the folder to write to",
            file=sys.stderr,
        )
        return 64
    *sources, out = (Path(one) for one in arguments)
    try:
        runs = [read_run(source) for source in sources]
    except NotASavedRun as error:
        print(f"hosts: {error}", file=sys.stderr)
        return 64
    fair: list[Mapping[str, object]] = []
    under_fault: list[Mapping[str, object]] = []
    for source, run in zip(sources, runs, strict=True):
        found, suffered = rows(run, _runs(fair) + 1), fault_rows(run, _runs(under_fault) + 1)
        if not found and not suffered:
            print(f"hosts: {source}: has no deployment over hosts", file=sys.stderr)
            return 64
        fair += found
        under_fault += suffered
    folder = RunFolder(out)
    folder.path.mkdir(parents=True, exist_ok=True)
    write_rows(folder.table("hosts"), COLUMNS, fair)
    if under_fault:
        write_rows(folder.table("hosts_faults"), FAULT_COLUMNS, under_fault)
    others = [{name: run.environment.get(name) for name in TOLD} for run in runs[1:]]
    folder.write_environment({**runs[0].environment, "other_runs": others})
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
