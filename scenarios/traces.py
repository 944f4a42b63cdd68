"""Once an invoke has returned, every worker explains its action, and a listing holds it once."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from kernel_lab.deployments.deployment import Deployment
from kernel_lab.judge.history import AnyOperation, Explain, Invoke
from kernel_lab.judge.verdict import Assumptions, Measure, Validity
from kernel_lab.run.results import percent
from kernel_lab.run.scenario import Scenario, Session, Target, met_everywhere
from kernel_lab.traffic.client import Principal, RecordingClient
from kernel_lab.traffic.connections import Policy

from . import sample as cast

EXPLAINS = 4
"""Explanations per action where the connection policy cannot choose the worker."""
ATTEMPTS = 24
"""Invokes after which a trial without an action is given up."""

MANY = 48
"""Actions of one principal: so many that a loss of one in ten cannot hide (0.6 %)."""

Caller = Callable[[Principal], RecordingClient]


async def drive(session: Session) -> None:
    """Act on each worker in turn; ask each for the action and for the list; verify the chain at the end.

    One principal acts many times, and each of its actions is asked for.
    """
    trials = max(8, 2 * session.lanes) if session.quick else max(24, 3 * session.lanes)

    async def column(first: int) -> None:
        for number in range(first, trials, 4):
            await _trial(session, session.client, number)
            # twice: the probe's routing should be known better than the measurement's
            await _trial(session, session.probe, number)
            await _trial(session, session.probe, number)

    jobs = [column(first) for first in range(4)]
    await session.together([*jobs, _many(session, session.client), _many(session, session.probe)])
    auditor = session.client(session.principal("auditor", roles=("admin",)))
    for lane in range(session.lanes):
        await auditor.audit(lane=lane)


async def _trial(session: Session, client: Caller, number: int) -> None:
    agent = client(session.principal())
    granted = await agent.grant(cast.reading(session.target), lane=number)
    if not granted.ok:
        return
    for _ in range(ATTEMPTS):
        acted = await agent.invoke(granted.body["token"], lane=number)
        if acted.ok:
            break
    if not acted.ok:
        return
    for step in range(max(session.lanes, EXPLAINS)):
        await agent.explain(acted.body["action_id"], lane=number + step)
        if step < 2:
            await agent.list_traces(agent.principal.name, lane=number + step)


async def _many(session: Session, client: Caller) -> None:
    """Many actions of one principal, each explained once when all are done, by every other worker in turn."""
    agent = client(session.principal())
    granted = await agent.grant(cast.reading(session.target), lane=0)
    if not granted.ok:
        return
    acted = [await agent.invoke(granted.body["token"], lane=number) for number in range(MANY)]
    for number, reply in enumerate(acted):
        if reply.ok:
            await agent.explain(reply.body["action_id"], lane=number + number // session.lanes)
    for lane in range(2):
        await agent.list_traces(agent.principal.name, lane=lane)


def predict(
    probe: Sequence[AnyOperation], deployment: Deployment, parameters: dict[str, Any]
) -> dict[str, Measure]:
    """An explanation is lost where it meets another home of traces than the invoke did."""
    del parameters
    acted = {
        op.output.action_id: op.worker
        for op in probe
        if isinstance(op, Invoke) and op.output is not None and op.output.action_id
    }
    pairs = [
        (acted[op.input.action_id], op.worker)
        for op in probe
        if isinstance(op, Explain) and op.worker is not None and op.input.action_id in acted
    ]
    lost = sum(
        deployment.home("traces", did) != deployment.home("traces", asked)
        for did, asked in pairs
        if did is not None
    )
    return {"predicted_lost_rate": lost / len(pairs) if pairs else None}


def expect(deployment: Deployment, policy: Policy) -> Validity:
    """Broken where one principal's calls reach several homes of traces."""
    stays = policy is Policy.KEEP_ALIVE and deployment.routing == "direct"
    return Validity.VALID if stays or deployment.homes_of_one("traces") == 1 else Validity.INVALID


def tell(m: Mapping[str, Any]) -> str:
    """How many actions could not be explained."""
    return (
        f"{m['lost']} of {m['explains']} actions not explained ({percent(m['lost_rate'])}, predicted "
        f"{percent(m.get('predicted_lost_rate'))})"
    )


def _parameters(deployment: Deployment, target: Target, policy: Policy) -> dict[str, Any]:
    del deployment, policy
    return {"trace_cap": target.facts.get("trace_cap")}


SCENARIO = Scenario(
    name="traces",
    order=50,
    claim="Once an invoke has returned, every worker explains its action, a later listing holds it once, and "
    "the audit chain verifies.",
    drive=drive,
    predict=predict,
    parameters=_parameters,
    assumptions=lambda deployment, policy: Assumptions(
        min_workers=met_everywhere(deployment, policy), min_operations=16
    ),
    expect=expect,
    tell=tell,
    columns=("explains", "lost", "lost_rate", "predicted_lost_rate", "listings", "missing_share", "doubled"),
)
