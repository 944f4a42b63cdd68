"""From one instant on, every invoke of a revoked token is refused, on every worker."""

from __future__ import annotations

import time
from collections import defaultdict
from collections.abc import Sequence
from typing import Any

from kernel_lab.deployments.deployment import Deployment
from kernel_lab.faults.around import FREE, Around
from kernel_lab.judge.checkers import revocation as checker
from kernel_lab.judge.evidence import accepted as accepted_token
from kernel_lab.judge.history import AnyOperation, Grant, Invoke, Revoke, RevokeAll
from kernel_lab.judge.verdict import Validity
from kernel_lab.run.declaration import (
    AgainstWorkers,
    Component,
    Forecast,
    Front,
    Predicted,
    Proportion,
    Tile,
    prediction_of,
)
from kernel_lab.run.measures import Column, Kind, Observed, Quantity, duration, percent
from kernel_lab.run.scenario import (
    Caller,
    Scenario,
    Session,
    Target,
    in_columns,
    met_and_answered,
    pause_until,
)
from kernel_lab.traffic.client import RecordingClient
from kernel_lab.traffic.connections import Policy

from . import sample as cast
from . import staleness
from .staleness import (
    INVOKES,
    LAG_END,
    LAG_EXPIRED,
    LAG_LOWER_MAX,
    LAG_LOWER_P50,
    LAG_OPEN,
    LAG_UPPER_MAX,
    LAG_UPPER_P50,
    LAG_WIDTH,
    TOKENS_REVOKED,
)

TOKENS = 3
"""The number of tokens of a principal whose tokens are all revoked at once."""
PAGE = 13
"""Tokens of one such principal: more than a page of ten."""
MANY = (8, 4)
"""Principals, and tokens of each, revoked one by one. A run misses a loss of one in ten with a probability of 3 %."""
MANY_AT_FULL = (36, 4)
"""The same in a full run, which misses a loss of one in fifty with a probability of 5 %. The probe does not need it."""


async def drive(session: Session) -> None:
    """Revoke: by the principal, by an administrator, all at once, under fire, and until the token expires.

    Beside each revoked token its principal holds one that nobody has revoked.
    """
    jobs = in_columns(session, _trial, 6 if session.quick else 12, columns=3)
    jobs += [_many(session, client, first) for client in (session.client, session.probe) for first in (0, 1)]
    for number in range(2):
        jobs += [_under_fire(session, session.client, number), _until_expiry(session, session.client, number)]
        jobs += [_until_expiry(session, session.probe, number)]
    await session.together(jobs)


def _actors(session: Session, client: Caller, number: int) -> tuple[RecordingClient, RecordingClient]:
    """The agent, and the client that revokes: in even trials the agent itself, in odd trials an administrator."""
    agent = session.principal()
    admin = session.principal("admin", roles=("admin",))
    return client(agent), client(admin if number % 2 else agent)


async def _trial(session: Session, client: Caller, number: int) -> None:
    await (_revoke_all if number % 3 == 2 else _revoke_one)(session, client, number)


async def _revoke_one(session: Session, client: Caller, number: int) -> None:
    agent, revoker = _actors(session, client, number)
    kept = await agent.grant(cast.reading(session.target), lane=number)
    granted = await agent.grant(cast.reading(session.target), lane=number + 1)
    if not granted.ok:
        return
    token = granted.body["token"]
    await agent.invoke(token, lane=number + 1)
    await revoker.revoke(token["token_id"], lane=number)
    # the first worker that is asked is not the worker that revoked, so it may not have heard of the revoke
    for step in range(max(session.lanes, INVOKES)):
        await agent.invoke(token, lane=number + 1 + step)
    if kept.ok:
        await agent.invoke(kept.body["token"], lane=number)


