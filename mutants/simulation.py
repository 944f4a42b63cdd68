"""A deployment inside this process: the lab's own workers over simulated roads and a simulated clock.

Every worker is the app a server would run, opened as a server opens it. A road lies between client and worker:
each call takes a while to arrive and its reply a while to come back. Both times are drawn from the seed, so
that calls overlap as they do between processes. A road may lose a call, before it arrives or after it was
answered.
"""

from __future__ import annotations

import asyncio
import itertools
import json
import random
import uuid
from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from contextlib import AsyncExitStack, ExitStack, asynccontextmanager, suppress
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any
from unittest.mock import patch

import httpx
import msgspec

from kernel_lab.deployments.attached import AttachedStack
from kernel_lab.deployments.deployment import Deployment
from kernel_lab.judge.verdict import Verdict
from kernel_lab.run import judging as judge
from kernel_lab.run import registry
from kernel_lab.run.folder import CellFolder
from kernel_lab.run.plan import PlannedCell
from kernel_lab.run.record import record
from kernel_lab.run.scenario import Scenario, Target
from kernel_lab.traffic import connections as connections_module
from kernel_lab.traffic.client import Connection
from kernel_lab.traffic.connections import CONCURRENCY, Connections, Fresh, Policy, RoundRobin
from lab.app import build_api
from lab.in_force import describe
from lab.kernel import KernelView, load_kernel
from lab.settings import Settings
from lab.state import sqlite
from lab.state.sqlite_file import SQLiteFile
from lab.worker import Worker, WorkerName
from mutants.clock import Clock
from mutants.mutant import Home

STORES = ("revocations", "limiter", "handles", "traces", "budget")
DEPLOYMENTS: Mapping[Home, Deployment] = {
    "single": Deployment(name="single"),
    "each": Deployment(name="each", workers=4, shares=STORES),
    "one": Deployment(name="one", workers=4, shares=(*STORES, "capabilities", "stats")),
}
"""The facts from which the right verdict on a right kernel is derived."""

ASKED = ("/worker", "/capabilities")
"""What a run asks of a deployment before its first cell."""


@dataclass(frozen=True, kw_only=True)
class Trial:
    """One simulated cell."""

    scenario: Scenario
    home: Home
    policy: Policy = Policy.ROUND_ROBIN
    workers: int = 4
    seed: int = 1
    kernel: str = "lab.kernel:build_kernel"
    restarts_s: tuple[float, ...] = ()
    """When the first worker is restarted, counted from the cell's begin."""
    env: Mapping[str, str] = field(default_factory=dict)
    """Settings of the workers, over the scenario's own."""
    quick: bool = True
    """Whether the scenario does less, as in ``kernel-lab run --quick``."""
    waits: bool = False
    """Whether handlers run inside the bridge, so that a store may let other requests run."""
    loss: float = 0.0
    """The share of calls that are lost on the way, half of them before they arrive."""


def simulate(trial: Trial, folder: Path) -> Verdict:
    """Run a trial on a clock of its own, and judge what it leaves in ``folder / "cell"``."""
    clock = Clock()
    # ids too are the seed's: a mutant may go by them
    ids = random.Random(trial.seed)
    with ExitStack() as stack:

        def open_file(path: Path, **how: Any) -> SQLiteFile:
            # a thread that waits for the disk would not be on the simulated clock
            file = SQLiteFile(path, **{**how, "blocking": True}, clock=clock.unix_s)
            stack.callback(file.close)
            return file

        stack.enter_context(patch.object(sqlite, "SQLiteFile", open_file))
        stack.enter_context(
            patch.object(uuid, "uuid4", lambda: uuid.UUID(int=ids.getrandbits(128), version=4))
        )
        clock.run(_drive(trial, folder))
    (verdict,) = judge.judge_cell(folder / "cell")
    return verdict


