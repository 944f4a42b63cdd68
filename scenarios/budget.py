"""Once ok invokes that had returned cost the budget, no further one is served."""

from __future__ import annotations

import itertools
from typing import Any

from kernel_lab.deployments.deployment import Deployment
from kernel_lab.faults.around import Around
from kernel_lab.judge.checkers import budget as checker
from kernel_lab.judge.verdict import Assumptions, Validity
from kernel_lab.run.declaration import Component, Multiple
from kernel_lab.run.measures import Column, Kind, Observed, Quantity
from kernel_lab.run.scenario import Scenario, Session, Target, met_everywhere
from kernel_lab.traffic.connections import Policy

from . import sample as cast

TOTAL = 4_880
REQUEST = 600
"""Tokens of the pool, and reserved per invoke."""
DEAR_EVERY = 7
"""Among so many invokes one is of a listing, which costs a third of the pool: six of those can prove an
overspend, and the cheap ones between them are so many that a forgotten charge shows."""
CROWD_AT, AT_ONCE = 2 * DEAR_EVERY, 10
"""After how many invokes many ask for the dear capability at once, and how many.

Of one pool, between 25 % and 32 % is left by then: less than the dear one costs. So it is used up, and together they
reserve more than is left. Once less than 25 % is left, upstream answers with a summary, and below 5 % with a
handle, which costs nothing: a right pool would never be used up, and nobody would see whether it then refuses.
"""
ALONE, FREE, FREE_AT_FULL = 8, 16, 160
"""Invokes of one client before the others begin: those that cost, and those that cost nothing, at quick and at full.

At full, a budget that denies one invoke in fifty cannot hide (4 %).
"""
INVOKES = 40
"""Of one pool: enough to use it up."""
PRINCIPALS = 4
KEPT_PRINCIPALS = 12
"""Over kept connections, where each stays with the worker it met: so many that they hardly all meet one."""


async def drive(session: Session) -> None:
    """Several principals spend one pool, side by side, until every worker's own would be empty."""
    spending = itertools.count()
    invokes = INVOKES * max(2, session.target.workers)

    async def spend() -> None:
        agent = session.client(session.principal())
        cheap = await agent.grant(cast.reading(session.target), lane=0)
        dear = await agent.grant(cast.listing(session.target), lane=0)
        if not cheap.ok or not dear.ok:
            return
        while (number := next(spending)) < invokes:
            if number == CROWD_AT:
                crowd = [session.client(agent.principal) for _ in range(AT_ONCE)]
                await session.together(
                    [one.invoke(dear.body["token"], lane=at, mode="table") for at, one in enumerate(crowd)]
                )
            granted = dear if number % DEAR_EVERY == DEAR_EVERY // 2 else cheap
            await agent.invoke(granted.body["token"], lane=number, mode="table")
            if number % 4 == 0:
                await agent.budget(lane=number // 4)

    # one after the other, before anybody else has reserved anything: a refusal here has no excuse
    alone = session.client(session.principal())
    granted = await alone.grant(cast.reading(session.target), lane=0)
    free = FREE if session.quick else FREE_AT_FULL
    for number in range(ALONE + free if granted.ok else 0):
        mode = "table" if number < ALONE else "handle_only"
        await alone.invoke(granted.body["token"], lane=number, mode=mode)
    # nothing is under way: what is told now is what they cost
    for lane in range(2):
        await alone.budget(lane=lane)
    kept = session.policy is Policy.KEEP_ALIVE
    await session.together([spend() for _ in range(KEPT_PRINCIPALS if kept else PRINCIPALS)])
    reader = session.client(session.principal("reader"))
    for lane in range(max(session.lanes, 2)):
        await reader.budget(lane=lane)


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
    """How much was spent of how much."""
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
    assumptions=lambda deployment, policy: Assumptions(
        min_workers=met_everywhere(deployment, policy), min_operations=16
    ),
    expect=expect,
    under_fault=under_fault,
    tell=tell,
    measures=(POOL, SPENT, FACTOR, REFUSED, USED_MAX, SERVED, OVERSPENDS, FALSE_DENIALS),
    headline=Multiple(factor=FACTOR, words="tokens spent, as a multiple of the budget"),
    components=(BUDGET,),
    own_stack=True,
    env={"LAB_BUDGET_TOTAL": str(TOTAL), "LAB_BUDGET_REQUEST": str(REQUEST)},
)
