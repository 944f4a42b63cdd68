"""Once completed invokes have spent the budget, further invokes are refused."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any

from kernel_lab.deployments.deployment import Deployment
from kernel_lab.faults.around import Around
from kernel_lab.judge.checkers import budget as checker
from kernel_lab.judge.verdict import Validity
from kernel_lab.run.declaration import Component, Multiple
from kernel_lab.run.measures import Column, Kind, Observed, Quantity
from kernel_lab.run.scenario import Scenario, Session, Target, met_and_answered
from kernel_lab.traffic.call import Reply
from kernel_lab.traffic.client import RecordingClient
from kernel_lab.traffic.connections import Policy

from . import sample as cast

TOTAL = 6_800
REQUEST = 600
"""Tokens of the pool, and reserved per invoke. A cheap invoke costs 29 of them, a dear one 1,492."""
DEAR_EVERY = 7
"""One in `DEAR_EVERY` invokes asks for a listing, which is dear: a handful of those can prove an overspend."""
ALONE_AT_FULL, ALONE, ALONE_DEAR = 171, 68, 2
"""Invokes of one client before the others begin: at full all cheap; at quick fewer, and dear ones that make up for it.

While nothing else is under way a use is known to the token. Of a fault that strikes one invoke in fifty, 171 of them
show nothing in 3 runs of 100.
"""
READ_EVERY = 4
"""The use is read after each `READ_EVERY` of these invokes, so that a wrong charge stands between two reads."""
FEW, AT_ONCE = 14, 10
"""The number of cheap invokes that several principals make at the same time, and of expensive ones that follow at once.

