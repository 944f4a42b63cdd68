"""A stack of processes on this machine: gunicorn, nginx, a store and a remote kernel, on loopback."""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import AsyncGenerator, Mapping, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from types import MappingProxyType, TracebackType
from typing import Self
from urllib.parse import urlsplit

from kernel_lab.deployments.deployment import Deployment
from kernel_lab.deployments.live import NOTHING, AppSpec, Process, StackFailed, StackUnavailable
from kernel_lab.deployments.native import gunicorn, nginx, remote, store
from kernel_lab.deployments.native.binaries import find_nginx, find_store
from kernel_lab.deployments.native.guarded import POLL_S, Guard
from kernel_lab.deployments.native.health import ask_health
from kernel_lab.deployments.native.servers import Server, Servers, last_lines
from kernel_lab.deployments.ports import LOOPBACK, free_port

START_TIMEOUT_S = 60.0


class NativeStack:
    """A live deployment as processes of this machine. See `kernel_lab.deployments.live.Stack`.

    The servers' output goes to logs in `folder`: ``server.log`` (``server-r0.log`` … where there are several
    replicas), ``nginx.log``, ``store.log``, ``remote.log``. `env` is added to the workers' environment and
    overrules the deployment's own. Nothing survives this process, however it ends: see ``guard.py``.
    """

    def __init__(
        self,
        deployment: Deployment,
        *,
        app: AppSpec,
        folder: Path,
        env: Mapping[str, str] = MappingProxyType({}),
        secret: str | None = None,
        start_timeout_s: float = START_TIMEOUT_S,
    ) -> None:
        _refuse_contradictions(deployment)
        self.deployment = deployment
        self._app = replace(app, root=app.root.resolve())
        self._folder = folder.resolve()
        self._env = env
        self._secret = secret
        self._start_timeout_s = start_timeout_s
        self._guard: Guard | None = None
        self._running: Servers | None = None
        self._ports: dict[str, int] = {}
        self._notes: list[str] = []

    async def __aenter__(self) -> Self:
        """Start the stack. If it fails, the servers that were started are stopped again."""
        try:
            await self.start()
        except BaseException:
            await self.stop()
            raise
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Stop."""
        await self.stop()

    async def start(self) -> None:
        """Start every server and wait until each worker accepts connections.

        Raises:
            StackFailed: A server ended, or they were not ready in time.
            StackUnavailable: nginx or the store is not to be found.
        """
        balanced = self.deployment.routing != "direct"
        if balanced:
            find_nginx()  # before anything is started
        self._folder.mkdir(parents=True, exist_ok=True)
        guard = self._guard = Guard(log=self._folder / "guard.log")
        servers = self._running = Servers(guard, stack=self.deployment.name)
        try:
            async with asyncio.timeout(self._start_timeout_s):
                await guard.ready()
                env = gunicorn.environment(
                    self.deployment, secret=self._secret, store=await self._start_store(), run=guard.folder,
                    extra=self._env,
                )  # fmt: skip
                if self.deployment.remote:
                    await servers.start([partial(self._remote, env)])
                    env[remote.ADDRESS] = f"{LOOPBACK}:{self._ports[remote.NAME]}"
                replicas = range(self.deployment.replicas)
                await servers.start([partial(self._replica, index, env) for index in replicas])
                if balanced:
                    await servers.start([self._balancer])
        except TimeoutError:
            late = f"{self.deployment.name} was not ready after {self._start_timeout_s:g} s"
            raise StackFailed(late, f": {servers.awaiting()}") from None

    async def stop(self) -> None:
        """End the balancer, the replicas, the remote kernel, the store; each gracefully, or else killed."""
        guard, self._guard = self._guard, None
        if guard is None or self._running is None:
            return
        try:
            for kind in (nginx.NAME, "gunicorn", remote.NAME, "store"):
                await self._running.end(kind)
        except StackFailed:
            pass  # the guard has ended before us, and it has ended the servers
        finally:
            await guard.close()

    @property
    def base_url(self) -> str:
        """The URL that clients call: that of the balancer, or of the one replica's shared socket."""
        return self._url("gunicorn-r0" if self.deployment.routing == "direct" else nginx.NAME)

    @property
    def replica_urls(self) -> tuple[str, ...]:
        """Each replica, past the balancer."""
        return tuple(self._url(f"gunicorn-r{index}") for index in range(self.deployment.replicas))

    @property
    def expected_workers(self) -> int:
        """The number of all workers that answer."""
        return self.deployment.processes

    @property
    def servers(self) -> Self:
        """Its server processes are ours to disturb."""
        return self

    @property
    def hosts(self) -> None:
        """It runs on this machine alone."""
        return

    @property
    def processes(self) -> Mapping[str, Process]:
        """The servers, by name; of one that has ended, the last pid it had."""
        return self._servers.processes

    @property
    def log_paths(self) -> Mapping[str, Path]:
        """The servers' logs, by name; they outlive the stack."""
        return {name: process.log for name, process in self.processes.items()}

    @property
    def notes(self) -> tuple[str, ...]:
        """Facts that a reader of its figures must know."""
        return tuple(self._notes)

    @property
    def files(self) -> Path:
        """The stack's own temp folder, for which ``{run}`` stands."""
        return self._own

    def alive(self) -> bool:
        """Whether every server runs."""
        return self._guard is not None and not self.ended()

    def ended(self) -> tuple[str, ...]:
        """The names of the servers that have ended."""
        return self._servers.ended()

    def kill_worker(self, worker: str) -> bool:
        """SIGKILL a worker by its name (``replica/pid/boot``); False if no such worker is ours."""
        replica, pid, _ = worker.split("/")
        if int(pid) not in self.workers(int(replica.removeprefix("r"))):
            return False
        os.kill(int(pid), signal.SIGKILL)
        return True

    def workers(self, replica: int) -> list[int]:
        """The pids of a replica's workers that accept connections, oldest first."""
        process = self._servers.process(f"gunicorn-r{replica}")
        return gunicorn.workers(process.pid, process.port)

    def signal(self, name: str, number: int) -> None:
        """Send a signal to a server, by its name; not to its workers.

        Raises:
            ProcessLookupError: It has ended.
        """
        self._servers.signal(name, number)

    async def reload(self, replica: int) -> None:
        """SIGHUP a replica, and wait until new workers have taken the place of every old one.

        Raises:
            StackFailed: They did not do so in the time that a start may take.
        """
        name = f"gunicorn-r{replica}"
        old = set(self.workers(replica))
        ended = f"{name} ended when it was reloaded"
        try:
            self.signal(name, signal.SIGHUP)
            async with asyncio.timeout(self._start_timeout_s):
                while not (up := set(self.workers(replica))) or len(up) < len(old) or up & old:
                    if not self.alive():
                        raise StackFailed(f"{ended}{last_lines(self.log_paths[name])}")
                    await asyncio.sleep(POLL_S)
        except ProcessLookupError:
            raise StackFailed(f"{ended}{last_lines(self.log_paths[name])}") from None
        except TimeoutError:
            raise StackFailed(
                f"{name}: old workers {self._start_timeout_s:g} s after SIGHUP: {up & old}"
            ) from None

    async def balance(self, replicas: Sequence[int]) -> None:
        """Have the balancer lead to these replicas alone, and wait until no new call reaches another replica.

        Raises:
            StackFailed: There is no balancer, or it goes on as before.
        """
        if self.deployment.routing == "direct":
            raise StackFailed(f"{self.deployment.name} has no balancer")
        master = self.processes[nginx.NAME]
        old = set(gunicorn.children(master.pid))
        self._configure(master.port, replicas)
        self.signal(nginx.NAME, signal.SIGHUP)
        try:
            async with asyncio.timeout(self._start_timeout_s):
                # an old process of nginx goes on until the calls that it has passed on are answered
                while not (now := set(gunicorn.children(master.pid))) or now & old:  # noqa: ASYNC110 - no event
                    await asyncio.sleep(POLL_S)
        except TimeoutError:
            raise StackFailed(
                f"nginx leads to the old replicas {self._start_timeout_s:g} s after SIGHUP"
                f"{last_lines(master.log)}"
            ) from None

    async def restart(
        self, name: str, *, env: Mapping[str, str] = NOTHING, arguments: Sequence[str] = (),
        before: Sequence[str] = (),
    ) -> None:  # fmt: skip
        """Start a server that has ended once more, on its port, and wait until it is ready.

        It starts as before, apart from the arguments: settings, further command-line arguments after its own,
        and a command in front of its own that ends by starting the server. All of them stay.

        Raises:
            StackFailed: It still runs, or does not start, or its port was taken meanwhile.
        """
        try:
            async with asyncio.timeout(self._start_timeout_s):
                await self._servers.restart(name, env=env, arguments=arguments, before=before)
        except TimeoutError:
            raise StackFailed(f"{name} was not ready {self._start_timeout_s:g} s after its restart") from None

    @property
    def _servers(self) -> Servers:
        if self._running is None:
            raise StackFailed(f"{self.deployment.name} has not been started")
        return self._running

    @property
    def _own(self) -> Path:
        """The stack's own temp folder."""
        assert self._guard is not None  # noqa: S101 - only servers that are being started ask
        return self._guard.folder

    def _url(self, name: str) -> str:
        return f"http://{LOOPBACK}:{self._servers.process(name).port}"

    def _port(self, name: str) -> int:
        """A port for a server that none of our other servers has. With ``reuse_port`` both could bind the same port."""
        self._ports[name] = free_port(avoid=self._ports.values())
        return self._ports[name]

    async def _start_store(self) -> str:
        """Start the deployment's store; its URL, empty if it has none."""
        if not self.deployment.store:
            return ""
        given = os.environ.get("LAB_REDIS_URL")
        if given and self.deployment.store_replica:
            raise StackUnavailable(
                "LAB_REDIS_URL names one server, and this deployment needs a replica of it"
            )
        if given and self.deployment.store == "redis":
            where = urlsplit(given)
            self._notes.append(
                f"the store at {where.hostname}:{where.port or 6379}{where.path} (LAB_REDIS_URL) is used "
                "as it is: neither started, nor emptied, nor stopped by us"
            )
            return given
        find_store()  # before its folders are made
        clustered = self.deployment.store == "redis-cluster"
        names = [f"store-{node}" for node in range(store.NODES)] if clustered else ["store"]
        await self._servers.start([partial(self._store, name, clustered=clustered) for name in names])
        ports = [self._ports[name] for name in names]
        if not clustered:
            if self.deployment.store_replica:
                await self._servers.start([partial(self._store, store.REPLICA, clustered=False)])
            return store.url(ports[0])
        await store.form_cluster([(self._ports[name], self._ports[f"{name} bus"]) for name in names])
        await store.until_whole(ports)
        return store.cluster_url(ports)

    def _store(self, name: str, *, clustered: bool) -> Server:
        folder = self._own / name
        folder.mkdir(exist_ok=True)
        port = self._port(name)
        primary = self._ports["store"] if name == store.REPLICA else None
        command = store.command(
            port=port, bus_port=self._port(f"{name} bus") if clustered else None, folder=folder,
            log=self._folder / f"{name}.log", replicated=self.deployment.store_replica, primary=primary,
        )  # fmt: skip
        ready = store.answering if primary is None else store.following
        return Server(name=name, port=port, command=command, ready=partial(ready, port))

    def _remote(self, env: Mapping[str, str]) -> Server:
        port = self._port(remote.NAME)
        command = remote.command(app=self._app, port=port, env=env, log=self._folder / "remote.log")
        return Server(name=remote.NAME, port=port, command=command, ready=partial(remote.up, port))

    def _replica(self, index: int, env: Mapping[str, str]) -> Server:
        name = f"gunicorn-r{index}"
        port = self._port(name)
        log = "server.log" if self.deployment.replicas == 1 else f"server-r{index}.log"
        command = gunicorn.command(
            self.deployment, app=self._app, replica=index, port=port, folder=self._own, env=env,
            log=self._folder / log,
        )  # fmt: skip
        return Server(
            name=name, port=port, command=command, ready=partial(gunicorn.up, port, self.deployment.workers)
        )

    def _balancer(self) -> Server:
        folder = self._own / "nginx"
        folder.mkdir(exist_ok=True)
        port = self._port(nginx.NAME)
        config = self._configure(port, range(self.deployment.replicas))
        command = nginx.command(config, folder=folder, log=self._folder / "nginx.log")
        return Server(name=nginx.NAME, port=port, command=command, ready=self._balanced)

    def _configure(self, port: int, replicas: Sequence[int]) -> Path:
        """Write nginx's configuration: it listens on `port`, and passes calls on to these replicas."""
        config = self._folder / "nginx.conf"
        ports = [self._ports[f"gunicorn-r{index}"] for index in replicas]
        told = nginx.configuration(
            routing=self.deployment.routing, port=port, replicas=ports, folder=self._own / "nginx"
        )
        config.write_text(told, encoding="utf-8")
        return config

    async def _balanced(self, _pid: int) -> AsyncGenerator[str]:
        """Yield what is waited for, until one of this stack's workers has answered through the balancer."""
        ours = {pid for index in range(self.deployment.replicas) for pid in self.workers(index)}
        while not (
            (health := await ask_health(self.base_url)) and health.status == 200 and health.pid in ours
        ):
            yield f"GET /healthz: {health or 'no answer'}"


def _refuse_contradictions(deployment: Deployment) -> None:
    """Raise ValueError if a deployment contradicts itself."""
    where = f"deployment {deployment.name}"
    if deployment.workers < 1 or deployment.replicas < 1:
        raise ValueError(f"{where}: workers and replicas must be 1 or more")
    if deployment.routing == "direct" and deployment.replicas > 1:
        raise ValueError(
            f'{where}: {deployment.replicas} replicas need routing "round_robin" or "hash_principal"'
        )
    if deployment.sidecar and deployment.remote:
        raise ValueError(
            f"{where} has a sidecar and a remote kernel; its workers forward to one: drop sidecar or remote"
        )
    if deployment.store_replica and deployment.store != "redis":
        raise ValueError(f'{where} has store_replica, which copies one server: set store to "redis"')
    if "{store}" in " ".join((deployment.state, *deployment.env.values())) and not deployment.store:
        raise ValueError(f'{where} names {{store}}, but has none: set store to "redis" or "redis-cluster"')
