"""A scenario: a claim, the traffic that puts it to the test, and what should come out."""

from __future__ import annotations

import asyncio
import itertools
import random
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

from kernel_lab.deployments.deployment import Deployment
from kernel_lab.deployments.live import Live
from kernel_lab.faults.fault import Fault, Landing, disturb
from kernel_lab.judge.history import AnyOperation
from kernel_lab.judge.verdict import Assumptions, Measure, Validity
from kernel_lab.traffic.client import Principal, Recorder, RecordingClient
from kernel_lab.traffic.connections import Connections, Policy
from kernel_lab.traffic.journal import Journal


@dataclass(frozen=True, slots=True, kw_only=True)
class Target:
    """What the deployment said of itself before the first cell (``GET /worker``, ``GET /capabilities``)."""

    live: Live
    facts: dict[str, Any]
    capabilities: dict[str, dict[str, Any]]
    journal: Journal = field(default_factory=Journal)
    """Every call that any cell makes to this deployment."""

    @property
    def base_url(self) -> str:
        """Where clients call."""
        return self.live.base_url

    @property
    def direct(self) -> bool:
        """Whether clients reach the workers' own socket, with no balancer in front."""
        return self.live.deployment.routing == "direct"

    @property
    def workers(self) -> int:
        """How many workers answer in all."""
        return self.live.expected_workers

    def rate_limit(self, capability: str) -> tuple[int, float]:
        """The deployment's limit and window for a capability: ``(grants, seconds)``."""
        limit = self.facts["rate_limits"][self.capabilities[capability]["safety_class"]]
        return int(limit["limit"]), float(limit["window_s"])


@dataclass(slots=True, kw_only=True)
class Session:
    """What a scenario drives: one cell of one live deployment.

    Everything goes into the cell's history, but for what goes through `probe`: calls of the same shape,
    interleaved with the scenario's own, of which only the routing is used, to predict what is measured.
    """

    deployment: Deployment
    target: Target
    connections: Connections
    main: Recorder
    shadow: Recorder
    parameters: dict[str, Any]
    seed: int
    quick: bool
    rng: random.Random = field(init=False)
    _numbers: Iterator[int] = field(default_factory=itertools.count)
    _tag: str = ""

    def __post_init__(self) -> None:
        """Seeded randomness; the tag keeps the principals of two cells apart."""
        self.rng = random.Random(self.seed)
        self._tag = f"{self.seed:x}-{time.time_ns() & 0xFFFFFFFF:x}"

    @property
    def policy(self) -> Policy:
        """The cell's connection policy."""
        return self.connections.policy

    @property
    def lanes(self) -> int:
        """Workers that a call can be sent to by choice; 1 where the policy cannot choose."""
        return max(1, self.connections.lanes)

    def principal(self, role: str = "p", *, roles: tuple[str, ...] = ("reader", "writer")) -> Principal:
        """A principal nobody else in this run is."""
        return Principal(name=f"{role}{next(self._numbers)}-{self._tag}", roles=roles)

    def client(self, principal: Principal) -> RecordingClient:
        """A client of the cell's history."""
        return RecordingClient(self.main, self.connections, principal)

    def probe(self, principal: Principal) -> RecordingClient:
        """A client of the probe's history."""
        return RecordingClient(self.shadow, self.connections, principal)

    @asynccontextmanager
    async def disturbed(self, fault: Fault, aim: str | None = None) -> AsyncIterator[Landing | None]:
        """For as long as this lasts, a fault is in force, and stands in the history.

        None, and nothing in the history, where the deployment cannot have this fault.
        """
        if fault.inapplicable(self.target.live):
            yield None
            return
        async with disturb(fault, self.target.live, self.main, aim=aim) as landing:
            yield landing

    async def together(self, jobs: Sequence[Awaitable[object]]) -> None:
        """Run jobs side by side; the first error ends the others."""
        async with asyncio.TaskGroup() as group:
            for job in jobs:
                group.create_task(_await(job))


async def _await(job: Awaitable[object]) -> None:
    await job


async def pause_until(instant_ns: int) -> None:
    """Sleep until an instant of the monotonic clock, in nanoseconds; at once if it has passed."""
    await asyncio.sleep(max(0, instant_ns - time.monotonic_ns()) / 1e9)


Predict = Callable[[Sequence[AnyOperation], Deployment, dict[str, Any]], dict[str, Measure]]
Expect = Callable[[Deployment, Policy], Validity | None]


@dataclass(frozen=True, slots=True, kw_only=True)
class Scenario:
    """One file of ``scenarios/``; its checker has the same name in ``kernel_lab.judge.checkers``."""

    name: str
    claim: str
    """The guarantee, in one sentence."""
    drive: Callable[[Session], Awaitable[None]]
    parameters: Callable[[Deployment, Target, Policy], dict[str, Any]]
    """What the checker must know, as ``cell.json`` keeps it."""
    assumptions: Callable[[Deployment, Policy], Assumptions]
    expect: Expect
    """The verdict that a right lab gets on this deployment: judged otherwise is exit code 1. None where it is
    chance, and said so."""
    tell: Callable[[Mapping[str, Any]], str]
    """The measures, to somebody who has not read the columns' names."""
    predict: Predict | None = None
    columns: tuple[str, ...] = ()
    """The measures of its CSV, between the leading columns and ``validity``."""
    order: int = 50
    """Its place among the scenarios that a stack serves, the lowest first. A scenario that disturbs the
    workers comes last."""
    own_stack: bool = False
    """It needs a deployment that nobody has used (its counters), or leaves one used up (its budget): for each
    connection policy a fresh stack is started, and these scenarios run on it alone, one after the other."""
    env: dict[str, str] = field(default_factory=dict)
    """Settings of the workers on that stack."""


def met_everywhere(deployment: Deployment, policy: Policy) -> int:
    """How many workers a history must have met: all by round robin, two over fresh connections, else one."""
    if deployment.processes == 1 or policy is Policy.KEEP_ALIVE or deployment.routing == "hash_principal":
        return 1
    return deployment.processes if policy is Policy.ROUND_ROBIN and deployment.routing == "direct" else 2
