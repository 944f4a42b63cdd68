"""A service that was started here, or that runs already: where it is, and how many workers it has."""

from __future__ import annotations

import asyncio
import contextlib
import math
import os
import shlex
import signal
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path

import httpx

from kernel_lab.apps.connections import Place
from kernel_lab.apps.mapping import Service, Start, from_environment
from kernel_lab.deployments.live import StackFailed
from kernel_lab.deployments.native import store
from kernel_lab.deployments.native.guarded import Command, Guard
from kernel_lab.deployments.ports import LOOPBACK, free_port
from kernel_lab.redaction import without_credentials
from kernel_lab.traffic.between import MOST_WORKERS

SHARE, DOUBT = 0.05, 0.01
"""A worker that gets this share of the connections is missed with less than this probability."""
MET_S = 15.0
"""The most seconds for which a started service is asked for its workers."""


@dataclass(slots=True, kw_only=True)
class Running:
    """A service that answers."""

    place: Place
    workers: int
    """The number of its workers, or the number that it was started with."""
    named: bool
    """Whether replies name their worker."""
    notes: list[str] = field(default_factory=list)
    """Facts that a reader of the verdicts must know."""
    guard: Guard | None = None
    """Its processes, where it was started here."""

    def pid(self, name: str) -> int | None:
        """The pid of a server that was started here: ``app`` or ``store``."""
        return None if self.guard is None else self.guard.pid(name)

    def kill_worker(self, worker: str | None) -> bool:
        """SIGKILL a worker by its name; False if the lab did not start that worker."""
        server = self.pid("app")
        try:
            pid = int((worker or "").split("/")[1])
            # servers lead process groups of their own, and their workers are in it
            if server is None or pid == server or os.getpgid(pid) != server:
                return False
            os.kill(pid, signal.SIGKILL)
        except (ValueError, IndexError, OSError):
            return False
        return True


def by_address(service: Service) -> bool:
    """Whether callers can only be told apart by their address."""
    caller = service.file.caller
    if caller.address:
        return True
    named = caller.header or caller.cookie or caller.bearer or service.file.adapter
    return not named and "{caller}" not in str(service.file)


@asynccontextmanager
async def started(service: Service, workers: int, logs: Path) -> AsyncIterator[Running]:
    """Start the service with `workers` workers. Stop it at the end, also after an error.

    Raises:
        StackFailed: It did not come up; the message shows the last lines of its log.
        StackUnavailable: There is no store to start.
    """
    start = service.file.start
    assert start is not None  # noqa: S101 - the caller asked
    logs.mkdir(parents=True, exist_ok=True)
    guard = Guard(log=logs / "guard.log")
    try:
        await guard.ready()
        known = {"workers": str(workers), "port": str(free_port()), "store": ""}
        if start.store:
            known["store"] = await _start_store(guard, logs)
        await guard.start("app", _command(service, start, known, logs / "app.log"))
        place = Place(
            url=f"http://{LOOPBACK}:{known['port']}", ready=start.ready, by_address=by_address(service)
        )
        await _until_ready(guard, place, start.ready_s, logs / "app.log")
        running = Running(place=place, workers=workers, named=False, guard=guard)
        met = await _meet(place, workers, within_s=MET_S)
        _tell_workers(running, met)
        yield running
    finally:
        await guard.close()


@asynccontextmanager
async def attached(service: Service) -> AsyncIterator[Running]:
    """A service that runs already.

    Raises:
        StackFailed: Nothing answers there.
    """
    attach = service.file.attach
    assert attach is not None  # noqa: S101 - the caller asked
    place = Place(
        url=attach.url, ready=attach.ready, headers=from_environment(attach.headers),
        insecure=attach.insecure, by_address=by_address(service) and LOOPBACK in attach.url,
    )  # fmt: skip
    try:
        async with place.open() as client:
            await place.http(client).get(place.ready)
        met = await _meet(place, attach.workers, within_s=60.0)
    except (httpx.HTTPError, OSError) as error:
        raise StackFailed(
            without_credentials(
                f"nothing answers at {attach.url}{attach.ready} ({type(error).__name__}: {error})"
            )
        ) from None
    running = Running(place=place, workers=attach.workers or max(1, len(met)), named=False)
    _tell_workers(running, met)
    if met and attach.workers is None:
        running.notes.append(
            f"{len(met)} workers answered; one that gets {SHARE:.0%} of the connections or more would have been "
            f"missed with a probability below {DOUBT:.0%} (state [attach] workers to be sure)"
        )
    if by_address(service) and not place.by_address:
        running.notes.append("the service cannot tell our callers apart: all cells use the same limit")
    yield running


