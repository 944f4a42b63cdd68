"""Once an invoke has returned, every worker explains its action, and a listing holds it once."""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import Any

from kernel_lab.deployments.deployment import Deployment
from kernel_lab.faults.around import FREE, Around
from kernel_lab.judge.checkers import traces as checker
from kernel_lab.judge.history import AnyOperation, Explain, Invoke
from kernel_lab.judge.verdict import Validity
from kernel_lab.run.declaration import Component, Forecast, Predicted, Proportion, prediction_of
from kernel_lab.run.measures import Column, Kind, Observed, Quantity
from kernel_lab.run.scenario import (
    Caller,
    Scenario,
    Session,
    Target,
    in_columns,
    met_and_answered,
    pause_until,
)
from kernel_lab.traffic.connections import Policy

from . import sample as cast

EXPLAINS = 4
"""Explanations per action where the connection policy cannot choose the worker."""
ATTEMPTS = 24
"""Invokes after which a trial without an action is given up."""

MANY = 48
"""Actions of one principal. A run misses a loss of one in ten with a probability of 0.6 %."""

MANY_AT_FULL = 150
"""The same in a full run, which misses a loss of one in fifty with a probability of 5 %."""
LATER, PAUSE_S = 6, 1.2
"""The number of actions that are asked for once more, and the pause before. A store that keeps traces for a second
has forgotten them by then."""
DENIALS = 4
"""Denials, and expansions, of one principal."""


async def drive(session: Session) -> None:
    """Act on each worker in turn; ask each for the action and for the list; verify the chain at the end.

    One principal acts many times, and each of its actions is asked for, some of them once more after a while.
    Another principal is denied grants and expands a handle. The listings of its denials and expansions are read too.
    """
    trials = max(8, 2 * session.lanes) if session.quick else max(24, 3 * session.lanes)

    jobs = in_columns(session, _trial, trials)
    jobs += [_many(session, session.client), _many(session, session.probe)]
    for number in range(2):
        jobs += [_denied(session, number), _expanded(session, number)]
    await session.together(jobs)
    auditor = session.client(session.principal("auditor", roles=("admin",)))
    for lane in range(session.lanes):
        await auditor.audit(lane=lane)


