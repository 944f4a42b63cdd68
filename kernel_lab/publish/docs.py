"""make docs: every figure, every table and every picture of the docs, as a run has it.

``python -m kernel_lab.publish.docs [RUN]`` fills the markers of README.md and of every text under docs/
(`kernel_lab.publish.markers`) from a run folder, results/reference if none is named. With
``--check`` it writes nothing and fails where a text and the run differ.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path

from kernel_lab import markdown
from kernel_lab.bad_input import EXIT_CODE
from kernel_lab.convergence import table as promised
from kernel_lab.judge.verdict import MARK, Validity
from kernel_lab.load.costs import tables as cost_tables
from kernel_lab.publish import agreement, figures, hosts, markers
from kernel_lab.publish.charts.standalone import standalone
from kernel_lab.publish.charts.survival import survival
from kernel_lab.publish.charts.workers import against_workers
from kernel_lab.publish.report.faults import FaultBox, fault_table
from kernel_lab.publish.report.matrix import WORD
from kernel_lab.publish.report.page import in_order
from kernel_lab.publish.report.tiles import plain
from kernel_lab.publish.report.trust import beside
from kernel_lab.publish.reporting import CONTROLS, subjects
from kernel_lab.run import registry
from kernel_lab.run.declaration import Component
from kernel_lab.run.measures import Column, NotObserved, duration, percent
from kernel_lab.run.saved import NotASavedRun, SavedCell, SavedRun, read_run

POLICIES = ("round_robin", "fresh", "keep_alive")
NAMED = ("weaver-kernel", "gunicorn", "uvicorn")
"""Packages whose versions the figures hang on first."""
HEADLINE = ("single", "memory-4", "replicas", "sticky", "sqlite", "redis", "redis-cached", "sidecar")
"""The deployments of the first table: the reference, the problem, the one that bounds it, and the ones that
repair it."""
SHARING = ("redis", "sidecar")
"""Further deployments in the picture of what survives a change: in these, nothing should survive."""
GROWING = ("single", "memory-2", "memory-4", "memory-8")
"""State in each worker, and nothing else done about it: what grows with N."""


def reference() -> Path:
    """The committed run that the docs' figures come from."""
    return registry.results() / "reference"


def texts() -> list[Path]:
    """The Markdown files that are held to a run."""
    described = registry.results() / "README.md"
    return [registry.root() / "README.md", *sorted((registry.root() / "docs").rglob("*.md")), described]


def read(path: Path) -> SavedRun:
    """A run whose cells stand in the docs' order.

    Raises:
        NotASavedRun: The folder holds none.
    """
    return in_order(read_run(path), subjects())


def filled(run: SavedRun) -> dict[Path, str]:
    """Every text and every picture as it should be."""
    told = {path: markers.fill(path.read_text(encoding="utf-8"), run, tables_for(path)) for path in texts()}
    return told | {registry.root() / "docs" / "pictures" / name: text for name, text in pictures(run).items()}


def pictures(run: SavedRun) -> dict[str, str]:
    """The pictures of README, by file name."""
    names = [name for name, one in registry.deployments().items() if plain(one)]
    drawn = {}
    for name, scenario in run.declared.items():
        if scenario.against_workers and scenario.against_workers.picture:
            drawn[scenario.against_workers.picture] = against_workers(run, name, names)
        if scenario.over_time and scenario.over_time.picture:
            drawn[scenario.over_time.picture] = survival(run, name, names, [*names, *SHARING])
    return {f"{name}.svg": standalone(one) for name, one in drawn.items() if one is not None}


def tables_for(path: Path) -> dict[str, Callable[[SavedRun], str]]:
    """The tables a text may ask for; links lead from where it lies."""
    up = "../" * (len(path.relative_to(registry.root()).parts) - 1)

    def linked(cell: SavedCell, said: str) -> str:
        place = reference().relative_to(registry.root())
        return f"[{said}]({up}{place}/{cell.folder}/verdict.json)" if cell.folder else said

    return {
        "run": provenance,
        "front": lambda run: front(run, linked),
        "components": lambda run: components(run, linked),
        **{
            f"counter-example {name}": partial(counter_example, scenario=name)
            for name in registry.scenarios()
        },
        "growth": lambda run: growth(run, linked),
        "connections": lambda run: connections(run, linked),
        "repairs": lambda run: repairs(run, linked),
        **{
            f"lags {name}": partial(lags, scenario=name, linked=linked)
            for name, one in registry.scenarios().items()
            if one.lag
        },
        "columns": columns,
        "deployments": deployments,
        "runbook": runbook,
        "faults": faults,
        "faults losses": faults_losses,
        "convergence": promised.table,
        "hosts": hosts.table,
        "hosts compared": hosts.compared,
        "hosts repeated": hosts.repeated,
        "hosts faults": hosts.suffered,
        "predictions": partial(agreement.sentence, controls=CONTROLS),
        "misses": partial(agreement.table, controls=CONTROLS),
        **cost_tables.TABLES,
    }


