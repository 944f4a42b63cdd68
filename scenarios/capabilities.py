"""A capability imported through one worker is invocable on all from then on."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from kernel_lab.deployments.deployment import Deployment
from kernel_lab.judge.verdict import Assumptions, Validity
from kernel_lab.run.results import percent
from kernel_lab.run.scenario import Scenario, Session, Target, met_everywhere
from kernel_lab.traffic.connections import Policy

GRANTS = 4
"""Grants per import where the connection policy cannot choose the worker."""


async def drive(session: Session) -> None:
    """An administrator imports through each worker in turn; agents ask for the capability everywhere."""
    imports = 3 if session.quick else 6
    imported = []
    for number in range(imports):
        admin = session.principal("admin", roles=("admin",))
        capability = f"remote.tool_{admin.name.replace('-', '_')}"
        # nobody knows it yet
        await session.client(session.principal()).grant(capability, lane=number)
        reply = await session.client(admin).import_capability(capability, _manifest(capability), lane=number)
        if not reply.ok:
            continue
        imported.append((number, capability))
        for step in range(max(session.lanes, GRANTS)):
            await _use(session, capability, number + step)
    # a later import takes nothing away
    for step in range(max(session.lanes, GRANTS)):
        for number, capability in imported:
            await _use(session, capability, number + step)


async def _use(session: Session, capability: str, lane: int) -> None:
    agent = session.client(session.principal())
    granted = await agent.grant(capability, lane=lane)
    if granted.ok:
        await agent.invoke(granted.body["token"], lane=lane)


def _manifest(capability: str) -> dict[str, Any]:
    """What a peer kernel would publish: upstream's ``CapabilityManifest.to_dict()``."""
    return {
        "kernel_id": "peer",
        "version": "1",
        "endpoint": "https://peer.example/kernel",
        "trust_level": "verified",
        "capabilities": [
            {
                "capability_id": capability,
                "name": capability,
                "description": "a capability of a peer",
                "safety_class": "READ",
            }
        ],
    }


def expect(deployment: Deployment, policy: Policy) -> Validity:
    """Broken where there are several registries: who imports is not who asks."""
    del policy
    return Validity.VALID if deployment.homes("capabilities") == 1 else Validity.INVALID


def tell(m: Mapping[str, Any]) -> str:
    """How often an imported capability was not there."""
    share = percent(m["not_found_rate"])
    return f"{m['not_found']} of {m['uses']} uses of an imported capability found nothing ({share})"


def _parameters(deployment: Deployment, target: Target, policy: Policy) -> dict[str, Any]:
    del deployment, target, policy
    return {}


SCENARIO = Scenario(
    name="capabilities",
    order=60,
    claim="A capability imported through one worker is invocable on all from then on.",
    drive=drive,
    parameters=_parameters,
    assumptions=lambda deployment, policy: Assumptions(min_workers=met_everywhere(deployment, policy)),
    expect=expect,
    tell=tell,
    columns=("imports", "uses", "not_found", "not_found_rate"),
)