async def _revoke_all(session: Session, client: Caller, number: int) -> None:
    agent, revoker = _actors(session, client, number)
    tokens = []
    for step in range(PAGE if number == TOKENS - 1 else TOKENS):
        granted = await agent.grant(cast.reading(session.target), lane=number + step)
        if granted.ok:
            tokens.append(granted.body["token"])
    await revoker.revoke_all(agent.principal.name, lane=number)
    later = await agent.grant(cast.reading(session.target), lane=number)
    for place, token in enumerate(tokens):
        for step in range(max(session.lanes, INVOKES) if place < TOKENS else 1):
            await agent.invoke(token, lane=number + 1 + step)
    if later.ok:
        await agent.invoke(later.body["token"], lane=number)


async def _many(session: Session, client: Caller, first: int) -> None:
    """Several tokens of a principal, each revoked by itself, all at once on different workers.

    Then all are presented: a store that reads, changes and writes back has lost some.
    """
    principals, each = MANY if session.quick or client == session.probe else MANY_AT_FULL
    for number in range(first, principals, 2):
        agent, revoker = _actors(session, client, number)
        tokens: list[tuple[int, dict[str, Any]]] = []
        for step in range(each):
            granted = await agent.grant(cast.reading(session.target), lane=number)
            if granted.ok:
                tokens.append((number + step, granted.body["token"]))
        await session.together([client(revoker.principal).revoke(t["token_id"], lane=at) for at, t in tokens])
        for _, token in tokens:
            await agent.invoke(token, lane=number)


async def _under_fire(session: Session, client: Caller, number: int) -> None:
    """Send overlapping invokes while the token is revoked. An accept after a refusal shows here."""
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
    """Present a revoked, short-lived token until it expires: how long do workers still accept it?"""
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
    await staleness.watch(session, agent, token, beside=kept.body["token"] if kept.ok else None, lane=number)


async def under_fault(session: Session, around: Around) -> None:
    """Tokens are revoked before the fault and in every round; all that were revoked are presented again and again.

    One token that nobody revokes is presented too.
    """
    agent = session.client(session.principal())
    kept = await agent.grant(cast.reading(session.target))
    revoked: list[dict[str, Any]] = []

    async def revoke_one() -> None:
        granted = await agent.grant(cast.reading(session.target))
        if granted.ok:
            # tokens whose revoke was not acknowledged are presented too: the fault may have cut off only the answer
            await agent.revoke(granted.body["token"]["token_id"])
            revoked.append(granted.body["token"])

    for _ in range(6):
        await revoke_one()
    async for number in around.rounds():
        if number % 4 == 0:
            await revoke_one()
        for token in revoked[number % 3 :: 3]:
            await agent.invoke(token, mode=FREE)
        if kept.ok:
            await agent.invoke(kept.body["token"], mode=FREE)


def predict(
    probe: Sequence[AnyOperation], deployment: Deployment, parameters: dict[str, Any]
) -> Forecast | None:
    """The share of invokes after a revoke that meet a home which has not heard of the revoke.

    A *home* is a place where revocations are kept: the store, a sidecar, or a worker. It knows the revokes that were
    sent to it. Of a revoke of all tokens of a principal, it knows the tokens that it issued itself. Without a
    common secret, only the worker that minted a token accepts it.
    """
    if deployment.races:
        return None
    minted: dict[str, str] = {}
    expires_ns: dict[str, float] = {}
    tracked: dict[tuple[str, str], set[str]] = defaultdict(set)
    refuses: dict[str, set[str]] = defaultdict(set)
    returned_ns: dict[str, int] = {}
    of_principal: dict[str, set[str]] = defaultdict(set)
    lives: dict[str, float] = parameters.get("token_ttls") or {}
    accepted = asked = 0
    for op in sorted(probe, key=lambda op: op.call_ns):
        if op.worker is None or (op.return_ns is None and not accepted_token(op)):
            continue  # an invoke that failed in the driver was answered too: its token had been accepted
        home = deployment.home("revocations", op.worker)
        if (
            isinstance(op, Grant)
            and op.output is not None
            and op.output.token_id
            and op.return_ns is not None
        ):
            token = op.output.token_id
            minted[token] = op.worker
            tracked[home, op.input.principal].add(token)
            of_principal[op.input.principal].add(token)
            expires_ns[token] = op.return_ns + lives.get(op.input.capability, float("inf")) * 1e9
        elif isinstance(op, Revoke) and op.return_ns is not None:
            refuses[home].add(op.input.token_id)
            returned_ns[op.input.token_id] = op.return_ns
        elif isinstance(op, RevokeAll) and op.return_ns is not None:
            refuses[home] |= tracked[home, op.input.principal]
            for token in of_principal[op.input.principal]:
                returned_ns.setdefault(token, op.return_ns)
        elif isinstance(op, Invoke):
            token = op.input.token_id
            revoked = token in minted and op.call_ns > returned_ns.get(token, op.call_ns)
            if revoked and op.call_ns < expires_ns[token]:
                asked += 1
                accepted += token not in refuses[home] and (deployment.secret or op.worker == minted[token])
    return Forecast(value=accepted / asked) if asked else None