Linked = Callable[[SavedCell, str], str]


def provenance(run: SavedRun) -> str:
    """Return the table of the run that the figures come from."""
    about = run.environment
    packages = about.get("packages") or {}
    changed = about.get("changed_files")
    rows = [
        ["run", run.name],
        ["commit", str(about.get("commit")) + (f", {changed} files changed" if changed else "")],
        ["recorded", str(about.get("started"))],
        ["machine", f"{about.get('cores')} cores, {about.get('platform')}, Python {about.get('python')}"],
        [
            "versions",
            ", ".join(f"{name} {version}" for name, version in packages.items() if name in NAMED),
        ],
        ["cells", _tally(run)],
        *([["measured apart, put beside it", _apart(run)]] if _apart(run) else []),
    ]
    return markdown.table([["what", "which"], *rows])


def _apart(run: SavedRun) -> str:
    """The other runs whose CSVs lie beside this one's: each with its own commit and time."""
    told = (f"{one.name}: commit {one.commit}, {one.started}" for one in beside(run))
    return "; ".join(told)


def front(run: SavedRun, linked: Linked) -> str:
    """The figures of a few deployments that a newcomer should know, with every worker asked in turn."""
    fronts = {name: one.front for name, one in run.declared.items() if one.front}
    rows = []
    for name in [name for name in HEADLINE if name in run.deployments]:
        row = [f"`{name}`"]
        for scenario, shown in fronts.items():
            cell = _cell(run, scenario, name, "round_robin")
            if cell is None or cell.verdict is None or cell.observed is None:
                row.append("not run")
                continue
            try:
                row.append(f"{linked(cell, MARK[cell.validity])} {shown.said(cell.observed)}")
            except NotObserved:
                row.append(linked(cell, WORD[cell.validity]))
        rows.append(row)
    return markdown.table([["deployment", *(shown.title for shown in fronts.values())], *rows])


def components(run: SavedRun, linked: Linked) -> str:
    """A row per stateful component."""
    head = [
        "component", "default state", "what the caller sees, N workers on M hosts", "measured, N workers",
        "measured, M hosts", "bound", "shared store away", "mitigation",
    ]  # fmt: skip
    found = [(one, name) for name, scenario in run.declared.items() for one in scenario.components]
    found.sort(key=lambda pair: pair[0].order)
    return markdown.table([head, *(_component(run, one, name, linked) for one, name in found)])


def _component(run: SavedRun, one: Component, scenario: str, linked: Linked) -> list[str]:
    return [
        f"**{one.name}**",
        one.default,
        one.seen,
        _measured(run, scenario, one.on, linked),
        _measured(run, scenario, one.hosts, linked),
        one.bound,
        one.away,
        one.repair,
    ]


def growth(run: SavedRun, linked: Linked) -> str:
    """Return the table of how a figure grows with N, over calls sent to every worker in turn, beside its prediction."""
    names = [name for name in GROWING if name in run.deployments]
    scenarios = [name for name in registry.scenarios() if name in run.scenarios]
    rows = []
    for scenario in scenarios:
        row = [scenario.replace("_", " ")]
        for name in names:
            cell = _cell(run, scenario, name, "round_robin")
            row.append(_with_prediction(cell, linked) if cell else "not run")
        rows.append(row)
    return markdown.table([["claim", *names], *rows])


def connections(run: SavedRun, linked: Linked) -> str:
    """The same deployment over each connection policy."""
    rows = []
    for scenario in registry.scenarios():
        cells = [_cell(run, scenario, "memory-4", policy) for policy in POLICIES]
        if any(cells):
            rows.append(
                [scenario.replace("_", " "), *(_with_prediction(c, linked) if c else "" for c in cells)]
            )
    return markdown.table([["claim, memory-4", *(policy.replace("_", " ") for policy in POLICIES)], *rows])


