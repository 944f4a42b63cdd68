"""A token minted on any worker verifies on every worker; a tampered token verifies nowhere."""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import Any

from kernel_lab.deployments.deployment import Deployment
from kernel_lab.faults.around import FREE, Around
from kernel_lab.judge.checkers import tokens as checker
from kernel_lab.judge.history import AnyOperation, Grant, Invoke
from kernel_lab.judge.verdict import Validity
from kernel_lab.run.declaration import Component, Forecast, Front, Predicted, Proportion, prediction_of
from kernel_lab.run.measures import Column, Kind, Observed, Quantity
from kernel_lab.run.scenario import (
    Caller,
    Scenario,
    Session,
    Target,
    in_columns,
    life_left_s,
    met_and_answered,
    pause_until,
)
from kernel_lab.traffic.connections import Policy

from . import sample as cast

VERIFICATIONS = 4
"""Invokes per token where the connection policy cannot choose the worker."""

TRIALS_AT_FULL = 40
"""Trials of a full run. If one forgery in fifty is accepted, the run misses it with a probability of 4 %."""

AFTER = (1.03, 1.15, 1.5)
"""The times, in lives of a short-lived token, at which it is presented after its end. It must be refused."""


async def drive(session: Session) -> None:
    """Mint tokens on each worker in turn.

    Present them everywhere: whole, tampered, by a stranger, until they expire.
    """
    trials = 8 if session.quick else TRIALS_AT_FULL

    jobs = in_columns(session, _trial, trials, probes=1)
    for number in range(4):
        jobs += [_through_life(session, client, number) for client in (session.client, session.probe)]
    await session.together(jobs)


