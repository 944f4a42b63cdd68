"""The numbers a worker reports are the deployment's."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from kernel_lab.deployments.deployment import Deployment
from kernel_lab.judge.verdict import Assumptions, Validity
from kernel_lab.run.scenario import Scenario, Session, Target, met_everywhere
from kernel_lab.traffic.connections import Policy

from . import sample as cast

TRIALS = 32
"""So many that a loss of one in ten can hardly hide (3 %)."""


async def drive(session: Session) -> None:
    """On a deployment nobody has used: traffic on every worker in turn, and every worker's numbers.

    A worker is asked after each step too: what went wrong between two reports takes few operations to prove.
    """
    reader = session.client(session.principal("reader"))
    for number in range(max(TRIALS, 2 * session.lanes)):
        agent = session.client(session.principal())
        granted = await agent.grant(cast.reading(session.target), lane=number)
        if granted.ok:
            # handle_only costs no budget: the pool on the same stack stays whole
            made = await agent.invoke(granted.body["token"], lane=number, mode="handle_only")
            if made.ok:
                await agent.expand(made.body["handle_id"], lane=number)
        await reader.stats(lane=number + 1)
    for step in range(2 * max(session.lanes, 4)):
        await reader.stats(lane=step)


def expect(deployment: Deployment, policy: Policy) -> Validity:
    """Broken where there are several counters."""
    del policy
    return Validity.VALID if deployment.homes("stats") == 1 else Validity.INVALID


def tell(m: Mapping[str, Any]) -> str:
    """How far the reports were from the deployment's numbers."""
    return f"{m['undercounts']} of {m['reports']} reports told less than the deployment had done"


def _parameters(deployment: Deployment, target: Target, policy: Policy) -> dict[str, Any]:
    del deployment, target, policy
    # the stack is fresh: whatever it counts, this cell did
    return {"baseline": {"grants": 0, "invocations": 0, "expansions": 0}}


SCENARIO = Scenario(
    name="stats",
    order=70,
    claim="The numbers a worker reports are the deployment's.",
    drive=drive,
    parameters=_parameters,
    assumptions=lambda deployment, policy: Assumptions(min_workers=met_everywhere(deployment, policy)),
    expect=expect,
    tell=tell,
    columns=("reports", "undercounts", "grants_reported_min", "grants_reported_max", "grants_certain"),
    own_stack=True,
)
