"""A stream is authorised when it begins, on every worker; once it has ended, every worker explains it."""

from __future__ import annotations

import itertools
from typing import Any

from kernel_lab.deployments.deployment import Deployment
from kernel_lab.faults.workers import KILL_WORKER
from kernel_lab.judge.checkers import streams as checker
from kernel_lab.judge.verdict import Validity
from kernel_lab.run.declaration import Component, Proportion
from kernel_lab.run.measures import Column, Kind, Observed, Quantity
from kernel_lab.run.scenario import Scenario, Session, Target, met_and_answered
from kernel_lab.traffic.client import RecordingClient
from kernel_lab.traffic.connections import Fresh, Policy

from . import sample as cast

QUESTIONS = 4
"""Explanations and second streams where the connection policy cannot choose the worker."""

ATTEMPTS = 24
"""Streams after which a trial without one is given up."""

CHUNK_MS = 10
"""Between the frames of a stream."""
FRAMES = 20
"""Frames of a whole stream of the lab's capability."""


async def drive(session: Session) -> None:
    """Revoke at the first frame; hang up in the middle; kill the worker that streams."""
    trials = max(2, session.lanes) if session.quick else max(4, 2 * session.lanes)
    # one after the other: a stream keeps its pinned connection, and the revoke needs another
    for number in range(trials):
        await _revoked_at_first_frame(session, number)
    connector = Fresh(session.target.address, (f"s{n}" for n in itertools.count()))
    try:
        await session.together([_hung_up(session, connector, number) for number in range(4)])
        await _killed(session, connector)
    finally:
        await connector.aclose()


async def _revoked_at_first_frame(session: Session, number: int) -> None:
    agent = session.client(session.principal())
    revoker = session.client(session.principal("admin", roles=("admin",)))
    token = await _token(session, agent, number)
    if token is None:
        return

    async def revoke_at_first(frame: int) -> bool:
        if frame == 1:
            await revoker.revoke(token["token_id"], lane=number + 1)
        return True

    # workers without a common secret refuse each other's tokens: ask until the right one is met
    for _ in range(ATTEMPTS):
        streamed = await agent.stream(token, lane=number, on_frame=revoke_at_first)
        if streamed.error != "token_invalid":
            break
    for step in range(max(session.lanes, QUESTIONS)):
        if streamed.ok and streamed.output is not None:
            await agent.explain(streamed.output["action_id"], lane=number + step)
        if step < 2:
            await agent.stream(token, lane=number + step + 1)


async def _hung_up(session: Session, connector: Fresh, number: int) -> None:
    """Hang up in the middle of a stream. It has a connection of its own, because hanging up ends the connection."""
    agent = session.client(session.principal(), connector)
    token = await _token(session, agent, number)
    if token is None:
        return

    async def enough(frame: int) -> bool:
        return frame < 3

    streamed = await agent.stream(token, on_frame=enough)
    if streamed.output is not None:
        for _ in range(2):
            await agent.explain(streamed.output["action_id"])


async def _killed(session: Session, connector: Fresh) -> None:
    """Comes last, because everything that a worker alone knew ends with it, in one process as in many."""
    agent = session.client(session.principal(), connector)
    token = await _token(session, agent, 0)
    if token is None:
        return

    async def kill_at_second(frame: int) -> bool:
        if frame == 2:
            async with session.disturbed(KILL_WORKER, agent.answering):
                pass
        return True

    await agent.stream(token, on_frame=kill_at_second)


async def _token(session: Session, agent: RecordingClient, lane: int) -> dict[str, Any] | None:
    capability = cast.streaming(session.target)
    if capability is None:
        return None
    granted = await agent.grant(capability, lane=lane)
    return granted.body["token"] if granted.ok else None


def expect(deployment: Deployment, policy: Policy) -> Validity | None:
    """Broken where revocations or traces have several homes: what is asked next meets another worker.

    Where each caller keeps one connection, it is random whether the revoker meets the worker of the agent whose token
    it revokes.
    """
    stays = policy is Policy.KEEP_ALIVE and deployment.routing == "direct"
    explained = stays or deployment.homes_of_one("traces") == 1
    if explained and (deployment.races or deployment.loses_traces):
        return None
    if explained and deployment.homes("revocations") == 1:
        return Validity.VALID
    return None if stays else Validity.INVALID


