"""The first screen: the question as an operator asks it, and three figures that answer it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from kernel_lab.deployments.deployment import Deployment
from kernel_lab.judge.verdict import Validity
from kernel_lab.publish import figures
from kernel_lab.publish.charts import link
from kernel_lab.publish.figures import Share
from kernel_lab.run.saved import SavedCell, SavedRun


@dataclass(frozen=True, slots=True, kw_only=True)
class Tile:
    """One figure, what it is, and the cell that proves it."""

    validity: Validity
    before: str
    """Read before the figure: ``limit ×``."""
    figure: str
    after: str
    said: str
    href: str
    proof: str
    """What the link leads to."""


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


def tiles(run: SavedRun, name: str) -> list[Tile]:
    """The limit, the revoked token, the handle: those of them that the run has."""
    made = (_limit(run, name), _revoked(run, name), _missing(run, name))
    return [tile for tile in made if tile is not None]


def _worst(run: SavedRun, scenario: str, name: str) -> SavedCell | None:
    judged = [cell for cell in run.of(scenario, name) if cell.verdict is not None]
    return figures.worst(cell for cell in judged if cell.validity is not Validity.UNKNOWN)


def _proof(cell: SavedCell) -> str:
    return "counter-example" if cell.validity is Validity.INVALID else "evidence"


def _limit(run: SavedRun, name: str) -> Tile | None:
    cell = _worst(run, "rate_limit", name)
    over = figures.times(cell) if cell else None
    if cell is None or over is None:
        return None
    m = cell.measures
    told = figures.number(cell, "predicted_admitted")
    said = f"{m['certain_max']} grants in one window of {m['window_s']} s, where {m['limit']} are allowed"
    if told is not None:
        said += f". In the whole cell {m['admitted']} of {m['attempts']} attempts, {told:g} predicted"
    return Tile(
        validity=cell.validity,
        before="a limit multiplies",
        figure=f"× {over:.1f}",
        after="",
        said=f"{said} ({_policy(cell)}).",
        href=link(cell.name),
        proof=_proof(cell),
    )


def _revoked(run: SavedRun, name: str) -> Tile | None:
    cell = _worst(run, "revocation", name)
    part = figures.share(cell) if cell else None
    if cell is None or part is None:
        return None
    lasting = figures.lasting_at_least(cell)
    if not part.hits or not lasting:
        return Tile(
            validity=cell.validity,
            before="a revoked token is",
            figure="refused",
            after="",
            said=f"{part} invokes were accepted after the revoke had returned ({_policy(cell)}).",
            href=link(cell.name),
            proof=_proof(cell),
        )
    open_ended, tokens = cell.measures.get("lag_open_tokens"), cell.measures.get("tokens")
    said = f"{figures.percent(part.value)} of the invokes after a revoke were accepted ({_counted(part)}, "
    said += f"{_policy(cell)})"
    life_s = cell.parameters.get("token_ttl_s")
    if open_ended:
        said += f". {open_ended} of {tokens} tokens had a worker that never refused them"
    if open_ended and life_s:
        said += f": only expiry ends that, {life_s:,g} s after the grant"
    return Tile(
        validity=cell.validity,
        before="a revoked token was accepted",
        figure=lasting,
        after="later",
        said=f"{said}.",
        href=link(cell.name),
        proof=_proof(cell),
    )


def _missing(run: SavedRun, name: str) -> Tile | None:
    cell = _worst(run, "handles", name)
    part = figures.share(cell) if cell else None
    if cell is None or part is None:
        return None
    told = figures.predicted(cell)
    predicted = "" if told is None else f", {figures.percent(told)} predicted"
    return Tile(
        validity=cell.validity,
        before="of expansions",
        figure=figures.percent(part.value),
        after="find no handle" if part.hits else "miss their handle",
        said=f"{_counted(part)}{predicted} ({_policy(cell)}).",
        href=link(cell.name),
        proof=_proof(cell),
    )


def _counted(part: Share) -> str:
    low, high = part.interval
    if not part.hits:
        return f"0 of {part.of}; 95 %: at most {figures.percent(high)}"
    return f"{part.hits} of {part.of}; 95 %: {100 * low:.0f} to {100 * high:.0f} %"


def _policy(cell: SavedCell) -> str:
    return cell.connections.replace("_", " ")
