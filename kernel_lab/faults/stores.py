"""Faults of stores: a server that dies, hangs, is slow or hangs up, a file that somebody else locks, a dead sidecar."""

from __future__ import annotations

import asyncio
import signal
import sqlite3
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, closing, suppress
from pathlib import Path

import psutil

from kernel_lab.deployments.deployment import Deployment
from kernel_lab.deployments.live import Live
from kernel_lab.deployments.ports import LOOPBACK
from kernel_lab.faults.fault import Fault, Landing
from kernel_lab.faults.workers import FIRST, not_ours, servers_of, until

ANSWER_S = 0.3
"""A server that does not answer for so long hangs."""
SLOW_MS, EVERY_S = 100, 0.12
"""A slow server holds every command for so long, so often: about 80 of 100 ms."""


def _store(live: Live) -> str:
    """The name of the store's server, of a cluster its first node's; empty where there is none."""
    names = servers_of(live).processes
    return next((name for name in ("store", "store-0") if name in names), "")


def _no_store(live: Live) -> str:
    return not_ours(live) or ("" if _store(live) else "its store was there before, and is not ours")


def _storeless(deployment: Deployment) -> str:
    return "" if deployment.store else "it has no store server"


def _port(live: Live) -> int:
    return servers_of(live).processes[_store(live)].port


@asynccontextmanager
async def _kill(live: Live, _aim: str | None) -> AsyncIterator[Landing]:
    servers, name = servers_of(live), _store(live)
    servers.signal(name, signal.SIGKILL)
    gone = await until(lambda: name in servers.ended())
    try:
        yield Landing(landed=gone, evidence=f"SIGKILL: {name} {'has ended' if gone else 'still runs'}")
    finally:
        if gone:
            await servers.restart(name)


@asynccontextmanager
async def _stop(live: Live, _aim: str | None) -> AsyncIterator[Landing]:
    servers, name = servers_of(live), _store(live)
    servers.signal(name, signal.SIGSTOP)
    try:
        said = await _ask(_port(live), "PING")
        yield Landing(landed=not said, evidence=f"SIGSTOP: PING was answered with {said or 'nothing'}")
    finally:
        servers.signal(name, signal.SIGCONT)


@asynccontextmanager
async def _reset(live: Live, _aim: str | None) -> AsyncIterator[Landing]:
    said = await _ask(_port(live), "CLIENT KILL TYPE normal SKIPME yes")
    cut = int(said[1:]) if said.startswith(":") else 0
    yield Landing(landed=cut > 0, evidence=f"CLIENT KILL: {cut} connections were cut")


@asynccontextmanager
async def _slow(live: Live, _aim: str | None) -> AsyncIterator[Landing]:
    port = _port(live)

    async def hold() -> None:
        while True:
            await _ask(port, f"CLIENT PAUSE {SLOW_MS} ALL")
            await asyncio.sleep(EVERY_S)

    held = asyncio.create_task(hold())
    try:
        await asyncio.sleep(EVERY_S / 2)
        begun_s = time.monotonic()
        await _ask(port, "PING")
        took_ms = 1000 * (time.monotonic() - begun_s)
        yield Landing(landed=took_ms > SLOW_MS / 10, evidence=f"PING took {took_ms:.0f} ms")
    finally:
        held.cancel()
        with suppress(asyncio.CancelledError):
            await held


async def _ask(port: int, command: str) -> str:
    """The first line of a store's answer to an inline command; empty where there is none in time."""
    with suppress(OSError, TimeoutError):
        async with asyncio.timeout(ANSWER_S):
            reader, writer = await asyncio.open_connection(LOOPBACK, port)
            with closing(writer):
                writer.write(f"{command}\r\n".encode())
                return (await reader.readline()).decode(errors="replace").strip()
    return ""


def _file(live: Live) -> Path | None:
    """The SQLite file of a deployment, which its first write makes; None before that."""
    return next(iter(sorted(servers_of(live).files.glob("*.db"))), None)


@asynccontextmanager
async def _lock(live: Live, _aim: str | None) -> AsyncIterator[Landing]:
    with closing(_connect(live)) as holder, closing(_connect(live)) as other:
        # somebody may be writing at this instant: wait a little for the lock
        holder.execute("PRAGMA busy_timeout = 2000")
        holder.execute("BEGIN IMMEDIATE")
        try:
            other.execute("BEGIN IMMEDIATE")
            other.execute("ROLLBACK")
            said = ""
        except sqlite3.OperationalError as error:
            said = str(error)
        try:
            yield Landing(landed="locked" in said, evidence=f"a second writer was told: {said or 'go on'}")
        finally:
            holder.execute("ROLLBACK")


def _connect(live: Live) -> sqlite3.Connection:
    path = _file(live)
    if path is None:
        raise ValueError("it has written no SQLite file")
    return sqlite3.connect(path, isolation_level=None, timeout=0)


def _sidecar(live: Live) -> psutil.Process | None:
    """The process that keeps the kernel for the first replica's workers."""
    arbiter = psutil.Process(servers_of(live).processes[FIRST].pid)
    for child in arbiter.children():
        with suppress(psutil.Error):
            if any("sidecar" in word for word in child.cmdline()[1:4]):
                return child
    return None


def _no_sidecar(live: Live) -> str:
    return not_ours(live) or ("" if _sidecar(live) else "no sidecar runs")


def _sidecarless(deployment: Deployment) -> str:
    return "" if deployment.sidecar else "it has no sidecar"


def _fileless(deployment: Deployment) -> str:
    return "" if "sqlite:" in deployment.state else "it keeps no SQLite file"


@asynccontextmanager
async def _kill_sidecar(live: Live, _aim: str | None) -> AsyncIterator[Landing]:
    killed = _sidecar(live)
    if killed is None:
        raise ValueError(_no_sidecar(live))
    killed.kill()
    fresh = await until(lambda: (now := _sidecar(live)) is not None and now.pid != killed.pid)
    said = f"SIGKILL to sidecar {killed.pid}: {'another one was started' if fresh else 'none took its place'}"
    yield Landing(landed=fresh, evidence=said)


FAULTS = (
    Fault(
        name="kill_store",
        title="SIGKILL to the store, which is started again on its port and has kept nothing",
        inapplicable=_no_store, excluded=_storeless, inject=_kill, lasts=True,
    ),
    Fault(
        name="stop_store",
        title="SIGSTOP to the store, and SIGCONT after a while: it hangs, and its connections stay open",
        inapplicable=_no_store, excluded=_storeless, inject=_stop, lasts=True,
    ),
    Fault(
        name="slow_store",
        title=f"the store holds every command for up to {SLOW_MS} ms, for a while",
        inapplicable=_no_store, excluded=_storeless, inject=_slow, lasts=True,
    ),
    Fault(
        name="reset_store", title="every connection to the store is cut at once",
        inapplicable=_no_store, excluded=_storeless, inject=_reset,
    ),
    Fault(
        name="lock_store",
        title="another process holds the write lock of the SQLite file for a while",
        inapplicable=not_ours, excluded=_fileless, inject=_lock, lasts=True,
    ),
    Fault(
        name="kill_sidecar", title="SIGKILL to the sidecar; its arbiter starts another one, with an empty kernel",
        inapplicable=_no_sidecar, excluded=_sidecarless, inject=_kill_sidecar,
    ),
)  # fmt: skip
"""The faults of stores, in the order in which they are listed."""