STREAMS = Quantity(
    name="streams", title="streams asked for", kind=Kind.COUNT, unit="streams",
    meaning="Streamed invokes that were asked for.",
)  # fmt: skip
BEGUN = Quantity(
    name="begun", title="streams that began", kind=Kind.COUNT, unit="streams", of=STREAMS,
    meaning="Of `streams`, those that sent at least one frame.",
)  # fmt: skip
TOKENS_REVOKED = Quantity(
    name="tokens", title="tokens revoked", kind=Kind.COUNT, unit="tokens",
    meaning="Tokens that were revoked while a stream of theirs was under way.",
)  # fmt: skip
LEAKED_TOKENS = Quantity(
    name="leaked_tokens", title="revoked tokens that began another stream", kind=Kind.COUNT, unit="tokens",
    of=TOKENS_REVOKED,
    meaning="Of `tokens`, those that began another stream after their revoke had returned.",
)  # fmt: skip
STREAMS_AFTER = Quantity(
    name="streams_after", title="streams asked for after a revoke", kind=Kind.COUNT, unit="streams",
    column=Column.AFTER,
    meaning="Streams that were asked for after their token's revoke had returned, expired tokens left out.",
)  # fmt: skip
LEAKED_STREAMS = Quantity(
    name="leaked_streams", title="streams begun after a revoke", kind=Kind.COUNT, unit="streams",
    of=STREAMS_AFTER, column=Column.AFTER, meaning="Of `streams_after`, those that began.",
)  # fmt: skip
EXPLAINED = Quantity(
    name="explains", title="explanations asked for", kind=Kind.COUNT, unit="explains",
    meaning="Explanations asked for, of streams that had ended.",
)  # fmt: skip
LOST = Quantity(
    name="lost", title="streams not explained", kind=Kind.COUNT, unit="explains", of=EXPLAINED,
    meaning="Of `explains`, those that found no trace.",
)  # fmt: skip
OUTLIVED = Quantity(
    name="outlived_streams", title="streams that outlived their revoke", kind=Kind.COUNT, unit="streams",
    of=BEGUN,
    meaning="Streams that had begun and went on after their token's revoke. One process does the same.",
)  # fmt: skip
OUTLIVED_MS = Quantity(
    name="outlived_ms_max", title="outlived their revoke by, longest", kind=Kind.LAG, unit="ms",
    meaning="For how long such a stream went on, at most.",
)  # fmt: skip
UNTRACED = Quantity(
    name="untraced_breaks", title="broken streams not explained", kind=Kind.COUNT, unit="explains",
    meaning="Explanations of streams that broke off and that found no trace. One process does the same.",
)  # fmt: skip


def tell(seen: Observed) -> str:
    """Say how long streams outlived their revocation, and how many could not be explained afterwards."""
    said = (
        f"{seen.count(LEAKED_STREAMS)} of {seen.count(STREAMS_AFTER)} streams began after their token's revoke, "
        f"{seen.count(LOST)} of {seen.count(EXPLAINED)} explanations of streams found nothing"
    )
    if seen.find(OUTLIVED):
        said += (
            f"; as in one process, {seen.count(OUTLIVED)} streams outlived their revocation, by up to "
            f"{seen.number(OUTLIVED_MS):.0f} ms"
        )
    return said


COMPONENT = Component(
    name="streams",
    order=90,
    default="checked once, when a stream begins",
    seen="another worker starts a stream with a revoked token, and cannot explain a stream that ended "
    "elsewhere; a stream under way outlives its revocation, in one process too",
    bound="as revocations and traces",
    away="503 before the first frame",
    repair="as revocations and traces; a stream under way is not ended by any store",
)


def _parameters(deployment: Deployment, target: Target, policy: Policy) -> dict[str, Any]:
    del policy
    frames = FRAMES if cast.streaming(target) else None
    return {"trace_cap": target.facts.get("trace_cap"), "stream_frames": frames, **deployment.stale}


SCENARIO = Scenario(
    name="streams",
    order=90,
    needs=(cast.must_stream,),
    claim="A stream is authorised when it begins, on every worker; once it has ended, every worker explains "
    "it.",
    drive=drive,
    checker=checker,
    parameters=_parameters,
    assumptions=met_and_answered(),
    expect=expect,
    tell=tell,
    measures=(
        STREAMS, BEGUN, TOKENS_REVOKED, LEAKED_TOKENS, EXPLAINED, LOST, OUTLIVED, OUTLIVED_MS, UNTRACED,
        STREAMS_AFTER, LEAKED_STREAMS,
    ),
    headline=Proportion(
        hits=LEAKED_STREAMS, of=STREAMS_AFTER, words="streams that began after their token's revoke"
    ),
    components=(COMPONENT,),
    own_stack=True,
    env={"LAB_STREAM_CHUNK_MS": str(CHUNK_MS)},
)  # fmt: skip
