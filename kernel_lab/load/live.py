"""Many stacks that run at once, because deployments that are compared must run side by side."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path

import msgspec

from kernel_lab.deployments import AppSpec, NativeStack, StackFailed, StackUnavailable
from kernel_lab.deployments.deployment import Deployment
from kernel_lab.deployments.live import Live, Process
from kernel_lab.deployments.native import gunicorn, remote, store
from kernel_lab.deployments.native.guarded import Guard
from kernel_lab.deployments.native.servers import Server, Servers
from kernel_lab.deployments.ports import free_port
from kernel_lab.faults.proxy import LOOPBACK, Proxy
from kernel_lab.load.usage import tree

PROXY = "proxy"
"""The part of a subject that adds the distance to the store. Its CPU does not count as the servers'."""
AT_ONCE = 2
"""The number of stacks that start side by side. Starting takes CPU, so more stacks would only delay each other."""
_PART = {"gunicorn": "workers", remote.NAME: "workers", "nginx": "balancer", "store": "store"}
"""A process that keeps the kernel of the workers counts as a worker, whether it is a sidecar or remote."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Subject:
    """A deployment to be measured, under a name of its own: the A/A control is one deployment under two."""

    name: str
    deployment: Deployment
    env: Mapping[str, str] = field(default_factory=dict)
    app: str = "lab.app:app"
    distant: bool = False
    """Its store, or its remote kernel, is reached through a proxy, whose distance can be set."""
    appendfsync: str = ""
    """Its store keeps an append-only file, and writes it out ``everysec`` or ``always``."""


@dataclass(frozen=True, slots=True, kw_only=True)
class LiveSubject:
    """A subject that runs: its live deployment, and the processes whose costs are counted."""

    subject: Subject
    stack: Live
    parts: Mapping[str, list[int]]
    """``workers``, ``balancer``, ``store`` -> pids of their process trees."""
    store_port: int | None = None
    proxy: Proxy | None = None

    @property
    def base_url(self) -> str:
        """The address that clients call."""
        return self.stack.base_url

    @property
    def expected_workers(self) -> int:
        """The number of all workers that answer."""
        return self.stack.expected_workers


@dataclass(slots=True)
class Lives:
    """The deployments that run, by name, and those that cannot run here, with the reason."""

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
    deployment, far, proxy = subject.deployment, None, None
    app = AppSpec(root=root, app=subject.app)
    # a socket per worker: pinned connections meet all of them soon
    env = {"LAB_REUSE_PORT": "1", **subject.env}
    if subject.distant or subject.appendfsync:
        far = await everything.enter_async_context(_by_itself(subject, app, folder, env))
        if subject.distant:
            proxy = await everything.enter_async_context(Proxy(LOOPBACK, far.port))
        port = far.port if proxy is None else proxy.port
        if deployment.remote:
            deployment = msgspec.structs.replace(deployment, remote=False)
            app = replace(app, app=app.sidecar_app)
            env[remote.ADDRESS] = f"{LOOPBACK}:{port}"
        else:
            deployment = _at(deployment, store.url(port))
    stack = NativeStack(deployment, app=app, folder=folder, env=env)
    await everything.enter_async_context(stack)
    parts: dict[str, list[int]] = {}
    for name, process in stack.processes.items():
        parts.setdefault(_PART[name.partition("-")[0]], []).extend(tree(process.pid))
    store_port = stack.processes["store"].port if "store" in stack.processes else None
    if far is not None:
        parts.setdefault(_PART[far.name], []).append(far.pid)
        if far.name == "store":
            store_port = far.port
    if proxy is not None:
        parts[PROXY] = [proxy.pid]
    return LiveSubject(subject=subject, stack=stack, parts=parts, store_port=store_port, proxy=proxy)


def _at(deployment: Deployment, url: str) -> Deployment:
    """The deployment with its store at the given address, so that no store is started."""
    return msgspec.structs.replace(
        deployment,
        state=deployment.state.replace("{store}", url),
        env={name: value.replace("{store}", url) for name, value in deployment.env.items()},
        store="",
    )


@asynccontextmanager
async def _by_itself(
    subject: Subject, app: AppSpec, folder: Path, env: Mapping[str, str]
) -> AsyncIterator[Process]:
    """The server that a deployment's workers share, started apart from them: its remote kernel, or its store."""
    deployment = subject.deployment
    folder.mkdir(parents=True, exist_ok=True)
    guard = Guard(log=folder / "far-guard.log")
    name = remote.NAME if deployment.remote else "store"
    log = folder / f"{name}.log"

    def build() -> Server:
        port = free_port()
        if deployment.remote:
            filled = gunicorn.environment(deployment, secret=None, store="", run=guard.folder, extra=env)
            command = remote.command(app=app, port=port, env=filled, log=log)
            return Server(name=name, port=port, command=command, ready=partial(remote.up, port))
        command = store.command(port=port, bus_port=None, folder=guard.folder, log=log)
        if subject.appendfsync:
            kept = ("--appendonly", "yes", "--appendfsync", subject.appendfsync)
            command = replace(command, argv=(*command.argv, *kept))
        return Server(name=name, port=port, command=command, ready=partial(store.answering, port))

    try:
        await guard.ready()
        servers = Servers(guard, stack=name)
        await servers.start([build])
        yield servers.process(name)
    finally:
        await guard.close()
