"""From one instant on, every invoke of a revoked token is refused, on every worker."""

from __future__ import annotations

import time
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

from kernel_lab.deployments.deployment import Deployment
from kernel_lab.judge.history import AnyOperation, Grant, Invoke, Revoke, RevokeAll
from kernel_lab.judge.verdict import Assumptions, Measure, Validity
from kernel_lab.run.results import percent
from kernel_lab.run.scenario import Scenario, Session, Target, met_everywhere, pause_until
from kernel_lab.traffic.client import Principal, RecordingClient
from kernel_lab.traffic.connections import Policy

from . import sample as cast

INVOKES = 4
"""Invokes after a revoke where the connection policy cannot choose the worker."""
TOKENS = 3
"""Tokens of a principal whose every token is revoked at once."""
MANY = (8, 4)
"""Principals, and tokens of each, revoked one by one: a loss of one in ten can hardly hide (3 %)."""
POLL_EVERY_S = 0.1
AFTER_EXPIRY_S = 0.4

Caller = Callable[[Principal], RecordingClient]


async def drive(session: Session) -> None:
    """Revoke: by the principal, by an administrator, all at once, under fire, and until the token expires.

    Beside each revoked token its principal holds one that nobody has revoked.
    """
    trials = 6 if session.quick else 12

    async def column(first: int) -> None:
        for number in range(first, trials, 3):
            for client in (session.client, session.probe, session.probe):
                await (_revoke_all if number % 3 == 2 else _revoke_one)(session, client, number)

    jobs = [column(first) for first in range(3)]
    jobs += [_many(session, client, first) for client in (session.client, session.probe) for first in (0, 1)]
    for number in range(2):
        jobs += [_under_fire(session, session.client, number), _until_expiry(session, session.client, number)]
        jobs += [_until_expiry(session, session.probe, number)]
    await session.together(jobs)


def _actors(session: Session, client: Caller, number: int) -> tuple[RecordingClient, RecordingClient]:
    """The agent, and who revokes: in even trials the agent, in odd ones an administrator."""
    agent = session.principal()
    admin = session.principal("admin", roles=("admin",))
    return client(agent), client(admin if number % 2 else agent)


async def _revoke_one(session: Session, client: Caller, number: int) -> None:
    agent, revoker = _actors(session, client, number)
    kept = await agent.grant(cast.reading(session.target), lane=number)
    granted = await agent.grant(cast.reading(session.target), lane=number + 1)
    if not granted.ok:
        return
    token = granted.body["token"]
    await agent.invoke(token, lane=number + 1)
    await revoker.revoke(token["token_id"], lane=number)
    for step in range(max(session.lanes, INVOKES)):
        await agent.invoke(token, lane=number + step)
    if kept.ok:
        await agent.invoke(kept.body["token"], lane=number)


async def _revoke_all(session: Session, client: Caller, number: int) -> None:
    agent, revoker = _actors(session, client, number)
    tokens = []
    for step in range(TOKENS):
        granted = await agent.grant(cast.reading(session.target), lane=number + step)
        if granted.ok:
            tokens.append(granted.body["token"])
    await revoker.revoke_all(agent.principal.name, lane=number)
    later = await agent.grant(cast.reading(session.target), lane=number)
    for token in tokens:
        for step in range(max(session.lanes, INVOKES)):
            await agent.invoke(token, lane=number + step)
    if later.ok:
        await agent.invoke(later.body["token"], lane=number)


async def _many(session: Session, client: Caller, first: int) -> None:
    """Several tokens of a principal, each revoked by itself, all at once on different workers.

    Then all are presented: a store that reads, changes and writes back has lost some.
    """
    for number in range(first, MANY[0], 2):
        agent, revoker = _actors(session, client, number)
        tokens: list[tuple[int, dict[str, Any]]] = []
        for step in range(MANY[1]):
            granted = await agent.grant(cast.reading(session.target), lane=number)
            if granted.ok:
                tokens.append((number + step, granted.body["token"]))
        await session.together([client(revoker.principal).revoke(t["token_id"], lane=at) for at, t in tokens])
        for _, token in tokens:
            await agent.invoke(token, lane=number)


async def _under_fire(session: Session, client: Caller, number: int) -> None:
    """Invokes go on, overlapping, while the token is revoked: a refusal that is taken back shows here."""
    agent, revoker = _actors(session, client, number + 1)
    granted = await agent.grant(cast.reading(session.target), lane=number)
    if not granted.ok:
        return
    token = granted.body["token"]
    stop_ns = time.monotonic_ns() + int(0.3e9)

    async def fire(caller: RecordingClient, lane: int) -> None:
        while time.monotonic_ns() < stop_ns:
            await caller.invoke(token, lane=lane)
            await pause_until(time.monotonic_ns() + 5_000_000)

    async def revoke() -> None:
        await pause_until(stop_ns - int(0.2e9))
        await revoker.revoke(token["token_id"], lane=number)

    callers = [client(agent.principal) for _ in range(min(session.lanes, 4) if session.lanes > 1 else 2)]
    await session.together([revoke(), *(fire(caller, lane) for lane, caller in enumerate(callers))])


