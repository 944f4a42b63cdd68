"""Faults of operations: what is changed beside a deployment that serves, or between its parts."""

from __future__ import annotations

import asyncio
import hashlib
import secrets
import signal
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from email.utils import parsedate_to_datetime

import psutil

from kernel_lab.deployments.deployment import Deployment
from kernel_lab.deployments.live import Live, Servers, StackFailed, StackUnavailable
from kernel_lab.deployments.native.binaries import find_faketime
from kernel_lab.faults.fault import Fault, Landing
from kernel_lab.faults.liveness import PATH
from kernel_lab.faults.stores import ask_store, no_store, one_server, port_of_store, store_of
from kernel_lab.faults.workers import FIRST, TIMEOUT_S, again, end, not_ours, servers_of, until
from kernel_lab.traffic.address import open_http

SECRET = "WEAVER_KERNEL_SECRET"  # noqa: S105 - the variable's name


def last_replica(live: Live) -> str:
    """The name of the replica that is changed alone."""
    return f"gunicorn-r{live.deployment.replicas - 1}"


def setting(servers: Servers, name: str, variable: str) -> str:
    """What a server's process has in its environment, as the kernel tells it."""
    return psutil.Process(servers.processes[name].pid).environ().get(variable, "")


@asynccontextmanager
async def _rotate(live: Live, _aim: str | None) -> AsyncIterator[Landing]:
    """The last replica gets the new secret at once, and the others when the fault ends."""
    servers, fresh = servers_of(live), {SECRET: secrets.token_hex(32)}
    old = _mark(setting(servers, last_replica(live), SECRET))
    await again(servers, last_replica(live), fresh)
    new = _mark(setting(servers, last_replica(live), SECRET))
    said = "a secret of its own" if live.deployment.replicas > 1 else "another secret"
    try:
        yield Landing(
            landed=old != new, evidence=f"{last_replica(live)} has {said if old != new else 'the old secret'}"
        )
    finally:
        for replica in range(live.deployment.replicas - 1):
            await again(servers, f"gunicorn-r{replica}", fresh)


def _mark(secret: str) -> str:
    """Return a text that tells two secrets apart and shows neither."""
    return hashlib.sha256(secret.encode()).hexdigest()


def _unsigned(deployment: Deployment) -> str:
    return "" if deployment.secret else "it has no secret that could be changed"


@asynccontextmanager
async def _cold(live: Live, _aim: str | None) -> AsyncIterator[Landing]:
    """The first replica is started while its store is away. The store comes back later with its data."""
    servers, store, port = servers_of(live), store_of(live), port_of_store(live)
    await end(servers, FIRST, signal.SIGTERM)
    # nobody writes any more, so nothing is lost by the fault itself
    saved = await ask_store(port, "SAVE")
    await end(servers, store, signal.SIGKILL)
    starting = asyncio.create_task(servers.restart(FIRST))
    try:
        up = await until(lambda: FIRST not in servers.ended() or starting.done())
        said = await ask_store(port, "PING")
        yield Landing(
            landed=up and not said and "OK" in saved,
            evidence=f"{FIRST} was started, and its store answers PING with {said or 'nothing'}",
        )
    finally:
        try:
            await servers.restart(store)
        except BaseException:
            starting.cancel()
            await asyncio.gather(starting, return_exceptions=True)
            raise
        try:
            await starting
        except StackFailed:  # it gave up without a store, so start it again, as an operator would
            await servers.restart(FIRST)


SKEW_S = 30
"""How far the clock of the last replica is ahead: longer than the windows of the limits under a fault."""


@asynccontextmanager
async def _skew(live: Live, _aim: str | None) -> AsyncIterator[Landing]:
    """The last replica is started again, with a clock that is ahead; later once more, with the right clock.

    libfaketime must move the monotonic clock too: with ``DONT_FAKE_MONOTONIC`` of version 0.9.10, Python's
    ``time.sleep`` fails. It must not move the times of files, by which gunicorn sees whether a worker hangs.
    """
    servers, replica = servers_of(live), last_replica(live)
    preloaded = setting(servers, replica, "LD_PRELOAD")
    libraries = f"{find_faketime()} {preloaded}".rstrip()
    await again(servers, replica, {"LD_PRELOAD": libraries, "FAKETIME": f"+{SKEW_S}s", "NO_FAKE_STAT": "1"})
    ahead_s = await seconds_ahead(live.replica_urls[-1])
    try:
        yield Landing(
            landed=abs(ahead_s - SKEW_S) < SKEW_S / 2,
            evidence=f"the clock of {replica} is {ahead_s:.0f} s ahead, by the date of its answer",
        )
    finally:
        await again(servers, replica, {"LD_PRELOAD": preloaded, "FAKETIME": "+0s"})


async def seconds_ahead(url: str) -> float:
    """How far the clock of the worker that answers is ahead of ours, in seconds; the date has whole seconds."""
    async with open_http(url, kept=False, timeout_s=TIMEOUT_S) as http:
        reply = await http.get(PATH)
    return parsedate_to_datetime(reply.headers["Date"]).timestamp() - time.time()


def _same_clock(deployment: Deployment) -> str:
    """Why no replica is given a clock of its own; an empty string where one is."""
    if why := one_server(deployment):
        return why
    if deployment.state != "{store}" or deployment.store_replica:
        return "the clock is set on `redis`, whose limits and lives of tokens it has too"
    try:
        find_faketime()
    except StackUnavailable as error:
        return str(error)
    return ""


FAULTS = (
    Fault(
        name="rotate_secret",
        title="the last replica gets another signing secret, and a while later the others do",
        inapplicable=not_ours, excluded=_unsigned, inject=_rotate, hits=-1, lasts=True,
    ),
    Fault(
        name="no_store_at_start",
        title="the first replica is started while its store is away; later the store comes with what it had",
        inapplicable=no_store, excluded=one_server, inject=_cold, lasts=True,
    ),
    Fault(
        name="clock_skew",
        title=f"the last replica is started again with a clock that is {SKEW_S} s ahead, for a while",
        inapplicable=not_ours, excluded=_same_clock, inject=_skew, hits=-1, lasts=True,
    ),
)  # fmt: skip
"""The faults of operations, in the order in which they are listed."""