async def _trial(session: Session, client: Caller, number: int) -> None:
    agent = client(session.principal())
    granted = await agent.grant(cast.reading(session.target), lane=number)
    if not granted.ok:
        return
    asked = cast.args(session.target, cast.reading(session.target), number)
    for _ in range(ATTEMPTS):
        acted = await agent.invoke(granted.body["token"], lane=number, args=asked)
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
    many = MANY if session.quick else MANY_AT_FULL
    acted = [await agent.invoke(granted.body["token"], lane=number) for number in range(many)]
    for number, reply in enumerate(acted):
        if reply.ok:
            await agent.explain(reply.body["action_id"], lane=number + number // session.lanes)
    for lane in range(2):
        await agent.list_traces(agent.principal.name, lane=lane)
    if client == session.client:
        await pause_until(time.monotonic_ns() + int(PAUSE_S * 1e9))
        for number, reply in enumerate(acted[:LATER]):
            if reply.ok:
                await agent.explain(reply.body["action_id"], lane=number)


async def _denied(session: Session, number: int) -> None:
    """Grants that the policy denies to a mere reader: each is recorded, and listed."""
    reader = session.client(session.principal("reader", roles=("reader",)))
    for step in range(DENIALS):
        await reader.grant(cast.limited(session.target), lane=number + step)
    for step in range(2):
        await reader.list_traces(reader.principal.name, event_type="deny", lane=number + step)


async def _expanded(session: Session, number: int) -> None:
    """Expansions have actions of their own: each is explained, and listed."""
    agent = session.client(session.principal())
    granted = await agent.grant(cast.reading(session.target), lane=number)
    made = await agent.invoke(granted.body["token"], lane=number) if granted.ok else granted
    if not made.ok or not made.body.get("handle_id"):
        return
    expanded = [await agent.expand(made.body["handle_id"], lane=number + step) for step in range(DENIALS)]
    for step, reply in enumerate(expanded):
        if reply.ok:
            await agent.explain(reply.body["action_id"], lane=number + step + 1)
    for event_type in ("expand", None):
        await agent.list_traces(agent.principal.name, event_type=event_type, lane=number)


async def under_fault(session: Session, around: Around) -> None:
    """Actions from before the fault are explained in every round, and new ones are done."""
    agent = session.client(session.principal())
    granted = await agent.grant(cast.reading(session.target))
    done: list[str] = []

    async def act() -> None:
        reply = await agent.invoke(granted.body["token"], mode=FREE) if granted.ok else granted
        if reply.ok and reply.body.get("action_id"):
            done.append(reply.body["action_id"])

    for _ in range(6):
        await act()
    async for number in around.rounds():
        if number % 4 == 0:
            await act()
        for action in done[number % 3 :: 3]:
            await agent.explain(action)


def predict(
    probe: Sequence[AnyOperation], deployment: Deployment, parameters: dict[str, Any]
) -> Forecast | None:
    """An explanation is lost where it meets another home of traces (place where they are kept) than the invoke did."""
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
    return Forecast(value=lost / len(pairs)) if pairs else None


def expect(deployment: Deployment, policy: Policy) -> Validity | None:
    """Broken where one principal's calls reach several homes of traces, and random where their store loses some."""
    if deployment.loses_traces:
        return None
    stays = policy is Policy.KEEP_ALIVE and deployment.routing == "direct"
    return Validity.VALID if stays or deployment.homes_of_one("traces") == 1 else Validity.INVALID


EXPLAINED = Quantity(
    name="explains", title="explanations asked for", kind=Kind.COUNT, unit="explains",
    meaning="Explanations asked for, of actions whose invoke had returned.",
)  # fmt: skip
LOST = Quantity(
    name="lost", title="actions not explained", kind=Kind.COUNT, unit="explains", of=EXPLAINED,
    meaning="Of `explains`, those that found no trace.",
)  # fmt: skip
LOST_RATE = Quantity(
    name="lost_rate", title="share of actions not explained", kind=Kind.RATE, of=EXPLAINED,
    meaning="`lost` ÷ `explains`.",
)  # fmt: skip
PREDICTED = prediction_of(LOST_RATE)
LISTINGS = Quantity(
    name="listings", title="listings read", kind=Kind.COUNT, unit="listings",
    meaning="Listings of a principal's traces that were read.",
)  # fmt: skip
MISSING_SHARE = Quantity(
    name="missing_share", title="share of actions missing in listings", kind=Kind.RATE, of=LISTINGS,
    meaning="Over all `listings`: actions that were missing ÷ actions that had to be there.",
)  # fmt: skip
DOUBLED = Quantity(
    name="doubled", title="actions listed twice", kind=Kind.COUNT, unit="actions", of=LISTINGS,
    meaning="Actions that stood in one listing twice.",
)  # fmt: skip
AUDITS = Quantity(
    name="audits", title="audits read", kind=Kind.COUNT, unit="audits", column=Column.NONE,
    meaning="Audits that told whether the chain verifies.",
)  # fmt: skip


def tell(seen: Observed) -> str:
    """Say how many actions could not be explained."""
    return (
        f"{seen.count(LOST)} of {seen.count(EXPLAINED)} actions not explained ({seen.percent(LOST_RATE)}, "
        f"predicted {seen.percent(PREDICTED)})"
    )


TRACES = Component(
    name="traces and audit",
    order=50,
    default="`TraceStore` in each process; no chain",
    seen="`explain` does not know an action that another worker carried out; a listing has one worker's actions",
    bound="100 % of explanations; expected under even routing: 1 − 1/(N·M); all of a worker's traces when it ends",
    away="503; an invoke whose trace cannot be kept fails after its driver has run",
    repair="a shared trace store, or a sidecar",
)


def _parameters(deployment: Deployment, target: Target, policy: Policy) -> dict[str, Any]:
    del deployment, policy
    return {"trace_cap": target.facts.get("trace_cap")}


SCENARIO = Scenario(
    name="traces",
    order=50,
    needs=(cast.reading,),
    claim="Once an invoke has returned, every worker explains its action, a later listing holds it once, and "
    "the audit chain verifies.",
    drive=drive,
    checker=checker,
    parameters=_parameters,
    assumptions=met_and_answered(16),
    expect=expect,
    under_fault=under_fault,
    tell=tell,
    measures=(EXPLAINED, LOST, LOST_RATE, PREDICTED, LISTINGS, MISSING_SHARE, DOUBLED, AUDITS),
    headline=Proportion(hits=LOST, of=EXPLAINED, rate=LOST_RATE, words="explanations missing"),
    predicted=Predicted(quantity=PREDICTED, of=LOST_RATE, by=predict),
    components=(TRACES,),
    under_load=True,
)