async def _until_expiry(session: Session, client: Caller, number: int) -> None:
    """A revoked token of short life, asked for until it expires: how long stale authority lasts."""
    capability = cast.brief(session.target)
    if capability is None:
        return
    agent, revoker = _actors(session, client, number + 1)
    kept = await agent.grant(capability, lane=number)
    granted = await agent.grant(capability, lane=number)
    if not granted.ok:
        return
    token = granted.body["token"]
    await revoker.revoke(token["token_id"], lane=number)
    life_s = (datetime.fromisoformat(token["expires_at"]) - datetime.now(tz=UTC)).total_seconds()
    stop_ns = time.monotonic_ns() + int((life_s + AFTER_EXPIRY_S) * 1e9)
    while time.monotonic_ns() < stop_ns:
        round_ns = time.monotonic_ns()
        for step in range(max(session.lanes, INVOKES)):
            await agent.invoke(token, lane=number + step)
        if kept.ok:
            await agent.invoke(kept.body["token"], lane=number)
        await pause_until(round_ns + int(POLL_EVERY_S * 1e9))


def predict(
    probe: Sequence[AnyOperation], deployment: Deployment, parameters: dict[str, Any]
) -> dict[str, Measure]:
    """The share of invokes after a revoke that meet a home which has not heard of it.

    A home knows the revokes that were sent to it, and of a principal's tokens those it issued itself. Without
    a common secret, only the worker that minted a token accepts it at all.
    """
    if deployment.races:
        return {"predicted_leak_rate": None}
    minted: dict[str, str] = {}
    expires_ns: dict[str, float] = {}
    tracked: dict[tuple[str, str], set[str]] = defaultdict(set)
    refuses: dict[str, set[str]] = defaultdict(set)
    returned_ns: dict[str, int] = {}
    of_principal: dict[str, set[str]] = defaultdict(set)
    lives: dict[str, float] = parameters.get("token_ttls") or {}
    accepted = asked = 0
    for op in sorted(probe, key=lambda op: op.call_ns):
        if op.worker is None or op.return_ns is None:
            continue
        home = deployment.home("revocations", op.worker)
        if isinstance(op, Grant) and op.output is not None and op.output.token_id:
            token = op.output.token_id
            minted[token] = op.worker
            tracked[home, op.input.principal].add(token)
            of_principal[op.input.principal].add(token)
            expires_ns[token] = op.return_ns + lives.get(op.input.capability, float("inf")) * 1e9
        elif isinstance(op, Revoke):
            refuses[home].add(op.input.token_id)
            returned_ns[op.input.token_id] = op.return_ns
        elif isinstance(op, RevokeAll):
            refuses[home] |= tracked[home, op.input.principal]
            for token in of_principal[op.input.principal]:
                returned_ns.setdefault(token, op.return_ns)
        elif isinstance(op, Invoke):
            token = op.input.token_id
            if token in minted and op.call_ns > returned_ns.get(token, op.call_ns):
                asked += 1
                accepted += (
                    token not in refuses[home]
                    and op.call_ns < expires_ns[token]
                    and (deployment.secret or op.worker == minted[token])
                )
    return {"predicted_leak_rate": accepted / asked if asked else None}


def expect(deployment: Deployment, policy: Policy) -> Validity | None:
    """Broken where there are several homes of revocations: who revokes is not always who was granted."""
    del policy
    if deployment.races:
        return None
    return Validity.VALID if deployment.homes("revocations") == 1 else Validity.INVALID


def tell(m: Mapping[str, Any]) -> str:
    """How many tokens outlived their revocation, where and for how long."""
    if not m["leaked_tokens"]:
        return f"{m['tokens']} tokens revoked, none accepted afterwards"
    if m.get("max_stale_ms") and not m["leaks"]:
        return (
            f"{m['tokens']} tokens revoked, {m['leaked_tokens']} accepted for up to "
            f"{m['lag_lower_ms_max']:.0f} ms afterwards, within the {m['max_stale_ms']:g} ms that are stated"
        )
    share, predicted = percent(m["leak_rate"]), percent(m.get("predicted_leak_rate"))
    return (
        f"{m['leaked_tokens']} of {m['tokens']} revoked tokens still accepted, at {share} of the invokes "
        f"that followed (predicted {predicted}), seen for up to {m['lag_lower_ms_max'] / 1000:.1f} s"
    )


def _parameters(deployment: Deployment, target: Target, policy: Policy) -> dict[str, Any]:
    del policy
    return {
        "token_ttl_s": target.facts.get("token_ttl_s"),
        "token_ttls": target.facts.get("token_ttls") or {},
        **deployment.stale,
    }


SCENARIO = Scenario(
    name="revocation",
    order=30,
    claim="One instant exists from which every invoke of a revoked token is refused.",
    drive=drive,
    predict=predict,
    parameters=_parameters,
    assumptions=lambda deployment, policy: Assumptions(
        min_workers=met_everywhere(deployment, policy), min_operations=24
    ),
    expect=expect,
    tell=tell,
    columns=(
        "tokens", "leaked_tokens", "leak_rate", "predicted_leak_rate", "lag_lower_ms_p50", "lag_lower_ms_max",
        "lag_upper_ms_p50", "lag_upper_ms_max", "resurrected_tokens",
    ),
)  # fmt: skip
