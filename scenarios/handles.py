"""A handle can be expanded by its principal on every worker, and by no one else anywhere."""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import Any

from kernel_lab.deployments.deployment import Deployment
from kernel_lab.faults.around import FREE, Around
from kernel_lab.judge.checkers import handles as checker
from kernel_lab.judge.history import AnyOperation, Expand, Invoke
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
from kernel_lab.run.measures import Column, Kind, Observed, Quantity, percent
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

EXPANSIONS = 4
"""Expansions per handle where the connection policy cannot choose the worker."""

ATTEMPTS = 24
"""Invokes after which a trial without a handle is given up."""

MANY = 48
"""Handles that one principal holds at once, of one row each: a run misses a loss of one in ten with a probability
of 0.6 %."""

MANY_AT_FULL = 150
"""The same in a full run, which misses a loss of one in fifty with a probability of 5 %."""

STRANGERS_AT_FULL = 7
"""The number of times that a stranger tries each handle in a full run. If one try in fifty succeeds, the run sees it
with 97 %."""

SHORT_S = 5.0
"""A handle that lives no longer is watched until it has expired."""

AT_THE_END = (0.97, 1.03, 1.1)
"""The times of the last expands of a watched handle, in lives: before its end, after it, and well after it."""


async def drive(session: Session) -> None:
    """Make handles on each worker in turn and expand each on all of them; strangers try too.

    One principal holds many at once, and two are watched until they expire.
    """
    trials = max(8, 2 * session.lanes) if session.quick else max(24, 3 * session.lanes)

    jobs = in_columns(session, _trial, trials)
    for client in (session.client, session.probe):
        jobs += [_many(session, client), *(_until_expiry(session, client, number) for number in range(2))]
    await session.together(jobs)


async def _trial(session: Session, client: Caller, number: int) -> None:
    agent, stranger = client(session.principal()), client(session.principal("stranger"))
    granted = await agent.grant(cast.listing(session.target), lane=number)
    if not granted.ok:
        return
    # workers without a common secret refuse each other's tokens: ask until the right one is met
    asked = cast.args(session.target, cast.listing(session.target), number)
    for _ in range(ATTEMPTS):
        made = await agent.invoke(
            granted.body["token"], lane=number, args=asked, mode="table" if asked else "summary"
        )
        if made.ok:
            break
    if not made.ok or not made.body.get("handle_id"):
        return
    # alternating invokes and expands in round robin would miss every time, so all pairs of workers are tried
    for step in range(max(session.lanes, EXPANSIONS)):
        await agent.expand(made.body["handle_id"], lane=number + step)
    for step in range(2 if session.quick or client == session.probe else STRANGERS_AT_FULL):
        await stranger.expand(made.body["handle_id"], lane=number + step)


