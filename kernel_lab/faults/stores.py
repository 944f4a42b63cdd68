"""Faults of stores: a server that dies, hangs, is slow or hangs up, a file that somebody else locks, a dead sidecar."""

from __future__ import annotations

import asyncio
import signal
import sqlite3
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager, closing, suppress
from functools import partial
from pathlib import Path

import psutil

from kernel_lab.deployments.deployment import Deployment
from kernel_lab.deployments.live import Live
from kernel_lab.deployments.ports import LOOPBACK
from kernel_lab.faults.fault import Fault, Inject, Landing
from kernel_lab.faults.workers import FIRST, POLL_S, TIMEOUT_S, not_ours, servers_of, until

REMOTE = "remote"
"""The server that keeps the kernel of every host's workers."""
ANSWER_S = 0.3
"""A server that does not answer within this time counts as hanging."""
SLOW_MS, EVERY_S = 100, 0.12
"""A slow server holds all commands for `SLOW_MS`, once in `EVERY_S`: about 80 of 100 ms."""
ROOM_BYTES, FILLED_BYTES, BATCH_BYTES, VALUE_BYTES = 2_000_000, 16_000_000, 500_000, 5_000
"""An evicting server has `ROOM_BYTES` of room above what it uses. It gets `FILLED_BYTES` of other keys, in batches."""


def store_of(live: Live) -> str:
    """The name of the store's server, of a cluster its first node's; empty where there is none."""
    names = servers_of(live).processes
    return next((name for name in ("store", "store-0") if name in names), "")


def no_store(live: Live) -> str:
    """Why the store of a live deployment cannot be disturbed; an empty string where it can."""
    return not_ours(live) or ("" if store_of(live) else "its store was there before, and is not ours")


def storeless(deployment: Deployment) -> str:
    """Why a deployment cannot have a fault of a store server; an empty string where it can."""
    return "" if deployment.store else "it has no store server"


def port_of_store(live: Live) -> int:
    """Where the store's server listens; of a cluster, its first node."""
    return servers_of(live).processes[store_of(live)].port


@asynccontextmanager
async def _kill(live: Live, _aim: str | None, arguments: Sequence[str] = ()) -> AsyncIterator[Landing]:
    async with _killed(live, store_of(live), arguments) as landing:
        yield landing


@asynccontextmanager
async def _killed(live: Live, name: str, arguments: Sequence[str] = ()) -> AsyncIterator[Landing]:
    """A server is killed, and started again on its port when this is left."""
    servers = servers_of(live)
    servers.signal(name, signal.SIGKILL)
    gone = await until(lambda: name in servers.ended())
    try:
        yield Landing(landed=gone, evidence=f"SIGKILL: {name} {'has ended' if gone else 'still runs'}")
    finally:
        if gone:
            await servers.restart(name, arguments=arguments)


def _appending(fsync: str) -> Callable[[Live], AbstractAsyncContextManager[Inject]]:
    """Have the store keep an append-only file before the traffic begins, and read it when it starts again."""

    @asynccontextmanager
    async def prepare(live: Live) -> AsyncIterator[Inject]:
        port = port_of_store(live)
        for command in (f"CONFIG SET appendfsync {fsync}", "CONFIG SET appendonly yes"):
            if (said := await ask_store(port, command)) != "+OK":
                raise ValueError(f"{command} was answered with {said or 'nothing'}")
        begun_s = time.monotonic()
        while "aof_rewrite_in_progress:0" not in (info := await information(port, "persistence")):
            if time.monotonic() - begun_s > TIMEOUT_S:
                raise ValueError(f"the append-only file was not written: {info}")
            await asyncio.sleep(POLL_S)
        yield partial(_kill, arguments=("--appendonly", "yes", "--appendfsync", fsync))

    return prepare


