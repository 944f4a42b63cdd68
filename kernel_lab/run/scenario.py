"""A scenario: a claim, the traffic that tests it, and the expected verdict."""

from __future__ import annotations

import asyncio
import itertools
import random
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

from kernel_lab.deployments.deployment import Deployment
from kernel_lab.deployments.live import Live
from kernel_lab.faults.around import Around
from kernel_lab.faults.fault import Fault, Landing, disturb
from kernel_lab.judge.checkers import Checker
from kernel_lab.judge.history import AnyOperation
from kernel_lab.judge.verdict import Assumptions, Measure, Validity
from kernel_lab.run.declaration import (
    AgainstWorkers,
    Component,
    Front,
    Headline,
    Lag,
    OverTime,
    Predicted,
    Tile,
)
from kernel_lab.run.measures import Column, NotObserved, Observed, Quantity
from kernel_lab.run.promises import Promises
from kernel_lab.traffic.address import Address
from kernel_lab.traffic.client import Principal, Recorder, RecordingClient
from kernel_lab.traffic.connections import Connections, Policy
from kernel_lab.traffic.journal import Journal


class NotTold(LookupError):  # noqa: N818 - it names a thing
    """A fact that a claim needs is not known: neither the workers nor the promises file state it.

    The message says where to state it.
    """


@dataclass(frozen=True, slots=True, kw_only=True)
class Target:
    """A live deployment, with the facts that its workers reported and the promises that were made for it."""

    live: Live
    facts: dict[str, Any]
    """The values in force: those of the promises file, and where it has none, the reply to ``GET /worker``."""
    capabilities: dict[str, dict[str, Any]]
    promises: Promises = field(default_factory=Promises)
    journal: Journal = field(default_factory=Journal)
    """Every call that any cell makes to this deployment."""
    reached: Address | None = None
    """The way in which clients reach it, where a URL alone does not say it."""

    @property
    def address(self) -> Address:
        """The address that clients call."""
        return self.reached or Address(urls=(self.live.base_url,))

    @property
    def direct(self) -> bool:
        """Whether clients reach the workers' own socket, with no balancer in front."""
        return self.live.deployment.routing == "direct"

    @property
    def workers(self) -> int:
        """The number of all workers that answer."""
        return self.live.expected_workers

    def rate_limit(self, capability: str) -> tuple[int, float]:
        """The deployment's limit and window for a capability: ``(grants, seconds)``."""
        limits = self.facts.get("rate_limits") or {}
        safety_class = self.capabilities[capability]["safety_class"]
        limit = limits.get(capability) or limits.get(safety_class)
        if not limit:
            raise NotTold(
                f"the kernel does not tell its limit on {safety_class}: give [limits.{safety_class}] in a promises "
                "file"
            )
        return int(limit["limit"]), float(limit["window_s"])

    def told(self, fact: str) -> Any:
        """Return a fact that the claim needs in order to be judged.

        Raises:
            NotTold: Neither the workers nor the promises file state it.
        """
        if (value := self.facts.get(fact)) is None:
            raise NotTold(f"the kernel does not tell its {fact}: give in_force.{fact} in a promises file")
        return value


@dataclass(slots=True, kw_only=True)
class Session:
    """One cell of one live deployment, with the clients that a scenario drives.

    Every call goes into the cell's history, except the calls of `probe`. The probe's calls are of the same kind, and
    are made between the scenario's own calls. Only their routing is used, to predict the measurement.
    """

    deployment: Deployment
    target: Target
    connections: Connections
    main: Recorder
    shadow: Recorder
    parameters: dict[str, Any]
    seed: int
    quick: bool
    names: Iterator[str] | None = None
    """Names that its principals take first, where a principal's name decides which replica answers it."""
    rng: random.Random = field(init=False)
    _numbers: Iterator[int] = field(default_factory=itertools.count)
    _tag: str = ""

    def __post_init__(self) -> None:
        """Seed the random numbers. The tag keeps the principals of two cells apart."""
        self.rng = random.Random(self.seed)
        self._tag = f"{self.seed:x}-{time.time_ns() & 0xFFFFFFFF:x}"

    @property
    def policy(self) -> Policy:
        """The cell's connection policy."""
        return self.connections.policy

    @property
    def lanes(self) -> int:
        """The number of workers that the caller can choose from; 1 where the connection policy cannot choose."""
        return max(1, self.connections.lanes)

    def principal(self, role: str = "p", *, roles: tuple[str, ...] = ("reader", "writer")) -> Principal:
        """Return a new principal that this run uses nowhere else.

        The promises file may give its roles and headers.
        """
        admin = "admin" in roles
        said = self.target.promises.admin if admin else self.target.promises.caller
        name = next(self.names, "") if self.names is not None else ""
        return Principal(
            name=name or f"{role}{next(self._numbers)}-{self._tag}",
            roles=said.roles or roles,
            tenant=said.tenant or self.target.promises.caller.tenant or "acme",
            extra=dict(said.headers or self.target.promises.caller.headers),
        )

    def client(self, principal: Principal, connections: Connections | None = None) -> RecordingClient:
        """Return a client that records into the cell's history.

        It uses the cell's connections unless others are given.
        """
        return self._client(self.main, principal, connections)

    def probe(self, principal: Principal) -> RecordingClient:
        """Return a client that records into the probe's history."""
        return self._client(self.shadow, principal, None)

    def _client(
        self, recorder: Recorder, principal: Principal, connections: Connections | None
    ) -> RecordingClient:
        return RecordingClient(
            recorder, connections or self.connections, principal, arguments=self.target.promises.arguments
        )

    @asynccontextmanager
    async def disturbed(self, fault: Fault, aim: str | None = None) -> AsyncIterator[Landing | None]:
        """Keep a fault in force until the block ends, and record it in the history.

        Yields None, and records nothing, if the deployment cannot have this fault.
        """
        if fault.inapplicable(self.target.live):
            yield None
            return
        async with disturb(fault, self.target.live, self.main, aim=aim) as landing:
            yield landing

    async def together(self, jobs: Sequence[Awaitable[object]]) -> None:
        """Run jobs at the same time. The first error ends the other jobs."""
        async with asyncio.TaskGroup() as group:
            for job in jobs:
                group.create_task(_await(job))


