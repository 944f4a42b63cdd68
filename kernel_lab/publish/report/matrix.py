"""The matrix: claims down, deployments across, and in each box the worst of the connection policies."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from kernel_lab.deployments.deployment import Deployment
from kernel_lab.judge.verdict import MARK, Validity
from kernel_lab.load.costs.table import References
from kernel_lab.load.costs.tables import ratio
from kernel_lab.publish import figures, hosts
from kernel_lab.publish.charts import link
from kernel_lab.publish.report.faults import store_away
from kernel_lab.run.saved import SavedCell, SavedRun

WORD = {
    Validity.VALID: "holds",
    Validity.INVALID: "broken",
    Validity.UNKNOWN: "unknown",
    Validity.SKIPPED: "skipped",
}
"""A verdict reads the same without its colour."""
THIN = "holds, few tests"
"""The mark for a cell without a failure in which a failure rate above 10 % is still plausible."""
COST_OF = "invoke-200"
"""The load whose throughput stands in the matrix: an invoke of 200 rows."""
READS = "read-heavy"
"""The load of the second row: one grant, eight invokes of 200 rows, two expansions, an explanation."""
ABREAST = 9
"""Deployments that fit beside each other."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Box:
    """A verdict, as a mark, a word and a figure, with the cell that has it."""

    validity: Validity
    mark: str
    word: str
    figure: str
    href: str
    title: str
    policies: tuple[Policy, ...] = ()
    thin: bool = False
    """Whether the claim holds with so few tests that this means little."""

    @classmethod
    def of(cls, cell: SavedCell, policies: tuple[Policy, ...] = ()) -> Box:
        """The box of a cell."""
        return cls(
            validity=cell.validity,
            mark=MARK[cell.validity],
            word=THIN if figures.too_few(cell) else WORD[cell.validity],
            thin=figures.too_few(cell),
            figure=figures.short(cell),
            href=link(cell.name),
            title=cell.label,
            policies=policies,
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Policy:
    """One of the small verdicts inside a box."""

    name: str
    validity: Validity
    mark: str
    href: str

    @property
    def letters(self) -> str:
        """Its initials."""
        return "".join(part[0] for part in self.name.split("_"))


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """One claim, or one fact, over the deployments of a table."""

    name: str
    counted: str = ""
    """The name of the things that the figures of its boxes count."""
    boxes: tuple[Box | None, ...] = ()
    facts: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Table:
    """Deployments that fit beside each other."""

    columns: tuple[tuple[str, str], ...]
    """Name and title of each."""
    claims: tuple[Row, ...]
    facts: tuple[Row, ...]


def tables(run: SavedRun, deployments: Mapping[str, Deployment], front: Sequence[str]) -> list[Table]:
    """The first holds the deployments of `front`, as many as there is room for; the others follow."""
    there = list(dict.fromkeys(cell.deployment for cell in run.cells if not cell.fault))
    first = there if len(there) <= ABREAST else [name for name in front if name in there][:ABREAST]
    rest = [name for name in there if name not in first]
    return [_table(run, deployments, group) for group in [first, *_groups(rest)] if group]


def fault_tables(run: SavedRun, deployments: Mapping[str, Deployment]) -> list[tuple[str, list[Table]]]:
    """Return the tables of the claims that held under each fault, by deployment."""
    found = []
    for fault in dict.fromkeys(cell.fault for cell in run.cells if cell.fault):
        there = list(dict.fromkeys(cell.deployment for cell in run.cells if cell.fault == fault))
        found.append((fault, [_table(run, deployments, group, fault) for group in _groups(there)]))
    return found


def _groups(names: Sequence[str]) -> list[Sequence[str]]:
    return [names[at : at + ABREAST] for at in range(0, len(names), ABREAST)]


def _table(
    run: SavedRun, deployments: Mapping[str, Deployment], names: Sequence[str], fault: str = ""
) -> Table:
    known = [deployments.get(name) for name in names]
    claims = dict.fromkeys(cell.scenario for cell in run.cells if cell.fault == fault)
    facts = () if fault else _facts(run, names, known)
    return Table(
        columns=tuple((name, one.title if one else "") for name, one in zip(names, known, strict=True)),
        claims=tuple(
            Row(
                name=scenario,
                counted=_counted(run, scenario),
                boxes=tuple(_box(run, scenario, name, fault) for name in names),
            )
            for scenario in claims
        ),
        facts=tuple(
            replace(row, facts=tuple(fact or NOT_MEASURED for fact in row.facts))
            for row in facts
            if set(row.facts) - {"", NO_STORE, REFERENCE}
        ),
    )


def _counted(run: SavedRun, scenario: str) -> str:
    declared = run.declared.get(scenario)
    return declared.headline.words if declared and declared.headline else ""


def _facts(run: SavedRun, names: Sequence[str], known: Sequence[Deployment | None]) -> tuple[Row, ...]:
    stores = [store_away(run, name) or _no_store(one) for name, one in zip(names, known, strict=True)]
    return (
        Row(name="workers", facts=tuple(_workers(run, name) for name in names)),
        Row(name="spans hosts", facts=tuple(_spans(run, one) for one in known)),
        Row(name="store away (measured)", facts=tuple(stores)),
        Row(
            name="throughput vs memory-4 (invokes of 200 rows)",
            facts=tuple(_cost(run, name) for name in names),
        ),
        Row(
            name="throughput vs memory-4 (sessions that mostly read, on loopback)",
            facts=tuple(_near(run, name, READS) for name in names),
        ),
        Row(
            name="a revocation holds on every worker",
            facts=tuple(_converges(run, name, one) for name, one in zip(names, known, strict=True)),
        ),
        Row(name="use it for", facts=tuple((one and one.use_for) or "not stated" for one in known)),
    )


def _box(run: SavedRun, scenario: str, deployment: str, fault: str) -> Box | None:
    cells = run.of(scenario, deployment, fault=fault)
    worst = figures.worst(cells)
    if worst is None:
        return None
    policies = tuple(
        Policy(name=cell.connections, validity=cell.validity, mark=MARK[cell.validity], href=link(cell.name))
        for cell in cells
    )
    same = len({cell.validity for cell in cells}) == 1
    return Box.of(worst, () if same else policies)


def _no_store(deployment: Deployment | None) -> str:
    if deployment is None or deployment.store or deployment.forwards:
        return ""
    return NO_STORE if deployment.state.startswith("memory://") else ""


def _cost(run: SavedRun, deployment: str) -> str:
    """Throughput against memory-4's for one kind of load, near the store and 1 ms away: loopback would mislead."""
    if deployment == COMPARED_WITH:
        return REFERENCE
    rows = [
        row
        for row in run.tables.get("cost_distance", ())
        if (row["deployment"], row["mix"]) == (deployment, COST_OF)
    ]
    far = {float(row["rtt_ms"]): row for row in rows if row["throughput_vs_memory"]}
    if far:
        told = [f"{ratio(far[rtt_ms], VERSUS)} at {rtt_ms:g} ms" for rtt_ms in (0.0, 1.0) if rtt_ms in far]
        return ", ".join(told)
    if "cost_distance" in run.tables:
        return ""
    near = _near(run, deployment, COST_OF)
    return f"{near} on loopback" if near else ""


def _near(run: SavedRun, deployment: str, mix: str) -> str:
    if deployment == COMPARED_WITH:
        return REFERENCE
    near = [
        row
        for row in run.tables.get("cost", ())
        if (row["deployment"], row["mix"], row["step"]) == (deployment, mix, "closed")
    ]
    return ratio(near[0], VERSUS) if near and near[0][VERSUS] else ""


def _converges(run: SavedRun, name: str, deployment: Deployment | None) -> str:
    """The time until a revocation holds everywhere, from ``convergence.csv``, at the stated staleness."""
    stated = deployment.stale.get("max_stale_ms") if deployment else None
    for row in run.tables.get("convergence", ()):
        if row["deployment"] != name or row["max_stale_ms"] != ("" if stated is None else str(stated)):
            continue
        if row["reason"]:
            return ""
        if row["end"] != "refusal" or not row["max_ms"]:
            return "only when the token expires"
        covers = f"{100 * float(row['max_covers']):.1f} %" if row["max_covers"] else ""
        return (
            f"{covers} within {float(row['max_ms']):.0f} ms, known to {float(row['width_p50_ms']):.0f} ms "
            f"({row['revocations']} revocations)"
        )
    return ""


VERSUS = "throughput_vs_memory"
COMPARED_WITH = References().memory
REFERENCE = "the reference"
NO_STORE = "no store"
NOT_MEASURED = "not measured"
"""The text for a fact that is not known. An empty box or a dash could be read as zero."""


def _workers(run: SavedRun, deployment: str) -> str:
    cell = next(cell for cell in run.cells if cell.deployment == deployment)
    hosts = f" × {cell.replicas} hosts" if cell.replicas > 1 else ""
    return f"{cell.workers}{hosts}"


def _spans(run: SavedRun, deployment: Deployment | None) -> str:
    if deployment is None:
        return "not known"
    if measured := hosts.spans(run, deployment):
        return measured
    if deployment.spans_hosts:
        return "built to; not measured"
    if deployment.processes == 1:
        return "one worker"
    return "one host" if deployment.shares else "nothing shared"