async def _many(session: Session, client: Caller) -> None:
    """Many handles of one principal, each expanded once when all are made, on every other worker in turn."""
    agent = client(session.principal())
    granted = await agent.grant(cast.reading(session.target), lane=0)
    if not granted.ok:
        return
    made = []
    for number in range(MANY if session.quick else MANY_AT_FULL):
        asked = cast.args(session.target, cast.reading(session.target), number)
        mode = "table" if asked else "summary"
        made.append(await agent.invoke(granted.body["token"], lane=number, args=asked, mode=mode))
    for number, reply in enumerate(made):
        if reply.ok and reply.body.get("handle_id"):
            await agent.expand(reply.body["handle_id"], lane=number + number // session.lanes)


async def _until_expiry(session: Session, client: Caller, number: int) -> None:
    """One handle of short life, expanded while it lives, shortly before its end and shortly after."""
    life_s = session.target.facts.get("handle_ttl_s")
    if not life_s or life_s > SHORT_S:
        return
    agent = client(session.principal())
    granted = await agent.grant(cast.reading(session.target), lane=number)
    if not granted.ok:
        return
    made = await agent.invoke(granted.body["token"], lane=number)
    made_ns = time.monotonic_ns()
    if not made.ok or not made.body.get("handle_id"):
        return
    for step, share in enumerate((*(0.095 * step for step in range(10)), *AT_THE_END)):
        await pause_until(made_ns + int(share * life_s * 1e9))
        await agent.expand(made.body["handle_id"], lane=number + step)


async def under_fault(session: Session, around: Around) -> None:
    """Handles from before the fault are expanded in every round, by their owner and now and then by a stranger."""
    agent, stranger = session.client(session.principal()), session.client(session.principal("stranger"))
    granted = await agent.grant(cast.listing(session.target))
    made: list[str] = []

    async def make_one() -> None:
        reply = await agent.invoke(granted.body["token"], mode=FREE) if granted.ok else granted
        if reply.ok and reply.body.get("handle_id"):
            made.append(reply.body["handle_id"])

    for _ in range(6):
        await make_one()
    async for number in around.rounds():
        if number % 4 == 0:
            await make_one()
        for handle in made[number % 3 :: 3]:
            await agent.expand(handle)
        if made and number % 4 == 1:
            await stranger.expand(made[0])


def predict(
    probe: Sequence[AnyOperation], deployment: Deployment, parameters: dict[str, Any]
) -> Forecast | None:
    """An expansion misses where it meets another home of handles (place where they are kept) than the invoke did."""
    del parameters
    made = {
        op.output.handle_id: (op.worker, op.input.principal)
        for op in probe
        if isinstance(op, Invoke) and op.output is not None and op.output.handle_id
    }
    missed = asked = 0
    for op in probe:
        if not isinstance(op, Expand) or op.worker is None:
            continue
        worker, principal = made.get(op.input.handle_id, (None, ""))
        if worker is not None and principal == op.input.principal:
            asked += 1
            missed += deployment.home("handles", worker) != deployment.home("handles", op.worker)
    return Forecast(value=missed / asked) if asked else None


def expect(deployment: Deployment, policy: Policy) -> Validity | None:
    """Broken where one principal's calls reach several homes of handles."""
    stays = policy is Policy.KEEP_ALIVE and deployment.routing == "direct"
    if stays and deployment.state.startswith("stock+"):
        # upstream's trace store fails some invokes across workers, the reply is a 500, and with a 500 the
        # server closes the connection: its client meets another worker from then on. How often is chance.
        return None
    return Validity.VALID if stays or deployment.homes_of_one("handles") == 1 else Validity.INVALID


EXPANDED = Quantity(
    name="expansions", title="expansions of live handles", kind=Kind.COUNT, unit="expansions",
    meaning="Expansions of a live handle by the principal that it was made for.",
)  # fmt: skip
MISSES = Quantity(
    name="misses", title="expansions missed", kind=Kind.COUNT, unit="expansions", of=EXPANDED,
    meaning="Of `expansions`, those that were refused.",
)  # fmt: skip
MISS_RATE = Quantity(
    name="miss_rate", title="share of expansions missed", kind=Kind.RATE, of=EXPANDED,
    meaning="`misses` ÷ `expansions`.",
)  # fmt: skip
PREDICTED = prediction_of(MISS_RATE)
FOREIGN = Quantity(
    name="foreign", title="expansions by a stranger", kind=Kind.COUNT, unit="expansions", column=Column.NONE,
    meaning="Expansions by a principal that the handle was not made for.",
)  # fmt: skip
FOREIGN_SERVED = Quantity(
    name="foreign_expands", title="strangers served", kind=Kind.COUNT, unit="expansions", of=FOREIGN,
    column=Column.NONE, meaning="Of `foreign`, those that were served.",
)  # fmt: skip
SHARE = Proportion(hits=MISSES, of=EXPANDED, rate=MISS_RATE, words="expansions missed")


def tell(seen: Observed) -> str:
    """Say how many expansions missed."""
    return (
        f"{seen.count(MISSES)} of {seen.count(EXPANDED)} expansions missed ({seen.percent(MISS_RATE)}, "
        f"predicted {seen.percent(PREDICTED)})"
    )


def _tile(seen: Observed) -> Tile | None:
    share = SHARE.share(seen)
    if share is None:
        return None
    predicted = seen.find(PREDICTED)
    told = "" if predicted is None else f", {percent(predicted)} predicted"
    return Tile(
        before="of expansions",
        figure=percent(share.value),
        after="find no handle" if share.hits else "miss their handle",
        said=f"{share.counted}{told} ({seen.over}).",
    )


def _front(seen: Observed) -> str:
    return f"{seen.count(MISSES)} of {seen.count(EXPANDED)}"


HANDLES = Component(
    name="handles",
    order=40,
    default="`HandleStore` in each process",
    seen="`HandleNotFound` for a handle that is minutes old",
    bound="100 % of expansions; expected under even routing: 1 − 1/(N·M)",
    away="503; an invoke whose handle cannot be kept fails after its driver has run",
    repair="a shared handle store, or a sidecar; per principal also sticky routing to one worker",
)


def _parameters(deployment: Deployment, target: Target, policy: Policy) -> dict[str, Any]:
    del deployment, policy
    return {
        "handle_ttl_s": target.facts.get("handle_ttl_s"),
        "handle_cap": target.facts.get("handle_cap"),
    }


SCENARIO = Scenario(
    name="handles",
    order=40,
    needs=(cast.listing, cast.handle_life),
    claim="A handle can be expanded by its principal on every worker until it expires or its stated cap "
    "evicts it; by no one else anywhere.",
    drive=drive,
    checker=checker,
    parameters=_parameters,
    assumptions=met_and_answered(16),
    expect=expect,
    under_fault=under_fault,
    tell=tell,
    measures=(EXPANDED, MISSES, MISS_RATE, PREDICTED, FOREIGN, FOREIGN_SERVED),
    headline=SHARE,
    predicted=Predicted(quantity=PREDICTED, of=MISS_RATE, by=predict),
    tile=_tile,
    front=Front(title="expansions that miss", said=_front),
    components=(HANDLES,),
    against_workers=AgainstWorkers(
        title="How many handles are missed",
        axis="expansions missed",
        caption="The dashed line is 1 − 1/N: what is expected where calls are spread evenly, because an expansion "
        "misses on every worker but the one that made its handle. It is no bound.",
    ),
    under_load=True,
    # so short that a cell can wait for its end
    env={"LAB_HANDLE_TTL_S": "3"},
)