def counter_example(run: SavedRun, scenario: str) -> str:
    """The smallest set of calls that breaks a claim on memory-4, as ``kernel-lab check`` tells it."""
    cell = _cell(run, scenario, "memory-4", "round_robin")
    if cell is None or cell.verdict is None or not cell.verdict.story:
        return "not broken in this run"
    return "\n".join(("```", cell.verdict.anomalies[0].message, *cell.verdict.story, "```"))


def repairs(run: SavedRun, linked: Linked) -> str:
    """Every deployment's worst cell of every claim; zero failures with their bound."""
    scenarios = [name for name in registry.scenarios() if name in run.scenarios]
    known = registry.deployments()
    rows = []
    for name in [name for name in known if name in run.deployments]:
        cells = [_worst(run, scenario, name, linked, bound=True) for scenario in scenarios]
        rows.append([f"**{name}**", *cells])
    return markdown.table([["deployment", *(name.replace("_", " ") for name in scenarios)], *rows])


def lags(run: SavedRun, scenario: str, linked: Linked) -> str:
    """Return the table of the times for which the old answer was seen after the change, by deployment."""
    rows = []
    for name in registry.deployments():
        cell = figures.worst(run.of(scenario, name))
        lag = cell.declared.lag if cell and cell.declared else None
        if cell is None or cell.verdict is None or cell.observed is None or lag is None:
            continue
        seen = cell.observed
        lower, life_s = _ms(seen.find(lag.lower_max)), lag.life(seen)
        upper = f"{_ms(seen.find(lag.upper_p50))}, at most {_ms(seen.find(lag.upper_max))}"
        never = seen.find(lag.open) or 0
        part = figures.share(cell)
        rows.append(
            [
                linked(cell, name),
                cell.connections.replace("_", " "),
                f"{lower}, when the lab stopped looking" if never else lower,
                f"never while we looked, {never:g} of {seen.find(lag.of):g} {lag.of.unit}; ends after {life_s:,g} s"
                if never and life_s
                else upper,
                _ms(seen.find(lag.width)),
                str(part) if part else "",
            ]
        )
    head = [
        "deployment", "connections", "seen accepted for", "refused everywhere by", "known to within, median",
        "invokes accepted",
    ]  # fmt: skip
    return markdown.table([head, *rows])


def columns(run: SavedRun) -> str:
    """A row per column of each scenario's CSV, as the scenario declares it."""
    rows = []
    for name, scenario in run.declared.items():
        for one in scenario.quantities:
            if one.column is not Column.NONE:
                later = " (after `reason`)" if one.column is Column.AFTER else ""
                of = f"; of `{one.of.name}`" if one.of else ""
                rows.append([name, f"`{one.name}`{later}", f"{one.unit or one.kind}{of}", one.meaning])
    return markdown.table([["CSV", "column", "unit", "meaning"], *rows])


def deployments(run: SavedRun) -> str:
    """Return the table of deployments: what each of them is, and whom it is for."""
    rows = []
    for name, one in registry.deployments().items():
        if name in run.deployments:
            shares = ", ".join(one.shares) or "nothing"
            rows.append([f"`{name}`", one.title, shares, one.store_away or "–", one.use_for])
    return markdown.table([["deployment", "what it is", "shared", "store away", "use it for"], *rows])


def runbook(run: SavedRun) -> str:
    """Return the table of the steps of an operator: wrong answers before and after each step, out of how many."""
    rows = [row for row in run.tables.get("runbook", ()) if row["kind"]]
    kinds = list(dict.fromkeys(row["kind"] for row in rows))
    found = {(row["deployment"], row["step"], row["kind"]): row for row in rows}
    body = []
    for deployment, step in dict.fromkeys((row["deployment"], row["step"]) for row in rows):
        told = [found.get((deployment, step, kind)) for kind in kinds]
        said = [f"{row['before']} → **{row['after']}** of {row['asked']}" if row else "" for row in told]
        body.append([f"`{deployment}`", step.replace("_", " "), *said])
    wrong = [f"{kind}, wrong before → after" for kind in kinds]
    head = ["deployment", "step", *wrong]
    return markdown.table([head, *body] if body else [["what"], ["not measured in this run"]])


def faults(run: SavedRun) -> str:
    """Faults by deployments: which claims broke, and how long requests failed."""
    table = fault_table(run)
    if table is None:
        return markdown.table([["what"], ["not measured in this run"]])
    body = [
        [f"`{fault}`", *("–" if box is None else _box_of(box) for box in boxes)]
        for fault, boxes in table.rows
    ]
    return markdown.table([["fault", *(f"`{name}`" for name in table.columns)], *body])


