"""Many stacks live at once: what is measured side by side has to stand side by side."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path

import msgspec

from kernel_lab.deployments import AppSpec, NativeStack, StackFailed, StackUnavailable
from kernel_lab.deployments.deployment import Deployment
from kernel_lab.deployments.live import Live
from kernel_lab.deployments.native import store
from kernel_lab.deployments.native.guarded import Guard
from kernel_lab.deployments.native.servers import Server, Servers
from kernel_lab.deployments.ports import free_port
from kernel_lab.faults.proxy import LOOPBACK, Proxy
from kernel_lab.load.usage import tree

AT_ONCE = 2
"""Stacks that start side by side: starting is CPU, and more would only be late together."""
_PART = {"gunicorn": "workers", "nginx": "balancer", "store": "store"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Subject:
    """A deployment to be measured, under a name of its own: the A/A control is one deployment under two."""

    name: str
    deployment: Deployment
    env: Mapping[str, str] = field(default_factory=dict)
    app: str = "lab.app:app"
    distant: bool = False
    """Its store is reached through a proxy, whose distance can be set."""


@dataclass(frozen=True, slots=True, kw_only=True)
class LiveSubject:
    """A subject that runs: its live deployment, and the processes that its costs are counted of."""

    subject: Subject
    stack: Live
    parts: Mapping[str, list[int]]
    """``workers``, ``balancer``, ``store`` -> pids of their process trees."""
    store_port: int | None = None
    proxy: Proxy | None = None

    @property
    def base_url(self) -> str:
        """Where clients call."""
        return self.stack.base_url

    @property
    def expected_workers(self) -> int:
        """How many workers answer in all."""
        return self.stack.expected_workers


@dataclass(slots=True)
class Lives:
    """What runs, by name; and what cannot run here, with the reason."""

    running: dict[str, LiveSubject] = field(default_factory=dict)
    skipped: dict[str, str] = field(default_factory=dict)


@asynccontextmanager
async def open_all(subjects: Sequence[Subject], folder: Path, *, root: Path) -> AsyncIterator[Lives]:
    """Start every subject that this machine can start, and keep all of them up."""
    slots = asyncio.Semaphore(AT_ONCE)
    lives = Lives()
    async with AsyncExitStack() as everything:

        async def start(subject: Subject) -> None:
            async with slots:
                try:
                    lives.running[subject.name] = await _open(
                        subject, folder / subject.name, root, everything
                    )
                except (StackUnavailable, StackFailed) as error:
                    lives.skipped[subject.name] = str(error).splitlines()[0]

        await asyncio.gather(*(start(subject) for subject in subjects))
        yield lives


async def _open(subject: Subject, folder: Path, root: Path, everything: AsyncExitStack) -> LiveSubject:
    deployment, own_store, proxy = subject.deployment, None, None
    if subject.distant:
        own_store = await everything.enter_async_context(_bare_store(folder))
        proxy = await everything.enter_async_context(Proxy(LOOPBACK, own_store.port))
        deployment = _at(deployment, store.url(proxy.port))
    app = AppSpec(root=root, app=subject.app)
    # a socket per worker: pinned connections meet all of them soon
    env = {"LAB_REUSE_PORT": "1", **subject.env}
    stack = NativeStack(deployment, app=app, folder=folder, env=env)
    await everything.enter_async_context(stack)
    parts: dict[str, list[int]] = {}
    for name, process in stack.processes.items():
        parts.setdefault(_PART[name.partition("-")[0]], []).extend(tree(process.pid))
    store_port = stack.processes["store"].port if "store" in stack.processes else None
    if own_store is not None:
        parts["store"], store_port = [own_store.pid], own_store.port
    return LiveSubject(subject=subject, stack=stack, parts=parts, store_port=store_port, proxy=proxy)


def _at(deployment: Deployment, url: str) -> Deployment:
    """The deployment with its store at an address of ours, and none to start."""
    return msgspec.structs.replace(
        deployment,
        state=deployment.state.replace("{store}", url),
        env={name: value.replace("{store}", url) for name, value in deployment.env.items()},
        store="",
    )


@dataclass(frozen=True, slots=True)
class _Store:
    port: int
    pid: int


@asynccontextmanager
async def _bare_store(folder: Path) -> AsyncIterator[_Store]:
    """A store by itself."""
    folder.mkdir(parents=True, exist_ok=True)
    guard = Guard(log=folder / "store-guard.log")

    def build() -> Server:
        port = free_port()
        command = store.command(port=port, bus_port=None, folder=guard.folder, log=folder / "store.log")
        return Server(name="store", port=port, command=command, ready=lambda pid: store.answering(port, pid))

    try:
        await guard.ready()
        servers = Servers(guard, stack="store")
        await servers.start([build])
        process = servers.process("store")
        yield _Store(process.port, process.pid)
    finally:
        await guard.close()