@asynccontextmanager
async def _evict(live: Live, _aim: str | None, policy: str) -> AsyncIterator[Landing]:
    """Give the store an evicting policy and little memory, and write other keys until it has evicted."""
    port = port_of_store(live)
    used = int(_field(await information(port, "memory"), "used_memory"))
    await ask_store(port, f"CONFIG SET maxmemory {used + ROOM_BYTES} maxmemory-policy {policy}")
    try:
        written = 0
        for number in range(FILLED_BYTES // BATCH_BYTES):
            said = await ask_store(port, _fill(number))
            if not said.startswith(":"):
                break
            written += BATCH_BYTES
        evicted = int(_field(await information(port, "stats"), "evicted_keys"))
        yield Landing(
            landed=evicted > 0,
            evidence=f"{policy}: after {written / 1e6:.0f} MB of other keys, {evicted} keys were evicted",
        )
    finally:
        await ask_store(port, "CONFIG SET maxmemory 0 maxmemory-policy noeviction")


def _fill(number: int) -> str:
    """Write a batch of other keys that never expire, as a cache beside ours would."""
    script = (
        f"for i=1,{BATCH_BYTES // VALUE_BYTES} do "
        f"redis.call('SET', 'other:{number}:'..i, string.rep('x', {VALUE_BYTES})) end return 1"
    )
    return f'EVAL "{script}" 0'


async def information(port: int, section: str) -> str:
    """A section of the store's ``INFO``; empty where there is no answer in time."""

    async def whole(reader: asyncio.StreamReader) -> bytes:
        size = int((await reader.readline())[1:])
        return await reader.readexactly(size)

    with suppress(ValueError, asyncio.IncompleteReadError):  # an error, or half an answer, tells nothing
        return await _answer(port, f"INFO {section}", whole)
    return ""


def _field(information: str, name: str) -> str:
    """A field of ``INFO``.

    Raises:
        ValueError: The server did not tell it.
    """
    for line in information.splitlines():
        if line.startswith(f"{name}:"):
            return line.partition(":")[2]
    raise ValueError(f"the store's INFO does not tell {name}")


def one_server(deployment: Deployment) -> str:
    """Why a deployment cannot have a fault of one store server; an empty string where it can."""
    return storeless(deployment) or (
        "" if deployment.store == "redis" else "its store is a cluster, and this fault is made for one server"
    )


@asynccontextmanager
async def _stop(live: Live, _aim: str | None) -> AsyncIterator[Landing]:
    servers, name = servers_of(live), store_of(live)
    servers.signal(name, signal.SIGSTOP)
    try:
        said = await ask_store(port_of_store(live), "PING")
        yield Landing(landed=not said, evidence=f"SIGSTOP: PING was answered with {said or 'nothing'}")
    finally:
        servers.signal(name, signal.SIGCONT)


@asynccontextmanager
async def _reset(live: Live, _aim: str | None) -> AsyncIterator[Landing]:
    said = await ask_store(port_of_store(live), "CLIENT KILL TYPE normal SKIPME yes")
    cut = int(said[1:]) if said.startswith(":") else 0
    yield Landing(landed=cut > 0, evidence=f"CLIENT KILL: {cut} connections were cut")


@asynccontextmanager
async def _slow(live: Live, _aim: str | None) -> AsyncIterator[Landing]:
    port = port_of_store(live)

    async def hold() -> None:
        while True:
            await ask_store(port, f"CLIENT PAUSE {SLOW_MS} ALL")
            await asyncio.sleep(EVERY_S)

    held = asyncio.create_task(hold())
    try:
        await asyncio.sleep(EVERY_S / 2)
        begun_s = time.monotonic()
        await ask_store(port, "PING")
        took_ms = 1000 * (time.monotonic() - begun_s)
        yield Landing(landed=took_ms > SLOW_MS / 10, evidence=f"PING took {took_ms:.0f} ms")
    finally:
        held.cancel()
        with suppress(asyncio.CancelledError):
            await held


async def ask_store(port: int, command: str) -> str:
    """The first line of a store's answer to an inline command; empty where there is none in time."""
    return (await _answer(port, command, asyncio.StreamReader.readline)).strip()


async def _answer(port: int, command: str, read: Callable[[asyncio.StreamReader], Awaitable[bytes]]) -> str:
    """Return what `read` takes of the store's answer to an inline command; empty if none came in time."""
    with suppress(OSError, TimeoutError):
        async with asyncio.timeout(ANSWER_S):
            reader, writer = await asyncio.open_connection(LOOPBACK, port)
            with closing(writer):
                writer.write(f"{command}\r\n".encode())
                return (await read(reader)).decode(errors="replace")
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


def _no_remote(live: Live) -> str:
    return not_ours(live) or ("" if REMOTE in servers_of(live).processes else "no remote kernel runs")


def _remoteless(deployment: Deployment) -> str:
    return "" if deployment.remote else "it has no remote kernel"


@asynccontextmanager
async def _kill_remote(live: Live, _aim: str | None) -> AsyncIterator[Landing]:
    async with _killed(live, REMOTE) as landing:
        yield landing


FAULTS = (
    Fault(
        name="kill_store",
        title="SIGKILL to the store, which is started again on its port and has kept nothing",
        inapplicable=no_store, excluded=storeless, inject=_kill, lasts=True,
    ),
    *(
        Fault(
            name=f"kill_store_{fsync}",
            title=f"SIGKILL to a store that keeps an append-only file, with appendfsync {fsync}",
            inapplicable=no_store, excluded=one_server, inject=_kill, prepare=_appending(fsync), lasts=True,
        )
        for fsync in ("everysec", "always")
    ),
    Fault(
        name="stop_store",
        title="SIGSTOP to the store, and SIGCONT after a while: it hangs, and its connections stay open",
        inapplicable=no_store, excluded=storeless, inject=_stop, lasts=True,
    ),
    Fault(
        name="slow_store",
        title=f"the store holds every command for up to {SLOW_MS} ms, for a while",
        inapplicable=no_store, excluded=storeless, inject=_slow, lasts=True,
    ),
    Fault(
        name="reset_store", title="every connection to the store is cut at once",
        inapplicable=no_store, excluded=storeless, inject=_reset,
    ),
    *(
        Fault(
            name=f"evict_{name}",
            title=f"the store gets {policy} and little memory, and other keys fill it",
            inapplicable=no_store, excluded=one_server, inject=partial(_evict, policy=policy), lasts=True,
        )
        for name, policy in (("store", "allkeys-lru"), ("volatile", "volatile-lru"))
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
    Fault(
        name="kill_remote", title="SIGKILL to the remote kernel, which is started again on its port a while later",
        inapplicable=_no_remote, excluded=_remoteless, inject=_kill_remote, lasts=True,
    ),
)  # fmt: skip
"""The faults of stores, in the order in which they are listed."""