def expect(deployment: Deployment, policy: Policy) -> Validity | None:
    """Broken where there are several homes of revocations: a revoke and an invoke may meet different ones."""
    del policy
    if deployment.races:
        return None
    return Validity.VALID if deployment.homes("revocations") == 1 else Validity.INVALID


LEAKED_TOKENS = Quantity(
    name="leaked_tokens", title="revoked tokens accepted", kind=Kind.COUNT, unit="tokens", of=TOKENS_REVOKED,
    meaning="Of `tokens`, those accepted at least once after their revoke had returned. Within a stated "
    "bound (`max_stale_ms`) that breaks nothing.",
)  # fmt: skip
LEAKS = Quantity(
    name="leaks", title="tokens accepted beyond the stated bound", kind=Kind.COUNT, unit="tokens",
    of=TOKENS_REVOKED, meaning="Of `tokens`, those accepted later than the stated bound allows.",
    column=Column.NONE,
)  # fmt: skip
INVOKES_AFTER = Quantity(
    name="invokes_after", title="invokes after a revoke", kind=Kind.COUNT, unit="invokes",
    meaning="Invokes of revoked tokens that were called after the revoke had returned and could have been "
    "accepted: an expired token could not.",
    column=Column.AFTER,
)  # fmt: skip
LEAKED_INVOKES = Quantity(
    name="leaked_invokes", title="invokes accepted after a revoke", kind=Kind.COUNT, unit="invokes",
    of=INVOKES_AFTER, meaning="Of `invokes_after`, those that were accepted.", column=Column.AFTER,
)  # fmt: skip
LEAK_RATE = Quantity(
    name="leak_rate", title="share of invokes accepted after a revoke", kind=Kind.RATE, of=INVOKES_AFTER,
    meaning="`leaked_invokes` ÷ `invokes_after`.",
)  # fmt: skip
PREDICTED = prediction_of(LEAK_RATE)
RESURRECTED = Quantity(
    name="resurrected_tokens", title="tokens accepted after a refusal", kind=Kind.COUNT, unit="tokens",
    of=TOKENS_REVOKED, meaning="Tokens that were accepted after they had been refused as revoked.",
)  # fmt: skip
PHANTOMS = Quantity(
    name="phantoms", title="refusals before any revoke", kind=Kind.COUNT, unit="invokes", column=Column.NONE,
    meaning="Invokes that were refused as revoked before anybody had called a revoke.",
)  # fmt: skip
MAX_STALE_MS = Quantity(
    name="max_stale_ms", title="stated staleness", kind=Kind.SETTING, unit="ms", column=Column.NONE,
    meaning="How late a worker may hear of a revocation, as the deployment states it.", always=False,
)  # fmt: skip
SHARE = Proportion(
    hits=LEAKED_INVOKES, of=INVOKES_AFTER, rate=LEAK_RATE, words="invokes accepted after the revoke"
)


def tell(seen: Observed) -> str:
    """Say how many tokens outlived their revocation, at what share of the invokes, and for how long."""
    tokens, leaked = seen.count(TOKENS_REVOKED), seen.count(LEAKED_TOKENS)
    if not leaked:
        return f"{tokens} tokens revoked, none accepted afterwards"
    lasted_ms, stated_ms = seen.number(LAG_LOWER_MAX), seen.find(MAX_STALE_MS)
    if stated_ms and not seen.count(LEAKS):
        return (
            f"{tokens} tokens revoked, {leaked} accepted for up to {lasted_ms:.0f} ms afterwards, within the "
            f"stated {stated_ms:g} ms"
        )
    return (
        f"{leaked} of {tokens} revoked tokens still accepted, at {seen.percent(LEAK_RATE)} of the invokes "
        f"that followed (predicted {seen.percent(PREDICTED)}); {staleness.ends(seen)}"
    )


