"""The numbers a worker reports are the deployment's."""

from __future__ import annotations

from typing import Any

from kernel_lab.deployments.deployment import Deployment
from kernel_lab.judge.checkers import stats as checker
from kernel_lab.judge.verdict import Validity
from kernel_lab.run.declaration import Component, Proportion
from kernel_lab.run.measures import Kind, Observed, Quantity
from kernel_lab.run.scenario import Scenario, Session, Target, met_and_answered
from kernel_lab.traffic.connections import Policy

from . import sample as cast

TRIALS = 32
"""The number of trials at which a loss of one in ten stays hidden in 3 % of the runs."""
TRIALS_AT_FULL = 160
"""The number of trials at which a loss of one in fifty stays hidden in 4 % of the runs."""


async def drive(session: Session) -> None:
    """Send traffic to every worker in turn, on a deployment that nobody has used, and read every worker's numbers.

    A worker is asked after each step too, so that few operations prove what went wrong between two reports.
    """
    reader = session.client(session.principal("reader"))
    trials = TRIALS if session.quick else TRIALS_AT_FULL
    for number in range(max(trials, 2 * session.lanes)):
        agent = session.client(session.principal())
        granted = await agent.grant(cast.reading(session.target), lane=number)
        if granted.ok:
            # handle_only costs no budget: the pool on the same stack stays whole
            made = await agent.invoke(granted.body["token"], lane=number, mode="handle_only")
            if made.ok:
                await agent.expand(made.body["handle_id"], lane=number)
        await reader.stats(lane=number + 1)
    for step in range(2 * max(session.lanes, 4)):
        await reader.stats(lane=step)


def expect(deployment: Deployment, policy: Policy) -> Validity:
    """Broken where there are several counters."""
    del policy
    return Validity.VALID if deployment.homes("stats") == 1 else Validity.INVALID


REPORTS = Quantity(
    name="reports", title="reports read", kind=Kind.COUNT, unit="reports",
    meaning="Reports of a worker that were read.",
)  # fmt: skip
UNDERCOUNTS = Quantity(
    name="undercounts", title="reports that told too little", kind=Kind.COUNT, unit="reports", of=REPORTS,
    meaning="Of `reports`, those that told less than had certainly happened.",
)  # fmt: skip
GRANTS_MIN = Quantity(
    name="grants_reported_min", title="fewest grants reported", kind=Kind.COUNT, unit="grants", always=False,
    meaning="The smallest number of grants that a report told.",
)  # fmt: skip
GRANTS_MAX = Quantity(
    name="grants_reported_max", title="most grants reported", kind=Kind.COUNT, unit="grants", always=False,
    meaning="The largest number of grants that a report told.",
)  # fmt: skip
GRANTS_CERTAIN = Quantity(
    name="grants_certain", title="grants that certainly happened", kind=Kind.COUNT, unit="grants",
    always=False,
    meaning="How many grants there certainly had been when the last report was read.",
)  # fmt: skip


def tell(seen: Observed) -> str:
    """Say how many reports fell short of the deployment's numbers."""
    return (
        f"{seen.count(UNDERCOUNTS)} of {seen.count(REPORTS)} reports told less than the deployment had done"
    )


STATS = Component(
    name="stats",
    order=80,
    default="`Kernel._stats` in each process",
    seen="the counters of the worker that answers",
    bound="a report may lack everything that other workers did; expected under even routing: 1 − 1/(N·M)",
    away="in no store",
    repair="sum them over the workers; or one kernel process (`sidecar`; over hosts `remote`); no store holds them",
)


def _parameters(deployment: Deployment, target: Target, policy: Policy) -> dict[str, Any]:
    del deployment, target, policy
    # the stack is fresh: whatever it counts, this cell did
    return {"baseline": {"grants": 0, "invocations": 0, "expansions": 0}}


SCENARIO = Scenario(
    name="stats",
    order=70,
    needs=(cast.reading,),
    claim="The numbers a worker reports are the deployment's.",
    drive=drive,
    checker=checker,
    parameters=_parameters,
    assumptions=met_and_answered(),
    expect=expect,
    tell=tell,
    measures=(REPORTS, UNDERCOUNTS, GRANTS_MIN, GRANTS_MAX, GRANTS_CERTAIN),
    headline=Proportion(hits=UNDERCOUNTS, of=REPORTS, words="reports that told too little"),
    components=(STATS,),
    own_stack=True,
)