async def _await(job: Awaitable[object]) -> None:
    await job


Caller = Callable[[Principal], RecordingClient]
"""A function that makes the client of a principal: `Session.client` or `Session.probe`."""


def in_columns(
    session: Session,
    trial: Callable[[Session, Caller, int], Awaitable[None]],
    trials: int,
    *,
    columns: int = 4,
    probes: int = 2,
) -> list[Awaitable[None]]:
    """Return jobs that make the trials at the same time: trial `number` belongs to column ``number % columns``.

    The cell's client makes each trial, and then the probe makes it `probes` times. With ``probes=2`` the routing of the
    probe is known better than that of the measurement.
    """

    async def column(first: int) -> None:
        for number in range(first, trials, columns):
            for caller in (session.client, *[session.probe] * probes):
                await trial(session, caller, number)

    return [column(first) for first in range(columns)]


async def pause_until(instant_ns: int) -> None:
    """Sleep until an instant of the monotonic clock, in nanoseconds. Return at once if that instant has passed."""
    await asyncio.sleep(max(0, instant_ns - time.monotonic_ns()) / 1e9)


def life_left_s(token: Mapping[str, Any]) -> float:
    """Return the number of seconds from now until a token expires, as the token itself says."""
    return (datetime.fromisoformat(token["expires_at"]) - datetime.now(tz=UTC)).total_seconds()


Expect = Callable[[Deployment, Policy], Validity | None]


