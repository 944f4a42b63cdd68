"""Faults of workers: processes that end, stop, or are replaced."""

from __future__ import annotations

import asyncio
import operator
import os
import signal
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager, suppress
from functools import partial

from kernel_lab.deployments.deployment import Deployment
from kernel_lab.deployments.live import Live, Servers, StackFailed
from kernel_lab.faults.fault import Fault, Landing

POLL_S = 0.05
TIMEOUT_S = 30.0
"""The most seconds that a step of the servers may take. After that the fault did not land."""
FIRST = "gunicorn-r0"


def not_ours(live: Live) -> str:
    """Why the processes of a live deployment cannot be disturbed; an empty string where they can."""
    return (
        "" if live.servers is not None else "somebody else started its processes, and only they may end them"
    )


def servers_of(live: Live) -> Servers:
    """The servers of a deployment that the lab started itself; `not_ours` says where it did not."""
    if live.servers is None:
        raise ValueError(not_ours(live))
    return live.servers


async def until(holds: Callable[[], bool]) -> bool:
    """Wait until something holds; False if it did not in time."""
    with suppress(TimeoutError):
        async with asyncio.timeout(TIMEOUT_S):
            while not holds():  # noqa: ASYNC110 - processes come and go without an event
                await asyncio.sleep(POLL_S)
            return True
    return False


async def again(servers: Servers, name: str, env: Mapping[str, str]) -> None:
    """Stop a server and start it with other settings.

    Raises:
        StackFailed: It did not end, or did not start again.
    """
    await end(servers, name, signal.SIGTERM)
    await servers.restart(name, env=env)


async def end(servers: Servers, name: str, number: signal.Signals) -> None:
    """End a server, and wait until it is gone.

    Raises:
        StackFailed: It did not end.
    """
    servers.signal(name, number)
    if not await until(lambda: name in servers.ended()):
        raise StackFailed(f"{name} did not end after {number.name}")


@asynccontextmanager
async def _kill(live: Live, aim: str | None) -> AsyncIterator[Landing]:
    servers = servers_of(live)
    if aim is not None:
        killed = servers.kill_worker(aim)
        said = f"SIGKILL was sent to worker {aim}" if killed else f"there is no worker {aim} to kill"
        yield Landing(landed=killed, evidence=said)
        return
    yield await _end_worker(servers, signal.SIGKILL)


@asynccontextmanager
async def _recycle(live: Live, _aim: str | None) -> AsyncIterator[Landing]:
    yield await _end_worker(servers_of(live), signal.SIGTERM)


async def _end_worker(servers: Servers, number: signal.Signals) -> Landing:
    """Have the oldest worker end, and wait until it is gone and another one stands in its place."""
    before = servers.workers(0)
    pid = before[0]
    os.kill(pid, number)
    gone = await until(lambda: pid not in (now := servers.workers(0)) and len(now) >= len(before))
    said = f"{number.name} was sent to worker {pid}"
    return Landing(landed=gone, evidence=f"{said}: {'another one took its place' if gone else 'it went on'}")


@asynccontextmanager
async def _stop(live: Live, _aim: str | None) -> AsyncIterator[Landing]:
    pid = servers_of(live).workers(0)[0]
    os.kill(pid, signal.SIGSTOP)
    try:
        stopped = await until(lambda: _state(pid) == "T")
        yield Landing(landed=stopped, evidence=f"worker {pid} is {'stopped' if stopped else 'not stopped'}")
    finally:
        with suppress(ProcessLookupError):
            os.kill(pid, signal.SIGCONT)


def _state(pid: int) -> str:
    """The state of a process, as ``/proc`` tells it: ``T`` is stopped; empty where it is not known."""
    try:
        with open(f"/proc/{pid}/stat", encoding="ascii", errors="replace") as stat:  # noqa: PTH123
            return stat.read().rpartition(")")[2].split()[0]
    except OSError:
        return ""