def _box_of(box: FaultBox) -> str:
    said = [
        f"{'**' if broke else ''}{words}{'**' if broke else ''}: {claims}"
        for words, claims, _, broke in box.lines
    ]
    return "; ".join([*said, *filter(None, [box.said])])


def faults_losses(run: SavedRun) -> str:
    """The claims that broke only under a fault: what was lost although it had been acknowledged."""
    rows = [row for row in run.tables.get("faults", ()) if row["mode"] == "open"]
    body = [
        [
            f"`{row['deployment']}`", f"`{row['fault']}`", row["claim"].replace("_", " "),
            row["lost_acknowledged"] or "–", row["landed"],
        ]
        for row in rows
    ]  # fmt: skip
    head = ["deployment", "fault", "claim", "proven losses", "what shows that the fault was in force"]
    return markdown.table([head, *body] if body else [["what"], ["not measured in this run"]])


def _tally(run: SavedRun) -> str:
    counts = [(one, sum(cell.validity is one for cell in run.cells)) for one in Validity]
    said = (f"{count} {WORD[one].replace('holds', 'hold')}" for one, count in counts if count)
    return f"{len(run.cells)}: " + ", ".join(said)


def _cell(run: SavedRun, scenario: str, deployment: str, connections: str) -> SavedCell | None:
    return next((c for c in run.of(scenario, deployment) if c.connections == connections), None)


def _worst(run: SavedRun, scenario: str, deployment: str, linked: Linked, *, bound: bool = False) -> str:
    """A mark, a word, a figure, and the cell they are of."""
    cell = figures.worst(run.of(scenario, deployment))
    if cell is None:
        return "not run"
    said = f"{MARK[cell.validity]} {WORD[cell.validity]}"
    part = figures.share(cell)
    figure = str(part) if bound and part and cell.validity is Validity.VALID else figures.short(cell)
    return linked(cell, said) + (f" {figure}" if figure else "")


def _measured(run: SavedRun, scenario: str, deployment: str, linked: Linked) -> str:
    """Return the worst cell in which calls met several workers, with its count and interval."""
    cells = [cell for cell in run.of(scenario, deployment) if cell.connections != "keep_alive"]
    cell = figures.worst(cells)
    if cell is None:
        return "–" if not deployment else "not run"
    return f"{_with_prediction(cell, linked)}, {deployment}, {cell.connections.replace('_', ' ')}"


def _with_prediction(cell: SavedCell, linked: Linked) -> str:
    if cell.validity in (Validity.SKIPPED, Validity.UNKNOWN):
        return linked(cell, str(cell.validity))
    part, over, told = figures.share(cell), figures.times(cell), figures.predicted(cell)
    if over is not None:
        said = linked(cell, f"× {over:.1f}")
        headline, seen = figures.multiple(cell), cell.observed
        if headline and seen and headline.counted and headline.tried:
            counted, tried = seen.find(headline.counted), seen.find(headline.tried)
            if counted is not None and tried is not None:
                said += f" ({counted:g} of {tried:g} {headline.counted.title}"
                said += f", {told:g} predicted)" if told is not None else ")"
        return said
    if part is None:
        return linked(cell, WORD[cell.validity])
    said = linked(cell, str(part))
    return said if told is None else f"{said}, {percent(told)} predicted"


def _ms(value: float | None) -> str:
    return "–" if value is None else duration(value)


def main(arguments: Sequence[str] | None = None) -> int:
    """Fill the docs, or compare them."""
    parser = argparse.ArgumentParser(prog="make docs", description="Fill the docs' figures from a run.")
    parser.add_argument("run", nargs="?", type=Path, default=reference(), help="a run folder")
    parser.add_argument("--check", action="store_true", help="write nothing; 1 where text and run differ")
    given = parser.parse_args(arguments)
    try:
        found = filled(read(given.run))
    except (NotASavedRun, markers.BadMarker) as error:
        print(f"make docs: {error}", file=sys.stderr)
        return EXIT_CODE
    stale = [path for path, text in found.items() if not path.exists() or path.read_text("utf-8") != text]
    for path in stale:
        if not given.check:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(found[path], encoding="utf-8")
        print(f"{'differs from the run' if given.check else 'written'}: {path.relative_to(registry.root())}")
    return 1 if given.check and stale else 0


if __name__ == "__main__":
    sys.exit(main())