@dataclass(frozen=True, slots=True, kw_only=True)
class Scenario:
    """A claim, with the traffic that tests it, the checker that judges it, and all words and figures about it.

    A package adds a claim by naming one of these in the entry-point group ``kernel_lab.scenarios``. Nothing
    else has to be changed: the CSVs, the page, the docs and the load tables read this declaration.
    """

    name: str
    claim: str
    """The guarantee, in one sentence."""
    drive: Callable[[Session], Awaitable[None]]
    checker: Checker
    """A module or an object with ``CLAIM``, ``JUDGES``, ``lacks`` and ``check``. ``check`` gets the history and the
    cell with its parameters, and returns a verdict, without a clock and without a server."""
    parameters: Callable[[Deployment, Target, Policy], dict[str, Any]]
    """A function that returns the parameters of the checker. ``cell.json`` keeps them."""
    assumptions: Callable[[Deployment, Policy], Assumptions]
    expect: Expect
    """The expected verdict on this deployment; any other verdict makes ``run`` exit with 1. None if the outcome is
    random."""
    measures: tuple[Quantity, ...]
    """Every number that the checker returns and that the probe predicts, in the order of the CSV."""
    tell: Callable[[Observed], str]
    """The finding of one cell in one line. It may raise `NotObserved`."""
    headline: Headline | None = None
    """The one figure that readers quote."""
    lag: Lag | None = None
    """The time that a change took to reach every worker, where the claim is about a change."""
    predicted: Predicted | None = None
    tile: Callable[[Observed], Tile | None] | None = None
    """A function that returns the claim's figure for the first screen of the page."""
    front: Front | None = None
    """The claim's column in the README's table."""
    components: tuple[Component, ...] = ()
    """The kinds of the kernel's state for which this claim is the evidence."""
    against_workers: AgainstWorkers | None = None
    over_time: OverTime | None = None
    under_fault: Callable[[Session, Around], Awaitable[None]] | None = None
    """The claim's traffic around a fault: it makes state, then asks for it in every round. None where the claim is
    not tested under faults. All claims share one stack there, so an invoke asks to be answered as `FREE`."""
    under_load: bool = False
    """Whether the sessions of ``kernel-lab load`` test this claim too."""
    needs: tuple[Callable[[Target], object], ...] = ()
    """What the claim needs. Each function is called with the target and raises `NotTold` if its need is not met.
    Then the claim is not judged on that deployment, and its rows say why."""
    order: int = 50
    """The scenario's place among those that a stack serves; the lowest number comes first. A scenario that disturbs
    the workers comes last."""
    own_stack: bool = False
    """Whether the scenario needs an unused deployment (its counters) or uses a deployment up (its budget). For each
    connection policy a fresh stack is started, and these scenarios run on it alone, one after the other."""
    env: dict[str, str] = field(default_factory=dict)
    """Settings of the workers on a stack of their own."""

    def __post_init__(self) -> None:
        """Refuse a declaration that contradicts itself.

        Raises:
            ValueError: A measure is declared twice, or is used without being declared.
        """
        names = [quantity.name for quantity in self.quantities]
        twice = sorted({name for name in names if names.count(name) > 1})
        if twice:
            raise ValueError(f"the scenario {self.name} declares the measure {twice[0]!r} twice")
        used = [
            *(self.headline.quantities if self.headline else ()),
            *(self.lag.quantities if self.lag else ()),
        ]
        used += [self.predicted.quantity, self.predicted.of] if self.predicted else []
        for quantity in used:
            if quantity not in self.measures:
                raise ValueError(
                    f"the scenario {self.name} uses the measure {quantity.name!r} and does not declare it"
                )

    @property
    def quantities(self) -> tuple[Quantity, ...]:
        """Every number of a cell: the measures, and the comparison of the prediction with its measurement."""
        return (*self.measures, *(self.predicted.compared if self.predicted else ()))

    @property
    def columns(self) -> tuple[str, ...]:
        """The measures that stand in the CSV between the leading columns and ``validity``."""
        return self._columns(Column.MAIN)

    @property
    def later_columns(self) -> tuple[str, ...]:
        """The measures that stand in the CSV after ``reason``."""
        return self._columns(Column.AFTER)

    def _columns(self, place: Column) -> tuple[str, ...]:
        return tuple(quantity.name for quantity in self.quantities if quantity.column is place)

    def observed(
        self,
        values: Mapping[str, Measure],
        *,
        parameters: Mapping[str, Any] | None = None,
        connections: str = "",
    ) -> Observed:
        """Return the numbers of a cell, to be read by their declarations."""
        return Observed(
            values=values,
            declared=frozenset(quantity.name for quantity in self.quantities),
            parameters=parameters or {},
            connections=connections,
        )

    def finding(self, observed: Observed) -> str:
        """Return the finding in one line; an empty text where the cell did not observe what the line needs."""
        try:
            return self.tell(observed)
        except NotObserved:
            return ""

    def undeclared(self, values: Iterable[str]) -> list[str]:
        """The names among a verdict's measures that the scenario does not declare."""
        known = {COUNT_OF_ANOMALIES, *(quantity.name for quantity in self.quantities)}
        return sorted(set(values) - known)

    def predict(
        self, probe: Sequence[AnyOperation], deployment: Deployment, parameters: dict[str, Any]
    ) -> dict[str, Measure]:
        """Return the probe's prediction, by the columns of the CSV; empty where the claim predicts nothing."""
        if self.predicted is None or not probe:
            return {}
        forecast = self.predicted.by(probe, deployment, parameters)
        return {self.predicted.quantity.name: forecast.value if forecast else None}

    def compared(self, values: Mapping[str, Measure]) -> dict[str, Measure]:
        """Return the columns that compare a cell's prediction with its measurement; empty without a prediction."""
        return self.predicted.compare(self.observed(values)) if self.predicted else {}


COUNT_OF_ANOMALIES = "anomalies"
"""The name of a measure that every verdict has: the number of all anomalies that were found."""


def met_everywhere(deployment: Deployment, policy: Policy) -> int:
    """Return how many workers a history must have met: all by round robin, two over fresh connections, or one."""
    if deployment.processes == 1 or policy is Policy.KEEP_ALIVE or deployment.routing == "hash_principal":
        return 1
    return deployment.processes if policy is Policy.ROUND_ROBIN and deployment.routing == "direct" else 2


def met_and_answered(operations: int | None = None) -> Callable[[Deployment, Policy], Assumptions]:
    """Return the usual assumptions: the workers of `met_everywhere`, and a number of answered operations."""
    return lambda deployment, policy: Assumptions(
        min_workers=met_everywhere(deployment, policy), min_operations=operations
    )