def _tile(seen: Observed) -> Tile | None:
    share = SHARE.share(seen)
    if share is None:
        return None
    lasted_ms = seen.find(LAG_LOWER_MAX)
    if not share.hits or not lasted_ms:
        said = f"{share} invokes were accepted after the revoke had returned ({seen.over})."
        return Tile(before="a revoked token is", figure="refused", said=said)
    said = (
        f"{percent(share.value)} of the invokes after a revoke were accepted ({share.counted}, {seen.over})"
    )
    latest_ms = seen.find(LAG_UPPER_MAX)
    if seen.find(LAG_OPEN) or latest_ms is None:
        never, tokens = seen.find(LAG_OPEN) or 0, seen.count(TOKENS_REVOKED)
        said += f". For {never:g} of {tokens} tokens one worker {staleness.ends(seen)}"
        return Tile(
            before="one worker goes on accepting",
            figure=percent(share.value),
            after="of invokes with a revoked token",
            said=f"{said}.",
        )
    return Tile(
        before="a revoked token was accepted",
        figure=duration(lasted_ms),
        after="later",
        said=f"{said}; {staleness.ends(seen)}.",
    )


def _front(seen: Observed) -> str:
    leaked, tokens = seen.count(LEAKED_TOKENS), seen.count(TOKENS_REVOKED)
    return f"{leaked} of {tokens}, {seen.percent(LEAK_RATE)} of the invokes"


REVOCATIONS = Component(
    name="revocations",
    order=30,
    default="`InMemoryRevocationStore` in each process",
    seen="workers that did not serve the revoke accept the token; `revoke_all` covers only tokens of the "
    "worker that was asked",
    bound="100 % of invokes until the token expires; expected under even routing: 1 − 1/(N·M)",
    away="503: no invoke passes unchecked",
    repair="a shared revocation store, or a sidecar; as a bound on time only, short-lived tokens",
)


def _parameters(deployment: Deployment, target: Target, policy: Policy) -> dict[str, Any]:
    del policy
    return {
        **cast.lives(target),
        **deployment.stale,
    }


SCENARIO = Scenario(
    name="revocation",
    order=30,
    needs=(cast.reading,),
    claim="One instant exists from which every invoke of a revoked token is refused.",
    drive=drive,
    checker=checker,
    parameters=_parameters,
    assumptions=met_and_answered(24),
    expect=expect,
    under_fault=under_fault,
    tell=tell,
    measures=(
        TOKENS_REVOKED, LEAKED_TOKENS, LEAK_RATE, PREDICTED, LAG_LOWER_P50, LAG_LOWER_MAX, LAG_UPPER_P50,
        LAG_UPPER_MAX, RESURRECTED, INVOKES_AFTER, LEAKED_INVOKES, LEAKS, LAG_END, LAG_OPEN, LAG_EXPIRED,
        LAG_WIDTH, PHANTOMS, MAX_STALE_MS,
    ),
    headline=SHARE,
    lag=staleness.LAG,
    predicted=Predicted(quantity=PREDICTED, of=LEAK_RATE, by=predict),
    tile=_tile,
    front=Front(title="revoked tokens accepted afterwards", said=_front),
    components=(REVOCATIONS,),
    against_workers=AgainstWorkers(
        title="How often a revoked token is still accepted",
        axis="invokes accepted after the revoke",
        caption="Of the invokes called after their token's revoke had returned and before it expired. The dashed "
        "line is 1 − 1/N: what is expected where calls are spread evenly. It is no bound: where one worker hears of "
        "a revoke and others are asked more often, the share comes close to 100 %.",
    ),
    over_time=staleness.OVER_TIME,
    under_load=True,
)  # fmt: skip
