"""Faults of operations: what is changed beside a deployment that serves, or between its parts."""

from __future__ import annotations

import asyncio
import hashlib
import secrets
import signal
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import psutil

from kernel_lab.deployments.deployment import Deployment
from kernel_lab.deployments.live import Live, Servers, StackFailed
from kernel_lab.faults.fault import Fault, Landing
from kernel_lab.faults.stores import ask_store, no_store, one_server, port_of_store, store_of
from kernel_lab.faults.workers import FIRST, again, end, not_ours, servers_of, until

SECRET = "WEAVER_KERNEL_SECRET"  # noqa: S105 - the variable's name


def _last(live: Live) -> str:
    return f"gunicorn-r{live.deployment.replicas - 1}"


def _setting(servers: Servers, name: str, variable: str) -> str:
    """What a server's process has in its environment, as the kernel tells it."""
    return psutil.Process(servers.processes[name].pid).environ().get(variable, "")


@asynccontextmanager
async def _rotate(live: Live, _aim: str | None) -> AsyncIterator[Landing]:
    """The last replica gets the new secret at once, and the others when the fault ends."""
    servers, fresh = servers_of(live), {SECRET: secrets.token_hex(32)}
    old = _mark(_setting(servers, _last(live), SECRET))
    await again(servers, _last(live), fresh)
    new = _mark(_setting(servers, _last(live), SECRET))
    said = "a secret of its own" if live.deployment.replicas > 1 else "another secret"
    try:
        yield Landing(
            landed=old != new, evidence=f"{_last(live)} has {said if old != new else 'the old secret'}"
        )
    finally:
        for replica in range(live.deployment.replicas - 1):
            await again(servers, f"gunicorn-r{replica}", fresh)


def _mark(secret: str) -> str:
    """What tells two secrets apart and shows neither."""
    return hashlib.sha256(secret.encode()).hexdigest()


def _unsigned(deployment: Deployment) -> str:
    return "" if deployment.secret else "it has no secret that could be changed"


@asynccontextmanager
async def _cold(live: Live, _aim: str | None) -> AsyncIterator[Landing]:
    """The first replica is started while its store is away; the store comes back later, with what it had."""
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
        await servers.restart(store)
        try:
            await starting
        except StackFailed:  # it gave up without a store, and is started again as an operator would
            await servers.restart(FIRST)


NO_SKEW = (
    "no clock of its own can be given to a replica: under libfaketime 0.9.10 `time.sleep` of Python 3.11 fails, and "
    "gunicorn ends"
)
"""Why `clock_skew` is skipped everywhere; it was tried with Debian's package."""


@asynccontextmanager
async def _skew(_live: Live, _aim: str | None) -> AsyncIterator[Landing]:
    yield Landing(landed=False, evidence=NO_SKEW)


FAULTS = (
    Fault(
        name="rotate_secret",
        title="the last replica gets another signing secret, and a while later the others do",
        inapplicable=not_ours, excluded=_unsigned, inject=_rotate, lasts=True,
    ),
    Fault(
        name="no_store_at_start",
        title="the first replica is started while its store is away; later the store comes with what it had",
        inapplicable=no_store, excluded=one_server, inject=_cold, lasts=True,
    ),
    Fault(
        name="clock_skew",
        title="one replica's clock is 30 s off; skipped everywhere, and the reason is in faults.csv",
        inapplicable=lambda _live: NO_SKEW, excluded=lambda _deployment: NO_SKEW, inject=_skew,
    ),
)  # fmt: skip
"""The faults of operations, in the order in which they are listed."""
