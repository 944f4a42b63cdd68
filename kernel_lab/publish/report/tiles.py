"""The first screen: the question as an operator asks it, and the figures that answer it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from kernel_lab.deployments.deployment import Deployment
from kernel_lab.judge.verdict import Validity
from kernel_lab.publish import figures
from kernel_lab.publish.charts import link
from kernel_lab.run.declaration import Tile
from kernel_lab.run.measures import NotObserved
from kernel_lab.run.saved import SavedCell, SavedRun


@dataclass(frozen=True, slots=True, kw_only=True)
class View:
    """One tile, its verdict, and the cell that proves it."""

    validity: Validity
    tile: Tile
    href: str
    proof: str
    """The target of the link."""


def plain(deployment: Deployment) -> bool:
    """State in each worker's memory, behind one socket, and nothing else done about it."""
    return (
        deployment.state == "memory://"
        and deployment.routing == "direct"
        and deployment.replicas == 1
        and deployment.secret
        and not (deployment.sidecar or deployment.env)
    )


def asked_about(run: SavedRun, deployments: Mapping[str, Deployment]) -> str:
    """The deployment of the question: the most workers that share nothing; without one, the most workers."""
    cells = [cell for cell in run.cells if not cell.fault and cell.validity is not Validity.SKIPPED]

    def rank(cell: SavedCell) -> tuple[bool, int]:
        known = deployments.get(cell.deployment)
        return known is not None and plain(known), cell.processes

    return max(cells or run.cells, key=rank).deployment


def question(run: SavedRun, name: str, deployments: Mapping[str, Deployment]) -> str:
    """``8 workers, state in each worker's memory: what still holds?``."""
    cell = next(cell for cell in run.cells if cell.deployment == name)
    workers = f"{cell.workers} worker{'s' * (cell.workers > 1)}"
    hosts = f" on each of {cell.replicas} hosts" if cell.replicas > 1 else ""
    known = deployments.get(name)
    if known is None or not plain(known):
        return f"{workers}{hosts}, deployed as “{name}”: what still holds?"
    return f"{workers}{hosts}, in-memory state: what still holds?"


def tiles(run: SavedRun, name: str) -> list[View]:
    """The figures of one deployment's worst cell of each claim that has a tile, in the order of the run."""
    made = (_view(figures.worst(_judged(run, scenario, name))) for scenario in run.scenarios)
    return [view for view in made if view is not None]


def _judged(run: SavedRun, scenario: str, name: str) -> list[SavedCell]:
    cells = [cell for cell in run.of(scenario, name) if cell.verdict is not None]
    return [cell for cell in cells if cell.validity is not Validity.UNKNOWN]


def _view(cell: SavedCell | None) -> View | None:
    if cell is None or cell.declared is None or cell.declared.tile is None or cell.observed is None:
        return None
    try:
        tile = cell.declared.tile(cell.observed)
    except NotObserved:
        return None
    if tile is None:
        return None
    proof = "counter-example" if cell.validity is Validity.INVALID else "evidence"
    return View(validity=cell.validity, tile=tile, href=link(cell.name), proof=proof)
