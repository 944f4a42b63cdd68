"""A token minted on any worker verifies on every worker; a tampered one nowhere."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

from kernel_lab.deployments.deployment import Deployment
from kernel_lab.judge.history import AnyOperation, Grant, Invoke
from kernel_lab.judge.verdict import Assumptions, Measure, Validity
from kernel_lab.run.scenario import Scenario, Session, Target, met_everywhere, pause_until
from kernel_lab.traffic.client import Principal, RecordingClient
from kernel_lab.traffic.connections import Policy

from . import sample as cast

VERIFICATIONS = 4
"""Invokes per token where the connection policy cannot choose the worker."""

Caller = Callable[[Principal], RecordingClient]


async def drive(session: Session) -> None:
    """Mint on each worker in turn, present everywhere, whole and tampered, and late in a short life."""
    trials = 8 if session.quick else 16

    async def column(first: int) -> None:
        for number in range(first, trials, 4):
            await _trial(session, session.client, number)
            await _trial(session, session.probe, number)

    jobs = [column(first) for first in range(4)]
    for number in range(4):
        jobs += [_through_life(session, client, number) for client in (session.client, session.probe)]
    await session.together(jobs)


async def _trial(session: Session, client: Caller, number: int) -> None:
    agent = client(session.principal())
    granted = await agent.grant(cast.reading(session.target), lane=number)
    if not granted.ok:
        return
    token = granted.body["token"]
    for step in range(max(session.lanes, VERIFICATIONS)):
        await agent.invoke(token, lane=number + step)
        if step % 2:
            await agent.invoke(_tamper(token, number + step // 2), lane=number + step, tampered=True)


async def _through_life(session: Session, client: Caller, number: int) -> None:
    """A token of short life, presented as often as others, but spread over it: it must not end early."""
    capability = cast.brief(session.target)
    if capability is None:
        return
    agent = client(session.principal())
    granted = await agent.grant(capability, lane=number)
    if not granted.ok:
        return
    token = granted.body["token"]
    granted_ns = time.monotonic_ns()
    life_s = (datetime.fromisoformat(token["expires_at"]) - datetime.now(tz=UTC)).total_seconds()
    steps = max(session.lanes, VERIFICATIONS)
    for step in range(steps):
        await pause_until(granted_ns + int(0.95 * life_s * (step + 1) / steps * 1e9))
        await agent.invoke(token, lane=number + step)


def _tamper(token: dict[str, Any], step: int) -> dict[str, Any]:
    """The token with one thing altered: its signature, its rows, or its life."""
    changes: tuple[dict[str, Any], ...] = (
        {"signature": token["signature"][:-1] + ("0" if token["signature"][-1] != "0" else "1")},
        {"constraints": {**token["constraints"], "max_rows": 10_000}},
        {"expires_at": token["expires_at"].replace("20", "21", 1)},
    )
    return {**token, **changes[step % len(changes)]}


def predict(
    probe: Sequence[AnyOperation], deployment: Deployment, parameters: dict[str, Any]
) -> dict[str, Measure]:
    """Without a shared secret a token verifies on the worker that minted it, and there alone."""
    del parameters
    minted = {
        op.output.token_id: op.worker
        for op in probe
        if isinstance(op, Grant) and op.output is not None and op.output.token_id
    }
    pairs = [
        (minted[op.input.token_id], op.worker)
        for op in probe
        if isinstance(op, Invoke) and not op.input.tampered and op.input.token_id in minted
    ]
    if not pairs:
        return {"predicted_rejected_rate": None}
    rejected = 0 if deployment.secret else sum(mint != met for mint, met in pairs)
    return {"predicted_rejected_rate": rejected / len(pairs)}


def expect(deployment: Deployment, policy: Policy) -> Validity:
    """Broken where the workers have no secret in common, unless each client stays with one worker."""
    together = deployment.secret or deployment.processes == 1 or policy is Policy.KEEP_ALIVE
    return Validity.VALID if together else Validity.INVALID


def tell(m: Mapping[str, Any]) -> str:
    """How many good tokens were refused, and bad ones accepted."""
    said = f"{m['rejected']} of {m['verifications']} good tokens called invalid"
    return said + f", {m['forged']} of {m['tampered']} tampered ones accepted"


def _parameters(deployment: Deployment, target: Target, policy: Policy) -> dict[str, Any]:
    del deployment, policy
    return {
        "token_ttl_s": target.facts.get("token_ttl_s"),
        "token_ttls": target.facts.get("token_ttls") or {},
    }


SCENARIO = Scenario(
    name="tokens",
    order=10,
    claim="A token minted on any worker verifies on every worker; a tampered one nowhere.",
    drive=drive,
    predict=predict,
    parameters=_parameters,
    assumptions=lambda deployment, policy: Assumptions(
        min_workers=met_everywhere(deployment, policy), min_operations=16
    ),
    expect=expect,
    tell=tell,
    columns=("verifications", "rejected", "rejected_rate", "predicted_rejected_rate", "tampered", "forged"),
)