async def _drive(trial: Trial, folder: Path) -> None:
    rng = random.Random(trial.seed)
    deployment = msgspec.structs.replace(DEPLOYMENTS[trial.home], workers=trial.workers)
    async with AsyncExitStack() as opened:
        lives = list(_lives(trial, folder))
        for life in lives:
            await life.start()
            opened.push_async_callback(life.stop)
        # a scenario that opens connections of its own has them to whichever worker
        opened.enter_context(
            patch.object(connections_module, "open_http", lambda *_, **__: Road(lives, rng, trial.loss))
        )
        connections = _connect(trial, lives, rng)
        opened.push_async_callback(connections.aclose)
        target = await _look_at(lives[0], deployment)
        planned = PlannedCell(scenario=trial.scenario, deployment=deployment, policy=trial.policy)
        cell = CellFolder(folder / "cell")
        restarts = asyncio.create_task(_restart(lives[0], trial.restarts_s))
        error = await record(cell, planned, target, connections, seed=trial.seed, quick=trial.quick)
        if not restarts.cancel():
            restarts.result()
        if error:
            raise RuntimeError(error)


def _connect(trial: Trial, lives: list[Life], rng: random.Random) -> Connections:
    names = (f"k{number}" for number in itertools.count())
    if trial.policy is Policy.FRESH:
        return AnyWorker(Road(lives, rng, trial.loss), names)
    per_worker = -(-CONCURRENCY // trial.workers)
    return RoundRobin(
        [
            [Connection(http=Road([life], rng, trial.loss), names=names) for _ in range(per_worker)]
            for life in lives
        ]
    )


class AnyWorker(Fresh):
    """A new connection for every call, to whichever worker."""

    def __init__(self, road: Road, names: Iterator[str]) -> None:
        self._all = [road]
        self._cycle = itertools.cycle(self._all)
        self._names = names


def _lives(trial: Trial, folder: Path) -> Iterator[Life]:
    """The workers, with a kernel of their own or all with the same."""
    state = f"sqlite:///{folder}/state.db" if trial.home == "each" else "memory://"
    told = {**registry.settings(quick=trial.quick), **trial.scenario.env, **trial.env, "LAB_STATE": state}
    values = {name.removeprefix("LAB_").lower(): value for name, value in told.items()}
    each = [
        Settings(secret="known to all workers", kernel=trial.kernel, replica=f"r{number}", **values)
        for number in range(trial.workers)
    ]
    one = load_kernel(each[0]) if trial.home == "one" else None
    for settings in each:
        kernel = partial(load_kernel, settings) if one is None else lambda: one
        yield Life(settings, kernel, waits=trial.waits)


class Life:
    """One worker, which can be restarted: then it is another one."""

    def __init__(self, settings: Settings, kernel: Callable[[], Any], *, waits: bool) -> None:
        self._settings = settings
        self._kernel = kernel
        self._waits = waits
        self._end = AsyncExitStack()
        self.app: Worker

    async def start(self) -> None:
        """Open it, as a server does."""
        app = Worker(self._open, lambda: self._settings)
        await self._end.enter_async_context(_started(app))
        self.app = app

    async def stop(self) -> None:
        """Close it."""
        await self._end.aclose()

    @asynccontextmanager
    async def _open(self, settings: Settings, name: WorkerName) -> AsyncIterator[Any]:
        kernel = self._kernel()
        chained = hasattr(KernelView.of(kernel).traces, "verify_chain")
        api = build_api(kernel, describe(settings, name, chained_audit=chained))
        api.state.waits = self._waits
        yield api


@asynccontextmanager
async def _started(app: Worker) -> AsyncIterator[None]:
    """The lifespan of an application."""
    asked: asyncio.Queue[Any] = asyncio.Queue()
    answers: asyncio.Queue[Any] = asyncio.Queue()
    life = asyncio.create_task(app({"type": "lifespan"}, asked.get, answers.put))
    await asked.put({"type": "lifespan.startup"})
    answer = await answers.get()
    if answer["type"] != "lifespan.startup.complete":
        raise RuntimeError(answer["message"])
    try:
        yield
    finally:
        await asked.put({"type": "lifespan.shutdown"})
        await life


async def _restart(life: Life, at_s: tuple[float, ...]) -> None:
    begun_s = asyncio.get_running_loop().time()
    for instant_s in at_s:
        await asyncio.sleep(begun_s + instant_s - asyncio.get_running_loop().time())
        await life.stop()
        await life.start()


class Road:
    """The way to a worker and back, in the place of an HTTP client: a new connection after each loss."""

    def __init__(self, lives: list[Life], rng: random.Random, loss: float) -> None:
        self._lives = lives
        self._rng = rng
        self._loss = loss
        self._losses = 0

    @asynccontextmanager
    async def stream(
        self, method: str, path: str, *, content: bytes | None, headers: Mapping[str, str], **_: Any
    ) -> AsyncIterator[Answer]:
        """Carry one call; a lost one fails as a broken connection does."""
        await self._travel()
        app = self._rng.choice(self._lives).app
        asking = asyncio.create_task(_ask(app, method, path, content or b"", headers, answer := Answer()))
        try:
            await answer.begun.wait()
            await self._travel()
            answer.extensions["network_stream"] = self
            yield answer
        finally:
            answer.left.set()
            await asking

    def get_extra_info(self, name: str) -> Any:
        """The local address, as httpx's network streams tell it."""
        return (id(self._lives[0].app), self._losses) if name == "client_addr" else None

    async def aclose(self) -> None:
        """Nothing is open."""

    async def _travel(self) -> None:
        # 1 ms on average; now and then ten times as long
        await asyncio.sleep(self._rng.expovariate(1000) * (10 if self._rng.random() < 0.02 else 1))
        if self._rng.random() < self._loss / 2:
            self._losses += 1
            raise httpx.ReadError("lost on the way")


@dataclass(slots=True)
class Answer:
    """A response, as far as a recorder reads it."""

    status_code: int = 0
    headers: dict[str, str] = field(default_factory=dict)
    parts: asyncio.Queue[bytes] = field(default_factory=asyncio.Queue)
    """The body, as it comes; an empty part ends it."""
    extensions: dict[str, Any] = field(default_factory=dict)
    begun: asyncio.Event = field(default_factory=asyncio.Event)
    left: asyncio.Event = field(default_factory=asyncio.Event)
    """The client has gone."""

    @property
    def is_success(self) -> bool:
        """2xx."""
        return 200 <= self.status_code < 300

    async def aread(self) -> bytes:
        """The whole body."""
        return b"".join([part async for part in self.aiter_parts()])

    async def aiter_parts(self) -> AsyncIterator[bytes]:
        """The body in the parts that were sent."""
        while part := await self.parts.get():
            yield part

    async def aiter_lines(self) -> AsyncIterator[str]:
        """The body in lines: the app sends each of them as one part."""
        async for part in self.aiter_parts():
            for line in part.decode().splitlines():
                yield line


async def _ask(
    app: Worker, method: str, path: str, body: bytes, headers: Mapping[str, str], answer: Answer
) -> None:
    """One request to an application in this process; `answer` takes what it replies."""
    path, _, query = path.partition("?")
    scope = {
        "type": "http", "asgi": {"version": "3.0"}, "http_version": "1.1", "method": method, "scheme": "http",
        "path": path, "raw_path": path.encode(), "query_string": query.encode(), "root_path": "",
        "server": ("lab", 80), "client": ("127.0.0.1", 1),
        "headers": [(name.lower().encode(), value.encode()) for name, value in headers.items()],
    }  # fmt: skip
    messages = iter([{"type": "http.request", "body": body}])

    async def receive() -> Any:
        if (message := next(messages, None)) is None:
            await answer.left.wait()
            return {"type": "http.disconnect"}
        return message

    async def send(message: Any) -> None:
        if message["type"] == "http.response.start":
            answer.status_code = message["status"]
            answer.headers = {name.decode(): value.decode() for name, value in message["headers"]}
            answer.begun.set()
        elif part := message.get("body", b""):
            answer.parts.put_nowait(part)

    with suppress(Exception):  # it has been answered with a 500, and is raised for the server's log
        await app(scope, receive, send)
    answer.begun.set()
    answer.parts.put_nowait(b"")


async def _look_at(life: Life, deployment: Deployment) -> Target:
    told = []
    for path in ASKED:
        answer = Answer()
        await _ask(life.app, "GET", path, b"", {}, answer)
        told.append(json.loads(await answer.aread()))
    facts, known = told[0], told[1]["capabilities"]
    return Target(
        live=AttachedStack(
            deployment=deployment, base_url="http://lab", expected_workers=deployment.workers
        ),
        facts=facts,
        capabilities={capability["capability_id"]: capability for capability in known},
    )  # fmt: skip
