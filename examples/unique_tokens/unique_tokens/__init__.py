"""A claim of one's own: no two grants return the same token. Its checker is the module beside this one."""

from __future__ import annotations

from typing import Any

from kernel_lab.deployments.deployment import Deployment
from kernel_lab.judge.verdict import Validity
from kernel_lab.run.declaration import Proportion
from kernel_lab.run.measures import Kind, Observed, Quantity
from kernel_lab.run.scenario import Scenario, Session, Target, met_and_answered
from kernel_lab.traffic.connections import Policy

from . import checker

ATTEMPTS = 32


async def drive(session: Session) -> None:
    """One principal asks for a token again and again, on each worker in turn."""
    agent = session.client(session.principal())
    readable = (
        name
        for name, facts in sorted(session.target.capabilities.items())
        if facts["safety_class"] == "READ" and facts.get("sensitivity", "NONE") == "NONE"
    )
    capability = next(readable)
    for lane in range(ATTEMPTS):
        await agent.grant(capability, lane=lane)


GRANTS = Quantity(
    name="grants", title="grants", kind=Kind.COUNT, unit="grants", meaning="Grants that returned a token."
)
DUPLICATES = Quantity(
    name="duplicates",
    title="tokens returned twice",
    kind=Kind.COUNT,
    unit="grants",
    of=GRANTS,
    meaning="Of `grants`, those whose token an earlier grant had returned.",
)


def tell(seen: Observed) -> str:
    """Return how many grants returned a token that was not new."""
    return f"{seen.count(DUPLICATES)} of {seen.count(GRANTS)} grants returned a token that was not new"


def expect(deployment: Deployment, policy: Policy) -> Validity:
    """A token is drawn at random, so the claim holds on every deployment."""
    del deployment, policy
    return Validity.VALID


def _parameters(deployment: Deployment, target: Target, policy: Policy) -> dict[str, Any]:
    del deployment, target, policy
    return {}


SCENARIO = Scenario(
    name="unique_tokens",
    claim="No two grants return the same token.",
    drive=drive,
    checker=checker,
    parameters=_parameters,
    assumptions=met_and_answered(16),
    expect=expect,
    measures=(GRANTS, DUPLICATES),
    tell=tell,
    headline=Proportion(hits=DUPLICATES, of=GRANTS, words="grants whose token was not new"),
)
