"""In every window at most the limit is granted, and no grant is denied while fewer could have counted."""

from __future__ import annotations

import time
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from kernel_lab.deployments.deployment import Deployment
from kernel_lab.faults.around import Around
from kernel_lab.judge.checkers import rate_limit as checker
from kernel_lab.judge.history import AnyOperation, Grant
from kernel_lab.judge.verdict import Assumptions, Validity
from kernel_lab.run import prediction
from kernel_lab.run.declaration import (
    AgainstWorkers,
    Component,
    Forecast,
    Front,
    Multiple,
    Predicted,
    Tile,
    prediction_of,
)
from kernel_lab.run.measures import Column, Kind, Observed, Quantity
from kernel_lab.run.scenario import Scenario, Session, Target, met_everywhere, pause_until
from kernel_lab.traffic.client import RecordingClient
from kernel_lab.traffic.connections import CONCURRENCY, Policy

from . import sample as cast

BURSTS_AT = (0.0, 0.7, 1.45)
"""The times at which the bursts begin, in windows. The first burst fills the limit."""
TRICKLE = (0.8, 1.2, 20)
"""The first and the last time of the single attempts, in windows, and their number. Only an attempt at the right
time shows that a window ends a little too early or too late."""

CROWDS = 3
"""Principals who ask over many connections at the same moment. A limiter that checks first and records later fails
here."""
MOST = 64
"""The largest number of grants in a crowd, even if the limit is larger."""

PROBES = 4
"""Probe grants after each attempt where the routing is not known beforehand."""


async def drive(session: Session) -> None:
    """Send three bursts by one principal, single attempts between them, two further principals, and crowds."""
    capability = cast.limited(session.target)
    window_s = float(session.parameters["window_s"])
    agent = session.principal("agent")
    workers = max(1, session.target.workers)
    # over fresh connections one worker of four may get one call in a hundred: enough calls to fill most
    fair = session.policy is Policy.ROUND_ROBIN
    sizes = (max(24, (12 if fair else 20) * workers), 8, max(12, (8 if fair else 14) * workers))
    callers = 1 if session.policy is Policy.KEEP_ALIVE else CONCURRENCY
    if session.policy is Policy.KEEP_ALIVE and session.deployment.routing == "direct":
        sizes = (24, 8, 12)  # one connection meets one worker: more attempts would tell nothing more
    clients = [session.client(agent) for _ in range(callers)]
    # the probe's clients are named in turn, so that a client's number tells which probe of an attempt it made
    probes = [[session.probe(agent) for _ in range(_probes(session))] for _ in clients]
    probe_capability = cast.reading(session.target)
    tokens: list[dict[str, Any]] = []

    async def caller(client: RecordingClient, followers: list[RecordingClient], lanes: Iterator[int]) -> None:
        for lane in lanes:
            granted = await client.grant(capability, lane=lane)
            if granted.ok:
                tokens.append(granted.body["token"])
            for follower in followers:
                await follower.grant(probe_capability, lane=lane)

    started_ns = time.monotonic_ns()

    async def until(at: float) -> None:
        await pause_until(started_ns + int(at * window_s * 1e9))

    async def burst(number: int) -> None:
        await until(BURSTS_AT[number])
        lanes = iter(range(sizes[number]))
        await session.together(
            [caller(client, followers, lanes) for client, followers in zip(clients, probes, strict=True)]
        )

    async def agenda() -> None:
        await burst(0)
        # only grants count: one token is invoked far more often than the limit, and uses nothing of the window
        for lane in range(3 * limit if tokens else 0):
            await clients[0].invoke(tokens[0], lane=lane)
        await burst(1)
        # each principal has its own window: another principal finds an empty one
        await session.client(session.principal("neighbour")).grant(capability, lane=0)
        begin, end, attempts = TRICKLE
        for number in range(attempts):
            await until(begin + (end - begin) * number / attempts)
            await caller(clients[0], probes[0], iter([number]))
        await burst(2)

    async def in_steps(role: str, steps: Sequence[tuple[float, int]]) -> None:
        """Let a new principal make attempts at the given times, one after the other."""
        member = session.principal(role)
        client = session.client(member)
        followers = [session.probe(member) for _ in range(_probes(session))]
        for number, (at, attempts) in enumerate(steps):
            await until(at)
            await caller(client, followers, iter(range(number, number + attempts)))

    limit = int(session.parameters["limit"])
    stepping, idle = steps_of(limit)
    # both ask less often than a crowd does, and the prediction counts them like the others
    await session.together([agenda(), in_steps("steps", stepping), in_steps("idle", idle)])
    for number in range((1 if session.quick else CROWDS) if callers > 1 else 0):
        await _crowd(session, number)


