"""Record one cell: a scenario drives its traffic, and every call goes into the cell's folder."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

import msgspec

from kernel_lab.deployments.deployment import Deployment
from kernel_lab.deployments.live import StackFailed
from kernel_lab.judge.history import HistoryWriter
from kernel_lab.judge.verdict import Assumptions, Cell, DeploymentFacts
from kernel_lab.redaction import told, without_credentials
from kernel_lab.run.folder import CellFolder
from kernel_lab.run.plan import PlannedCell
from kernel_lab.run.scenario import Session, Target
from kernel_lab.traffic.client import Recorder
from kernel_lab.traffic.connections import Connections

UNDER_FAULT = Assumptions(min_operations=4)
"""The least that the history of a cell with a fault must contain. The number of workers is not asked for, because
workers may be down."""


async def record(
    folder: CellFolder,
    planned: PlannedCell,
    target: Target,
    connections: Connections,
    *,
    seed: int,
    quick: bool,
    drive: Callable[[Session], Awaitable[None]] | None = None,
) -> str:
    """Drive one cell and record it in its folder. Return why it broke off, or an empty text if it did not.

    The traffic comes from `drive` if it is given, and otherwise from the scenario.

    ``cell.json`` is written twice. Before the first call it says that the cell is not finished, so that a cell
    that is killed is judged unknown. At the end it says how many operations the history has.
    """
    scenario, deployment, policy = planned.scenario, planned.deployment, planned.policy
    parameters = scenario.parameters(deployment, target, policy)
    cell = Cell(
        scenario=scenario.name,
        deployment=facts_of(deployment),
        connections=policy,
        fault=planned.fault.name if planned.fault else None,
        seed=seed,
        parameters=parameters,
        assumptions=UNDER_FAULT if planned.fault else scenario.assumptions(deployment, policy),
        expected=planned.expected,
        finished=False,
    )
    folder.create()
    folder.write_cell(cell)
    error = ""
    with HistoryWriter(folder.recorded) as history, HistoryWriter(folder.probe) as probe:
        session = Session(
            deployment=deployment,
            target=target,
            connections=connections,
            main=Recorder(history, target.journal, target.address.between),
            shadow=Recorder(probe, target.journal, target.address.between),
            parameters=parameters,
            seed=seed,
            quick=quick,
        )
        try:
            await (drive or scenario.drive)(session)
        except Exception as failure:  # noqa: BLE001 - one cell's failure is a row, not the end of the run
            error = f"the cell broke off: {cause(failure)}"
    beside = target.journal.beside(session.main, _smallest_cap(parameters))
    finished = msgspec.structs.replace(cell, finished=not error, operations=history.written, beside=beside)
    folder.seal(finished)
    return error


def restate(folder: CellFolder, planned: PlannedCell) -> None:
    """Write the facts of a recorded cell again, because its deployment turned out to have more workers."""
    deployment, policy = planned.deployment, planned.policy
    folder.seal(
        msgspec.structs.replace(
            folder.read_cell(),
            deployment=facts_of(deployment),
            assumptions=planned.scenario.assumptions(deployment, policy),
        )
    )


def facts_of(deployment: Deployment) -> DeploymentFacts:
    """Return the facts about a deployment that ``cell.json`` keeps."""
    return DeploymentFacts(
        name=deployment.name,
        state=deployment.state_name,
        workers=deployment.workers,
        replicas=deployment.replicas,
        routing=deployment.routing,
    )


def _smallest_cap(parameters: dict[str, Any]) -> float | None:
    """Return the smaller of the two numbers of handles and traces that the deployment says it keeps."""
    caps = (parameters.get(name) for name in ("handle_cap", "trace_cap"))
    return min((cap for cap in caps if cap is not None), default=None)


def cause(failure: BaseException) -> str:
    """Return the first real error of a group of errors on one line, without text that must not be committed."""
    while isinstance(failure, BaseExceptionGroup):
        failure = failure.exceptions[0]
    if isinstance(failure, StackFailed):
        return without_credentials(f"{failure.message}; its log says why")
    return told(failure)