@asynccontextmanager
async def _reload(live: Live, _aim: str | None) -> AsyncIterator[Landing]:
    servers = servers_of(live)
    before = set(servers.workers(0))
    await servers.reload(0)
    left = before & set(servers.workers(0))
    said = f"SIGHUP: {len(before) - len(left)} of {len(before)} workers were replaced"
    yield Landing(landed=not left, evidence=said)


@asynccontextmanager
async def _restart(live: Live, _aim: str | None) -> AsyncIterator[Landing]:
    servers = servers_of(live)
    before = set(servers.workers(0))
    servers.signal(FIRST, signal.SIGTERM)
    ended = await until(lambda: FIRST in servers.ended())
    if ended:
        await servers.restart(FIRST)
    kept = before & set(servers.workers(0)) if ended else before
    said = f"gunicorn was stopped and started: {len(before) - len(kept)} of {len(before)} workers are new"
    yield Landing(landed=ended and not kept, evidence=said)


@asynccontextmanager
async def _roll(live: Live, _aim: str | None) -> AsyncIterator[Landing]:
    servers = servers_of(live)
    fresh = 0
    for replica in range(live.deployment.replicas):
        before = set(servers.workers(replica))
        await servers.reload(replica)
        fresh += not before & set(servers.workers(replica))
    said = f"{fresh} of {live.deployment.replicas} replicas have new workers only, one after the other"
    yield Landing(landed=fresh == live.deployment.replicas, evidence=said)


@asynccontextmanager
async def _scale(live: Live, _aim: str | None, number: signal.Signals) -> AsyncIterator[Landing]:
    servers = servers_of(live)
    before = len(servers.workers(0))
    moved = operator.gt if number is signal.SIGTTIN else operator.lt
    servers.signal(FIRST, number)
    landed = await until(lambda: moved(len(servers.workers(0)), before))
    said = f"{number.name}: {before} workers before, {len(servers.workers(0))} after"
    yield Landing(landed=landed, evidence=said)


def _no_second(deployment: Deployment) -> str:
    return "" if deployment.workers > 1 else "there is one worker, and one must stay"


def _no_replicas(deployment: Deployment) -> str:
    return "" if deployment.replicas > 1 else "there is one replica"


KILL_WORKER = Fault(
    name="kill_worker",
    title="SIGKILL to a worker that is answering; gunicorn starts another one",
    inapplicable=not_ours,
    inject=_kill,
)
FAULTS = (
    KILL_WORKER,
    Fault(
        name="stop_worker",
        title="SIGSTOP to a worker, and SIGCONT after a while: it hangs, and its socket stays open",
        inapplicable=not_ours,
        inject=_stop,
        lasts=True,
    ),
    Fault(
        name="recycle",
        title="one worker ends by itself and is replaced, as max_requests does it",
        inapplicable=not_ours,
        inject=_recycle,
    ),
    Fault(
        name="reload",
        title="SIGHUP: every worker of the first replica is replaced, while it serves",
        inapplicable=not_ours,
        inject=_reload,
    ),
    Fault(
        name="restart",
        title="gunicorn is stopped and started: an upgrade, or a host that reboots",
        inapplicable=not_ours,
        inject=_restart,
    ),
    Fault(
        name="roll_replicas",
        title="one replica after the other gets new workers",
        inapplicable=not_ours,
        excluded=_no_replicas,
        inject=_roll,
    ),
    Fault(
        name="scale_up",
        title="SIGTTIN: one worker more",
        inapplicable=not_ours,
        inject=partial(_scale, number=signal.SIGTTIN),
    ),
    Fault(
        name="scale_down",
        title="SIGTTOU: one worker less",
        inapplicable=not_ours,
        excluded=_no_second,
        inject=partial(_scale, number=signal.SIGTTOU),
    ),
)
"""The faults of workers, in the order in which they are listed."""