def _tell_workers(running: Running, met: set[str]) -> None:
    running.named = bool(met)
    if not met and running.workers != 1:
        running.notes.append(
            "the replies do not name their worker, so nobody can tell how many workers answered, and nothing can be "
            "shown to hold for several workers; kernel_lab/middleware.py names them (docs/any-app.md)"
        )


async def _start_store(guard: Guard, logs: Path) -> str:
    port = free_port()
    folder = guard.folder / "store"
    folder.mkdir()
    pid = await guard.start(
        "store", store.command(port=port, bus_port=None, folder=folder, log=logs / "store.log")
    )
    async with asyncio.timeout(15):
        async for _ in store.answering(port, pid):
            await asyncio.sleep(0.02)
    return store.url(port)


def _command(service: Service, start: Start, known: dict[str, str], log: Path) -> Command:
    def filled(text: str) -> str:
        for name, value in known.items():
            text = text.replace(f"{{{name}}}", value)
        return text

    return Command(
        argv=[filled(word) for word in shlex.split(start.command)],
        env={**os.environ, "PYTHONUNBUFFERED": "1", **{k: filled(v) for k, v in start.env.items()}},
        cwd=(service.folder / start.cwd).resolve(),
        log=log,
    )


async def _until_ready(guard: Guard, place: Place, within_s: float, log: Path) -> None:
    deadline = time.monotonic() + within_s
    seen = "nothing answered"
    while True:
        if (status := guard.status("app")) is not None:
            raise StackFailed(f"the command ended with {status}", f": {_last(log)}")
        try:
            async with asyncio.timeout(5), place.open() as client:
                reply = await place.http(client).get(place.ready)
            if reply.status < 500:
                return
            seen = f"{place.ready} answered {reply.status}"
        except (httpx.HTTPError, OSError, TimeoutError):
            pass
        if time.monotonic() > deadline:
            raise StackFailed(f"the service was not ready in {within_s:g} s ({seen})", f": {_last(log)}")
        await asyncio.sleep(0.05)


def _last(log: Path) -> str:
    """The last lines of a log, on one line."""
    with contextlib.suppress(OSError):
        lines = [
            line for line in log.read_text(encoding="utf-8", errors="replace").splitlines() if line.strip()
        ]
        return " / ".join(lines[-3:]) or "its log is empty"
    return "it has no log"


async def _meet(place: Place, expected: int | None, *, within_s: float) -> set[str]:
    """Open fresh connections until all workers have answered, or until it is certain enough that none is missing."""
    met: set[str] = set()
    quiet, enough = 0, math.ceil(math.log(DOUBT) / math.log(1 - SHARE))
    deadline = time.monotonic() + within_s
    while time.monotonic() < deadline and quiet < enough and (expected is None or len(met) < expected):
        try:
            async with place.open() as client:
                http = place.http(client)
                await http.get(place.ready)
        except (httpx.HTTPError, OSError):
            await asyncio.sleep(0.05)
            continue
        new = set(http.workers) - met
        if not http.workers and not met:
            return met
        met |= new
        if len(met) > MOST_WORKERS:
            raise StackFailed(
                f"more than {MOST_WORKERS:,} workers were named at {without_credentials(place.url)}; the header that "
                "names the worker may name the request"
            )
        # workers of a service that has just started come up one after another
        quiet = 0 if new or (expected is not None and len(met) < expected) else quiet + 1
    return met
