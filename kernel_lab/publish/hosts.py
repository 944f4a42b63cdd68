"""The measurements over several hosts, which stand beside the run: ``hosts.csv``.

::

    python -m kernel_lab.publish.hosts RUN OUT

writes ``OUT/hosts.csv`` with one row for each cell of a run on a swarm, and ``OUT/environment.json``. `OUT` can be
packed beside another run (``kernel-lab pack --beside``).
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
from kernel_lab.run import registry
from kernel_lab.run.folder import RunFolder
from kernel_lab.run.results import write_rows
from kernel_lab.run.saved import NotASavedRun, Row, SavedCell, SavedRun, read_run
from kernel_lab.traffic.connections import Policy

COLUMNS = (
    "deployment", "replicas", "workers", "routing", "scenario", "connections", "quick", "validity", "expected",
    "figure", "reason",
)  # fmt: skip
JUDGED = (Validity.VALID, Validity.INVALID)
PAIRS = (("memory-4", "hosts-memory"), ("redis", "hosts-redis"))
"""State in each worker and state in one store: on one host, and over several."""
WHERE = ("one host,", "several hosts,")
KINDS_OF_STATE = ("memory", "sqlite", "redis", "sticky", "sidecar", "remote")


def rows(run: SavedRun) -> list[dict[str, object]]:
    """A row for each cell of a run on a swarm."""
    known = registry.hosts()
    quick = {(row["scenario"], row["deployment"]): row.get("quick", "") for row in run.tables["verdicts"]}
    return [
        {
            "deployment": cell.deployment, "replicas": cell.replicas, "workers": cell.workers,
            "routing": known[cell.deployment].routing, "scenario": cell.scenario, "connections": cell.connections,
            "quick": quick[cell.scenario, cell.deployment], "validity": cell.validity, "expected": cell.expected or "",
            "figure": _figure(cell), "reason": cell.reason,
        }
        for cell in run.cells
        if cell.deployment in known and not cell.fault
    ]  # fmt: skip


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
    measured = run.tables.get("hosts", ())
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


def compared(run: SavedRun) -> str:
    """One host beside three, with every worker asked in turn; each cell is measured."""
    measured = run.tables.get("hosts", ())
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
    figure = cells.get(Policy.ROUND_ROBIN, {}).get("figure", "")
    return f"{marks} {figure}".strip()


def spans(run: SavedRun, deployment: Deployment) -> str:
    """Return how many claims hold over hosts with the state of this deployment; empty where this was not measured."""
    name = f"hosts-{_kind(deployment)}"
    rows = [
        row for row in run.tables.get("hosts", ()) if row["deployment"] == name and row["validity"] in JUDGED
    ]
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


def main(arguments: Sequence[str]) -> int:
    """Write ``hosts.csv`` of a run into a folder."""
    if len(arguments) != 2:
        print(
            "hosts: two arguments are needed: a run on a swarm, and the folder to write to", file=sys.stderr
        )
        return 64
    source, out = Path(arguments[0]), RunFolder(Path(arguments[1]))
    try:
        run = read_run(source)
    except NotASavedRun as error:
        print(f"hosts: {error}", file=sys.stderr)
        return 64
    found: list[Mapping[str, object]] = [*rows(run)]
    if not found:
        print(f"hosts: {source}: has no deployment over hosts", file=sys.stderr)
        return 64
    out.path.mkdir(parents=True, exist_ok=True)
    write_rows(out.table("hosts"), COLUMNS, found)
    out.write_environment(run.environment)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
