"""The page: the contents of a run folder, put into the template."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec
from jinja2 import Environment, PackageLoader, StrictUndefined

from kernel_lab.deployments.deployment import Deployment
from kernel_lab.publish import charts
from kernel_lab.publish.agreement import HEAD, misses
from kernel_lab.publish.charts.cost import added_latency, distance, frontier
from kernel_lab.publish.charts.plot import key
from kernel_lab.publish.charts.survival import survival
from kernel_lab.publish.charts.workers import POLICIES, against_workers, answered
from kernel_lab.publish.report.cells import chapters
from kernel_lab.publish.report.faults import fault_table, timelines
from kernel_lab.publish.report.matrix import fault_tables, tables
from kernel_lab.publish.report.smallest import SeenFault, smallest_faults
from kernel_lab.publish.report.tiles import asked_about, plain, question, tiles
from kernel_lab.publish.report.trust import NOT_SHOWN, MutationTests, facts, lacking
from kernel_lab.run.folder import RunFolder, write_whole
from kernel_lab.run.saved import SavedCell, SavedRun, read_run
from kernel_lab.run.scenario import Scenario


@dataclass(frozen=True, slots=True, kw_only=True)
class Subjects:
    """The facts about the measured project that are not in a run folder."""

    scenarios: Mapping[str, Scenario]
    deployments: Mapping[str, Deployment]
    front: tuple[str, ...]
    """Deployments of the first matrix, at most nine, where a run has more."""
    controls: tuple[str, ...]
    """Deployments that are wrong on purpose."""
    teeth: MutationTests | None = None
    """The verdicts on kernels that are known to be right or wrong; None if these were not measured."""
    seen: Sequence[SeenFault] = ()
    """The smallest faults that the claims see; empty if not measured."""


def write_report(folder: Path, subjects: Subjects) -> Path:
    """Write ``report.html`` into a run folder.

    Raises:
        NotASavedRun: The folder holds no run.
    """
    page = RunFolder(folder).page
    write_whole(page, render(read_run(folder, subjects.scenarios), subjects).encode())
    return page


def render(run: SavedRun, subjects: Subjects) -> str:
    """The whole page."""
    environment = Environment(
        loader=PackageLoader("kernel_lab.publish.report", "."),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.globals["key"] = key
    environment.filters["tied"] = tied
    run = in_order(run, subjects)
    about = asked_about(run, subjects.deployments)
    return environment.get_template("page.html.j2").render(
        run=run,
        question=question(run, about, subjects.deployments),
        asked_about=about,
        tiles=tiles(run, about),
        tables=tables(run, subjects.deployments, subjects.front),
        smallest=smallest_faults(subjects.seen, run.scenarios, quick=bool(run.environment.get("quick"))),
        fault_table=fault_table(run),
        timelines=timelines(run),
        faults=fault_tables(run, subjects.deployments),
        misses=misses(run, subjects.controls),
        miss_head=HEAD,
        facts=facts(run, subjects.controls, subjects.teeth),
        not_shown=NOT_SHOWN,
        lacking=lacking(run, subjects.teeth),
        pictures=pictures(run, subjects),
        plot_style=charts.STYLE,
        chapters=chapters(run, subjects.scenarios),
        version=_version(run.environment),
    )


def tied(figure: str) -> str:
    """A figure whose numbers stay on one line with their signs and units: ``0 of 80,`` and ``≤ 3.7 %``."""
    for loose in (" %", "≤ ", "of ", "× ", "no end"):
        figure = figure.replace(loose, loose.replace(" ", "\N{NO-BREAK SPACE}"))
    return figure


def in_order(run: SavedRun, subjects: Subjects) -> SavedRun:
    """The cells by scenario, deployment and connection policy: a run has them as they came to an end."""
    scenarios = [*subjects.scenarios, *run.scenarios]
    deployments = [*subjects.deployments, *run.deployments]

    def place(cell: SavedCell) -> tuple[int, int, int, str]:
        policy = POLICIES.index(cell.connections) if cell.connections in POLICIES else len(POLICIES)
        return scenarios.index(cell.scenario), deployments.index(cell.deployment), policy, cell.fault

    return msgspec.structs.replace(run, cells=tuple(sorted(run.cells, key=place)))


def pictures(run: SavedRun, subjects: Subjects) -> list[charts.Picture]:
    """The charts for which the run has figures."""
    names = [name for name, one in subjects.deployments.items() if plain(one)]
    late = [name for name, one in subjects.deployments.items() if one.state.startswith("cached+")]
    watched = list(dict.fromkeys([*names, *late, *subjects.front]))
    made = (
        *(against_workers(run, scenario, names) for scenario in run.scenarios),
        *(survival(run, scenario, [*names, *late], watched) for scenario in run.scenarios),
        answered(run, names),
        frontier(run),
        added_latency(run),
        *(distance(run, mix) for mix in _mixes(run)),
    )
    return [picture for picture in made if picture is not None]


def _mixes(run: SavedRun) -> list[str]:
    """The kinds of load that were tried at a distance."""
    return list(dict.fromkeys(row["mix"] for row in run.tables.get("cost_distance", ())))


def _version(environment: Mapping[str, Any]) -> str:
    packages = environment.get("packages") or {}
    version = packages.get("weaver-kernel")
    return f"weaver-kernel {version}" if version else "weaver-kernel"
