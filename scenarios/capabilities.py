"""A capability imported through one worker is invocable on all from then on."""

from __future__ import annotations

import time
from typing import Any

from kernel_lab.deployments.deployment import Deployment
from kernel_lab.faults.around import Around
from kernel_lab.judge.checkers import capabilities as checker
from kernel_lab.judge.verdict import Validity
from kernel_lab.run.declaration import Component, Proportion
from kernel_lab.run.measures import Column, Kind, Observed, Quantity
from kernel_lab.run.scenario import Scenario, Session, Target, met_and_answered, pause_until
from kernel_lab.traffic.connections import Policy

PAUSE_S = 1.2
"""The pause before everything is asked once more: a cache of one second has forgotten its answers by then."""
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
    # one registry knows it by now, whichever worker is asked to import it again
    for number, capability in imported[:1]:
        admin = session.principal("admin", roles=("admin",))
        await session.client(admin).import_capability(capability, _manifest(capability), lane=number + 1)
    # a later import takes nothing away, nor does time
    for pause_s in (0.0, PAUSE_S):
        await pause_until(time.monotonic_ns() + int(pause_s * 1e9))
        for step in range(max(session.lanes, GRANTS)):
            for number, capability in imported:
                await _use(session, capability, number + step)


async def _use(session: Session, capability: str, lane: int) -> None:
    agent = session.client(session.principal())
    granted = await agent.grant(capability, lane=lane)
    if granted.ok:
        await agent.invoke(granted.body["token"], lane=lane)


def _manifest(capability: str) -> dict[str, Any]:
    """Return the manifest that a peer kernel would publish: upstream's ``CapabilityManifest.to_dict()``."""
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


async def under_fault(session: Session, around: Around) -> None:
    """Capabilities that were imported before the fault are granted in every round."""
    admin = session.principal("admin", roles=("admin",))
    imported = []
    for number in range(3):
        capability = f"remote.tool_{number}_{admin.name.replace('-', '_')}"
        if (await session.client(admin).import_capability(capability, _manifest(capability))).ok:
            imported.append(capability)
    agent = session.client(session.principal())
    async for number in around.rounds():
        for capability in imported[number % 3 :: 3]:
            await agent.grant(capability)


def expect(deployment: Deployment, policy: Policy) -> Validity:
    """Broken where there are several registries: another worker imports than the one that is asked."""
    del policy
    return Validity.VALID if deployment.homes("capabilities") == 1 else Validity.INVALID


IMPORTS = Quantity(
    name="imports", title="capabilities imported", kind=Kind.COUNT, unit="imports",
    meaning="Capabilities that were imported at run time.",
)  # fmt: skip
USES = Quantity(
    name="uses", title="uses of an imported capability", kind=Kind.COUNT, unit="grants and invokes",
    meaning="Grants and invokes of an imported capability that were called after the import had returned.",
)  # fmt: skip
NOT_FOUND = Quantity(
    name="not_found", title="uses that found nothing", kind=Kind.COUNT, unit="grants and invokes", of=USES,
    meaning="Of `uses`, those that found no such capability.",
)  # fmt: skip
NOT_FOUND_RATE = Quantity(
    name="not_found_rate", title="share of uses that found nothing", kind=Kind.RATE, of=USES,
    meaning="`not_found` ÷ `uses`.",
)  # fmt: skip
PHANTOMS = Quantity(
    name="phantoms", title="uses before any import", kind=Kind.COUNT, unit="grants and invokes",
    column=Column.NONE, meaning="Uses that succeeded before anybody had imported the capability.",
)  # fmt: skip


def tell(seen: Observed) -> str:
    """Say how often an imported capability was not there."""
    return (
        f"{seen.count(NOT_FOUND)} of {seen.count(USES)} uses of an imported capability found nothing "
        f"({seen.percent(NOT_FOUND_RATE)})"
    )


REGISTRY = Component(
    name="capability registry",
    order=70,
    default="`CapabilityRegistry` in each process",
    seen="`CapabilityNotFound` for a capability that was imported at run time through another worker",
    bound="100 % of uses; expected under even routing: 1 − 1/(N·M)",
    away="in no store",
    repair="register at start-up; or one kernel process (`sidecar`; over hosts `remote`); no store holds it",
)


def _parameters(deployment: Deployment, target: Target, policy: Policy) -> dict[str, Any]:
    del deployment, target, policy
    return {}


SCENARIO = Scenario(
    name="capabilities",
    order=60,
    claim="A capability imported through one worker is invocable on all from then on.",
    drive=drive,
    checker=checker,
    parameters=_parameters,
    assumptions=met_and_answered(),
    expect=expect,
    under_fault=under_fault,
    tell=tell,
    measures=(IMPORTS, USES, NOT_FOUND, NOT_FOUND_RATE, PHANTOMS),
    headline=Proportion(hits=NOT_FOUND, of=USES, rate=NOT_FOUND_RATE, words="uses that found nothing"),
    components=(REGISTRY,),
)