def steps_of(limit: int) -> tuple[list[tuple[float, int]], list[tuple[float, int]]]:
    """Return when two more principals ask, in windows, and how often.

    The first fills its limit little by little, so that its windows do not coincide with those of a limiter
    that counts from the first grant, or from the last one, or from full multiples of the window. The second
    fills it at once and is idle until shortly before the window's end. A limiter that has forgotten it by then admits
    its next attempt.
    """
    few = min(limit, MOST)
    return [(0.0, 1), (0.55, few - 1), (1.07, 2), (1.35, 1), (1.72, few)], [(0.0, few), (0.93, 1)]


def _probes(session: Session) -> int:
    """Return the number of probe grants after each attempt: none where they would use up the limit that is tested.

    A kernel without a WRITE capability is driven by a READ, which is the probe's capability too. The probe's
    grants would then take places in the same window, and the checker does not know of them.
    """
    if cast.reading(session.target) == cast.limited(session.target):
        return 0
    return int(session.parameters["probes"])


async def _crowd(session: Session, number: int) -> None:
    """Ask at once for as many grants as would fill every worker's window, for a new principal."""
    member = session.principal("crowd")
    size = min(MOST, int(session.parameters["limit"]) * max(2, session.target.workers))
    clients = [session.client(member) for _ in range(size)]
    probes = [[session.probe(member) for _ in range(_probes(session))] for _ in clients]

    async def ask(client: RecordingClient, followers: list[RecordingClient], lane: int) -> None:
        await client.grant(cast.limited(session.target), lane=lane)
        for follower in followers:
            await follower.grant(cast.reading(session.target), lane=lane)

    together = zip(clients, probes, strict=True)
    await session.together([ask(*one, lane) for lane, one in enumerate(together, number)])


async def under_fault(session: Session, around: Around) -> None:
    """Use up the limit before the fault. Later attempts must be denied until the window has passed.

    In every eighth round a new principal asks, who has the whole limit left.
    """
    agent, capability = session.client(session.principal()), cast.limited(session.target)
    for _ in range(int(session.parameters["limit"]) + 1):
        await agent.grant(capability)
    async for number in around.rounds():
        await agent.grant(capability)
        if number % 8 == 0:
            await session.client(session.principal("neighbour")).grant(capability)