Of one pool 1,435 tokens are left by then: more than 20 % of it, and less than an expensive invoke costs. So the first
of these invokes uses the pool up, and together they reserve more than is left. Once 20 % or less is left, upstream
answers with a summary, and below 5 % with a handle, which costs nothing. With such answers a right pool would never be
used up, and the cell would not show whether it then refuses.
"""
INVOKES = 40
"""The number of invokes against one pool: enough to use it up."""
PRINCIPALS = 4
KEPT_PRINCIPALS = 12
"""Over kept connections each principal stays with the worker that it met. With this many, it is unlikely that all
meet the same worker.
"""


async def drive(session: Session) -> None:
    """One client spends alone; several side by side; many at once; and several until every pool would be empty."""
    alone = await _buyer(session)
    for number in range(ALONE + ALONE_DEAR if session.quick else ALONE_AT_FULL):
        await alone.spend(number, dear=session.quick and number >= ALONE)
        if number % READ_EVERY == READ_EVERY - 1:
            await alone.client.budget(lane=number // READ_EVERY)
    # nothing is under way: what is told now is what they cost
    for lane in range(2):
        await alone.client.budget(lane=lane)
    kept = session.policy is Policy.KEEP_ALIVE
    buyers = [await _buyer(session) for _ in range(KEPT_PRINCIPALS if kept else PRINCIPALS)]
    few = iter(range(FEW))
    await session.together([_spend(buyer, few, dear_every=0) for buyer in buyers])
    await alone.client.budget(lane=0)
    crowd = [buyers[0].beside(session) for _ in range(AT_ONCE)]
    await session.together([one.spend(at, dear=True) for at, one in enumerate(crowd)])
    rest = iter(range(INVOKES * max(2, session.target.workers)))
    await session.together([_spend(buyer, rest, dear_every=DEAR_EVERY) for buyer in buyers])
    reader = session.client(session.principal("reader"))
    for lane in range(max(session.lanes, 2)):
        await reader.budget(lane=lane)


async def _spend(buyer: Buyer, numbers: Iterator[int], *, dear_every: int) -> None:
    """Invoke with the next number until no number is left, and read the use after every fourth number."""
    for number in numbers:
        await buyer.spend(number, dear=dear_every > 0 and number % dear_every == dear_every // 2)
        if number % 4 == 0:
            await buyer.client.budget(lane=number // 4)


@dataclass(frozen=True, slots=True, kw_only=True)
class Buyer:
    """A client with a token for the cheap capability and one for the dear one."""

    client: RecordingClient
    cheap: Reply
    dear: Reply

    async def spend(self, number: int, *, dear: bool) -> None:
        """Invoke once, through the worker of a number; nothing where the grant was refused."""
        granted = self.dear if dear else self.cheap
        if granted.ok:
            await self.client.invoke(granted.body["token"], lane=number, mode="table")

    def beside(self, session: Session) -> Buyer:
        """Another client of the same principal, with the same tokens."""
        return replace(self, client=session.client(self.client.principal))


async def _buyer(session: Session) -> Buyer:
    client = session.client(session.principal())
    cheap = await client.grant(cast.reading(session.target), lane=0)
    return Buyer(client=client, cheap=cheap, dear=await client.grant(cast.listing(session.target), lane=0))


async def under_fault(session: Session, around: Around) -> None:
    """Invokes are charged before the fault and in every round, and the use is read."""
    agent = session.client(session.principal())
    granted = await agent.grant(cast.reading(session.target))
    async for number in around.rounds():
        if granted.ok:
            await agent.invoke(granted.body["token"], mode="table")
        if number % 2:
            await agent.budget()


def expect(deployment: Deployment, policy: Policy) -> Validity:
    """Broken where there are several pools: it is one budget for all principals."""
    del policy
    return Validity.VALID if deployment.homes("budget") == 1 else Validity.INVALID


POOL = Quantity(
    name="total", title="budget", kind=Kind.SETTING, unit="tokens",
    meaning="The pool, in tokens of the model."
)  # fmt: skip
SPENT = Quantity(
    name="spent", title="spent", kind=Kind.COUNT, unit="tokens", of=POOL,
    meaning="What the invokes that returned ok have cost.",
)  # fmt: skip
FACTOR = Quantity(
    name="factor", title="times the budget", kind=Kind.MULTIPLE,
    meaning="`spent` ÷ `total`. Slightly above 1 is the overshoot of one process.",
)  # fmt: skip
SERVED = Quantity(
    name="served", title="invokes served", kind=Kind.COUNT, unit="invokes", column=Column.NONE,
    meaning="Invokes that returned ok.",
)  # fmt: skip
REFUSED = Quantity(
    name="refused", title="invokes refused", kind=Kind.COUNT, unit="invokes",
    meaning="Invokes that were refused because the budget was exhausted.",
)  # fmt: skip
OVERSPENDS = Quantity(
    name="overspends", title="invokes called after the budget was spent", kind=Kind.COUNT, unit="invokes",
    of=SERVED, column=Column.NONE,
    meaning="Of `served`, the invokes that were called after others had returned that cost the whole budget.",
)  # fmt: skip
USED_MAX = Quantity(
    name="used_max", title="largest use reported", kind=Kind.COUNT, unit="tokens", of=POOL,
    meaning="The largest use that any worker reported.",
)  # fmt: skip
FALSE_DENIALS = Quantity(
    name="false_denials", title="invokes refused too early", kind=Kind.COUNT, unit="invokes", of=REFUSED,
    column=Column.NONE,
    meaning="Of `refused`, the invokes that were refused although the budget cannot have been gone.",
)  # fmt: skip


def tell(seen: Observed) -> str:
    """Say how much was spent of how much."""
    return f"{seen.count(SPENT)} tokens spent of a budget of {seen.count(POOL)} (× {seen.number(FACTOR):.1f})"


BUDGET = Component(
    name="budget",
    order=60,
    default="`BudgetManager` in each process, one pool for all principals",
    seen="each worker spends a pool of its own, and a new one after a restart",
    bound="× N·M, and once more at each restart",
    away="503: nothing is invoked",
    repair="a shared pool with reservations, or a sidecar",
)


def _parameters(deployment: Deployment, target: Target, policy: Policy) -> dict[str, Any]:
    del deployment, policy
    return {"total": target.facts.get("budget_total"), "request": REQUEST}


SCENARIO = Scenario(
    name="budget",
    order=80,
    needs=(cast.reading, cast.budget_total),
    claim="No invoke is called once ok invokes that had returned cost the budget or more; the use never goes "
    "backward.",
    drive=drive,
    checker=checker,
    parameters=_parameters,
    assumptions=met_and_answered(16),
    expect=expect,
    under_fault=under_fault,
    tell=tell,
    measures=(POOL, SPENT, FACTOR, REFUSED, USED_MAX, SERVED, OVERSPENDS, FALSE_DENIALS),
    headline=Multiple(factor=FACTOR, words="tokens spent, as a multiple of the budget"),
    components=(BUDGET,),
    own_stack=True,
    env={"LAB_BUDGET_TOTAL": str(TOTAL), "LAB_BUDGET_REQUEST": str(REQUEST)},
)