async def _trial(session: Session, client: Caller, number: int) -> None:
    agent, stranger = client(session.principal()), client(session.principal("stranger"))
    granted = await agent.grant(cast.reading(session.target), lane=number)
    if not granted.ok:
        return
    token = granted.body["token"]
    other = _another(session.target, token["capability_id"])
    for step in range(max(session.lanes, VERIFICATIONS)):
        await agent.invoke(token, lane=number + step)
        if step % 2:
            altered = _tamper(token, number + step // 2, principal=stranger.principal.name, capability=other)
            # a token whose principal was altered is presented by the principal that it then names
            thief = stranger if altered["principal_id"] != token["principal_id"] else agent
            await thief.invoke(altered, lane=number + step, tampered=True)
        elif client == session.client:
            await stranger.invoke(token, lane=number + step)


async def _through_life(session: Session, client: Caller, number: int) -> None:
    """Present a short-lived token as often as others, spread over its life. It must not expire early."""
    capability = cast.brief(session.target)
    if capability is None:
        return
    agent = client(session.principal())
    granted = await agent.grant(capability, lane=number)
    if not granted.ok:
        return
    token = granted.body["token"]
    granted_ns = time.monotonic_ns()
    life_s = life_left_s(token)
    steps = max(session.lanes, VERIFICATIONS)
    shares = [0.97 * (step + 1) / steps for step in range(steps)]
    for step, share in enumerate([*shares, *AFTER]):
        await pause_until(granted_ns + int(share * life_s * 1e9))
        await agent.invoke(token, lane=number + step)


def _another(target: Target, capability: str) -> str:
    """Another capability than the token's; a made-up name where the kernel has no other."""
    others = (name for name in (cast.listing(target), *sorted(target.capabilities)) if name != capability)
    return next(others, f"{capability}.other")


def _tamper(token: dict[str, Any], step: int, *, principal: str, capability: str) -> dict[str, Any]:
    """The token with one field altered, such that an attacker would gain something if that field were not signed.

    `capability` and `principal` are others than the token's. Every change changes something: an unaltered token that
    is called altered would accuse a right kernel.
    """
    last = token["signature"][-1]
    changes: tuple[dict[str, Any], ...] = (
        {"signature": token["signature"][:-1] + ("0" if last != "0" else "1")},
        {
            "constraints": {
                **token["constraints"],
                "max_rows": 10_000 + int(token["constraints"].get("max_rows") or 0),
            }
        },
        {"expires_at": token["expires_at"].replace("20", "21", 1)},
        {"token_id": token["token_id"][:-1] + ("0" if token["token_id"][-1] != "0" else "1")},
        {"principal_id": principal},
        {"capability_id": capability},
        {"issued_at": token["issued_at"].replace("20", "19", 1)},
        {"audit_id": token["audit_id"][:-1] + ("0" if token["audit_id"][-1:] != "0" else "1")},
    )
    return {**token, **changes[step % len(changes)]}


async def under_fault(session: Session, around: Around) -> None:
    """Present tokens from before the fault in every round, and one new token in each round."""
    agent = session.client(session.principal())
    granted = [await agent.grant(cast.reading(session.target)) for _ in range(4)]
    tokens = [reply.body["token"] for reply in granted if reply.ok]
    async for number in around.rounds():
        reply = await agent.grant(cast.reading(session.target))
        if reply.ok:
            tokens.append(reply.body["token"])
        for token in tokens[number % 4 :: 4][:2] if tokens else ():
            await agent.invoke(token, mode=FREE)


def predict(
    probe: Sequence[AnyOperation], deployment: Deployment, parameters: dict[str, Any]
) -> Forecast | None:
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
        return None
    rejected = 0 if deployment.secret else sum(mint != met for mint, met in pairs)
    return Forecast(value=rejected / len(pairs))


def expect(deployment: Deployment, policy: Policy) -> Validity:
    """Broken where the workers have no secret in common, unless each client stays with one worker."""
    together = deployment.secret or deployment.processes == 1 or policy is Policy.KEEP_ALIVE
    return Validity.VALID if together else Validity.INVALID


VERIFICATIONS_MADE = Quantity(
    name="verifications", title="good tokens presented", kind=Kind.COUNT, unit="invokes",
    meaning="Invokes with an unaltered, unexpired token, whose answer shows whether the token verifies.",
)  # fmt: skip
REJECTED = Quantity(
    name="rejected", title="good tokens refused", kind=Kind.COUNT, unit="invokes", of=VERIFICATIONS_MADE,
    meaning="Of `verifications`, the invokes that were refused as tampered with.",
)  # fmt: skip
REJECTED_RATE = Quantity(
    name="rejected_rate", title="share of good tokens refused", kind=Kind.RATE, of=VERIFICATIONS_MADE,
    meaning="`rejected` ÷ `verifications`.",
)  # fmt: skip
PREDICTED = prediction_of(REJECTED_RATE)
TAMPERED = Quantity(
    name="tampered", title="altered tokens presented", kind=Kind.COUNT, unit="invokes",
    meaning="Invokes with a token that the caller had altered.",
)  # fmt: skip
FORGED = Quantity(
    name="forged", title="altered tokens accepted", kind=Kind.COUNT, unit="invokes", of=TAMPERED,
    meaning="Of `tampered`, the invokes that were accepted.",
)  # fmt: skip
EXPIRED_EARLY = Quantity(
    name="expired_early", title="tokens expired too early", kind=Kind.COUNT, unit="invokes",
    meaning="Invokes that were refused as expired although the token's stated life had not passed.",
    column=Column.NONE,
)  # fmt: skip
ACCEPTED_LATE = Quantity(
    name="accepted_late", title="tokens accepted too late", kind=Kind.COUNT, unit="invokes",
    meaning="Invokes that were accepted although the token's stated life had passed before they were called.",
    column=Column.NONE,
)  # fmt: skip
STRANGERS = Quantity(
    name="strangers", title="tokens presented by strangers", kind=Kind.COUNT, unit="invokes",
    meaning="Invokes by another principal than the one that the token was minted for.",
    column=Column.NONE,
)  # fmt: skip
BORROWED = Quantity(
    name="borrowed", title="strangers' invokes accepted", kind=Kind.COUNT, unit="invokes", of=STRANGERS,
    meaning="Of `strangers`, the invokes that were accepted.", column=Column.NONE,
)  # fmt: skip


def tell(seen: Observed) -> str:
    """Say how many good tokens were refused, and how many altered tokens were accepted."""
    return (
        f"{seen.count(REJECTED)} of {seen.count(VERIFICATIONS_MADE)} good tokens were refused as invalid, "
        f"{seen.count(FORGED)} of {seen.count(TAMPERED)} altered tokens were accepted"
    )


def _front(seen: Observed) -> str:
    return f"{seen.count(REJECTED)} of {seen.count(VERIFICATIONS_MADE)}"


SIGNATURES = Component(
    name="token signatures",
    order=10,
    default="none: HMAC over the payload, with one secret",
    seen="nothing: a token verifies on every worker that has the secret",
    bound="–",
    away="needs no store",
    repair="not needed",
)
SECRET = Component(
    name="secret, where none is set",
    order=11,
    default="`_secrets._DEV_SECRET`: random, one for each process",
    seen="other workers refuse a good token as tampered with",
    bound="100 % of verifications; expected under even routing: 1 − 1/(N·M); after a restart all tokens are refused",
    away="needs no store",
    repair="set `WEAVER_KERNEL_SECRET` on every worker",
    on="no-secret",
    hosts="",
)


def _parameters(deployment: Deployment, target: Target, policy: Policy) -> dict[str, Any]:
    del deployment, policy
    return cast.lives(target)


SCENARIO = Scenario(
    name="tokens",
    order=10,
    needs=(cast.reading,),
    claim="A token minted on any worker verifies on every worker; a tampered one nowhere.",
    drive=drive,
    checker=checker,
    parameters=_parameters,
    assumptions=met_and_answered(16),
    expect=expect,
    under_fault=under_fault,
    tell=tell,
    measures=(
        VERIFICATIONS_MADE,
        REJECTED,
        REJECTED_RATE,
        PREDICTED,
        TAMPERED,
        FORGED,
        EXPIRED_EARLY,
        ACCEPTED_LATE,
        STRANGERS,
        BORROWED,
    ),
    headline=Proportion(
        hits=REJECTED, of=VERIFICATIONS_MADE, rate=REJECTED_RATE, words="verifications refused"
    ),
    predicted=Predicted(quantity=PREDICTED, of=REJECTED_RATE, by=predict),
    front=Front(title="good tokens refused", said=_front),
    components=(SIGNATURES, SECRET),
    under_load=True,
)