def predict(
    probe: Sequence[AnyOperation], deployment: Deployment, parameters: dict[str, Any]
) -> Forecast | None:
    """The number of grants that windows, kept where the deployment keeps them, would admit on the probe's routing.

    After each attempt the probe makes `probes` calls. The first calls of all attempts form one sequence, the second
    calls another, and so on. Each sequence is taken for the attempts, and a window log counts how many it would admit.
    The prediction is the mean over the sequences, plus the one grant of the neighbour. Each principal has its own
    windows, so each is counted by itself.
    """
    if deployment.races:
        return None
    columns: dict[tuple[int, str], list[tuple[int, str]]] = defaultdict(list)
    for op in probe:
        if isinstance(op, Grant) and op.worker is not None:
            column = int(op.client.removeprefix("c")) % int(parameters["probes"])
            columns[column, op.input.principal].append((op.call_ns, deployment.home("limiter", op.worker)))
    if not columns:
        return None
    limit = max(1, int(parameters["limit"]) // int(deployment.env.get("LAB_SPLIT_LIMIT", "1")))
    counts = [
        prediction.admitted(routing, limit=limit, window_s=float(parameters["window_s"]))
        for routing in columns.values()
    ]
    return Forecast(value=round(sum(counts) / int(parameters["probes"]) + 1, 1))


def expect(deployment: Deployment, policy: Policy) -> Validity | None:
    """Broken where one principal's attempts reach several windows, or where each window has a part of the limit."""
    if deployment.races and policy is Policy.FRESH:
        # opening a connection takes longer than the check and the record, so two attempts seldom overlap there
        return None
    split = "LAB_SPLIT_LIMIT" in deployment.env
    if policy is Policy.KEEP_ALIVE and deployment.routing == "direct":
        # only one worker is met, and its own window is exact, unless it has only a part of the limit
        return Validity.INVALID if split else Validity.VALID
    if split:
        # the parts add up only behind a fair balancer. A worker that a crowd asks twice before another worker is
        # asked at all denies too early; with round robin this is random
        return None if policy is Policy.ROUND_ROBIN else Validity.INVALID
    return Validity.VALID if deployment.homes_of_one("limiter") == 1 else Validity.INVALID


LIMIT = Quantity(
    name="limit", title="limit", kind=Kind.SETTING, unit="grants",
    meaning="Grants that one principal may have of one capability in any window.",
)  # fmt: skip
WINDOW_S = Quantity(
    name="window_s", title="window", kind=Kind.SETTING, unit="s", meaning="Length of the window, in seconds."
)  # fmt: skip
ATTEMPTS = Quantity(
    name="attempts", title="grants asked for", kind=Kind.COUNT, unit="grants",
    meaning="Grants asked for in the whole cell, over all principals and windows.",
)  # fmt: skip
ADMITTED = Quantity(
    name="admitted", title="grants admitted", kind=Kind.COUNT, unit="grants", of=ATTEMPTS,
    meaning="Of `attempts`, the grants that were admitted. A cell is longer than one window, so this exceeds "
    "the limit in a correct deployment too.",
)  # fmt: skip
CERTAIN_MAX = Quantity(
    name="certain_max", title="grants in one window, at least", kind=Kind.COUNT, unit="grants",
    meaning="The most grants of one principal that certainly lie in one window, at whatever instant of its "
    "call each took effect.",
)  # fmt: skip
POSSIBLE_MAX = Quantity(
    name="possible_max", title="grants in one window, at most", kind=Kind.COUNT, unit="grants",
    meaning="The most grants of one principal that possibly lie in one window.",
)  # fmt: skip
FACTOR = Quantity(
    name="factor", title="times the limit", kind=Kind.MULTIPLE,
    meaning="`certain_max` ÷ `limit`: 1 is correct, N is the worst that N windows can do.",
)  # fmt: skip
PREDICTED = prediction_of(
    ADMITTED,
    meaning="What windows that are kept where the deployment says would have admitted of the probe's "
    "routing.",
)
WRONGFUL_DENIALS = Quantity(
    name="wrongful_denials", title="grants denied below the limit", kind=Kind.COUNT, unit="grants",
    of=ATTEMPTS,
    meaning="Grants that were denied while fewer than `limit` can have counted.",
)  # fmt: skip
INVOKES_PER_GRANT = Quantity(
    name="invokes_per_grant_max", title="invokes of one grant", kind=Kind.COUNT, unit="invokes",
    meaning="The most invokes of one grant: grants are limited, and invokes are not.",
    column=Column.NONE,
)  # fmt: skip
LIMITER = Quantity(
    name="kind", title="kind of limiter", kind=Kind.SETTING, column=Column.AFTER, always=False,
    meaning="The kind of limiter that the cell was judged by, where it is not a window log.",
)  # fmt: skip
WITHIN_ANY_MAX = Quantity(
    name="within_any_max", title="grants in any window that the limiter allows", kind=Kind.SETTING,
    unit="grants", column=Column.AFTER, always=False,
    meaning="The most grants that a correct limiter of this kind admits in any window of `window_s` seconds.",
)  # fmt: skip


def tell(seen: Observed) -> str:
    """Say how many grants were admitted in one window, how many in all, and how many were predicted."""
    said = (
        f"{seen.count(CERTAIN_MAX)} grants in one window where {seen.count(LIMIT)} are allowed "
        f"(× {seen.number(FACTOR):.1f}); {seen.count(ADMITTED)} of {seen.count(ATTEMPTS)} admitted in all "
        "windows"
    )
    predicted = seen.find(PREDICTED)
    if predicted is not None:
        said += f", {predicted:g} predicted"
    wrong = seen.find(WRONGFUL_DENIALS)
    return said + (f"; {wrong:g} denied although the limit was not reached" if wrong else "")


def _tile(seen: Observed) -> Tile:
    said = (
        f"{seen.count(CERTAIN_MAX)} grants in one window of {seen.number(WINDOW_S):g} s, where "
        f"{seen.count(LIMIT)} are allowed"
    )
    predicted = seen.find(PREDICTED)
    if predicted is not None:
        said += f". In all windows {seen.count(ADMITTED)} of {seen.count(ATTEMPTS)} attempts, "
        said += f"{predicted:g} predicted"
    return Tile(
        before="the worst window admits",
        figure=f"× {seen.number(FACTOR):.1f}",
        after="the limit",
        said=f"{said} ({seen.over}).",
    )


def _front(seen: Observed) -> str:
    return f"{seen.count(CERTAIN_MAX)} where {seen.count(LIMIT)} are allowed (× {seen.number(FACTOR):.1f})"


def _one_window(history: Sequence[AnyOperation], parameters: Mapping[str, Any]) -> float:
    """Return the number of the cell's attempts that a single correct limiter would have admitted."""
    attempts: dict[tuple[str, str], list[tuple[int, str]]] = defaultdict(list)
    for op in history:
        if isinstance(op, Grant):
            attempts[op.input.principal, op.input.capability].append((op.call_ns, ""))
    limit, window_s = int(parameters["limit"]), float(parameters["window_s"])
    return sum(prediction.admitted(routing, limit=limit, window_s=window_s) for routing in attempts.values())


WINDOWS = Component(
    name="rate windows",
    order=20,
    default="`RateLimiter` in each process, counted when a token is granted",
    seen="up to N·M times the limit; the worker that it meets decides whether a grant is denied",
    bound="× N·M: the sum over workers of min(L, attempts that met it)",
    away="503: nothing is granted",
    repair="one atomic acquire in a shared store, or a sidecar; per principal also sticky routing; "
    "as a ceiling only, L divided by the workers",
)


def _parameters(deployment: Deployment, target: Target, policy: Policy) -> dict[str, Any]:
    del deployment
    limit, window_s = target.rate_limit(cast.limited(target))
    known = target.direct and policy is not Policy.FRESH
    return {
        "limit": limit,
        "window_s": window_s,
        "probes": 1 if known else PROBES,
        "capability": cast.limited(target),
    }


def _assumptions(deployment: Deployment, policy: Policy) -> Assumptions:
    return Assumptions(
        min_workers=met_everywhere(deployment, policy),
        min_operations=24,
        min_overlap=None if policy is Policy.KEEP_ALIVE else 2,
    )


SCENARIO = Scenario(
    name="rate_limit",
    order=20,
    needs=(cast.limited,),
    claim="In every window of W seconds no more than L grants per principal and capability are admitted, "
    "and none is denied while fewer than L could have counted.",
    drive=drive,
    checker=checker,
    parameters=_parameters,
    assumptions=_assumptions,
    expect=expect,
    under_fault=under_fault,
    tell=tell,
    measures=(
        LIMIT, WINDOW_S, ATTEMPTS, ADMITTED, CERTAIN_MAX, POSSIBLE_MAX, FACTOR, PREDICTED, WRONGFUL_DENIALS,
        INVOKES_PER_GRANT, LIMITER, WITHIN_ANY_MAX,
    ),
    headline=Multiple(
        factor=FACTOR, counted=ADMITTED, tried=ATTEMPTS, denied=WRONGFUL_DENIALS,
        words="grants in one window, as a multiple of the limit",
    ),
    predicted=Predicted(quantity=PREDICTED, of=ADMITTED, by=predict),
    tile=_tile,
    front=Front(title="grants admitted in one window", said=_front),
    components=(WINDOWS,),
    against_workers=AgainstWorkers(
        title="How the limit multiplies",
        axis="grants admitted in the whole cell, ÷ what one limiter admits",
        caption="Counted over the whole cell, in which not every window was filled; the tile above counts the worst "
        "window alone. One window is a correct limiter, applied to the same attempts. The dashed line is × N: each "
        "worker keeps a window of its own and fills it. Over one kept connection a client meets one worker, "
        "and the limit appears to hold.",
        alone=_one_window,
        picture="multiplication",
    ),
    under_load=True,
)  # fmt: skip
