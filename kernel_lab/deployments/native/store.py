"""The Redis or Valkey that a deployment's state lives in: one server, or a cluster of three."""

from __future__ import annotations

import asyncio
import contextlib
import os
from collections.abc import AsyncGenerator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from kernel_lab.deployments.native.binaries import find_store
from kernel_lab.deployments.native.guarded import POLL_S, Command
from kernel_lab.deployments.ports import LOOPBACK

if TYPE_CHECKING:
    from redis.asyncio import Redis

REPLICA = "store-replica"
"""The name of the server that copies ``store``."""
NODES = 3
"""The fewest servers that make a cluster."""
_SLOTS = 16_384


def command(
    *,
    port: int,
    bus_port: int | None,
    folder: Path,
    log: Path,
    replicated: bool = False,
    primary: int | None = None,
) -> Command:
    """The command of one server with its files in `folder`, which must exist.

    With a `bus_port`, the server is a node of a cluster.

    A full memory refuses writes: a store that evicted would forget revocations. Nothing is kept on disk, unless the
    server is `replicated` or copies the `primary` on that port.

    Raises:
        StackUnavailable: There is no such server.
    """
    argv = [
        str(find_store().path), "--bind", LOOPBACK, "--port", str(port), "--dir", str(folder),
        "--save", "", "--maxmemory-policy", "noeviction",
        "--appendonly", "yes" if replicated or primary else "no", "--repl-diskless-sync-delay", "0",
    ]  # fmt: skip
    if primary is not None:
        argv += ["--replicaof", LOOPBACK, str(primary)]
    if bus_port is not None:
        argv += [
            "--cluster-enabled", "yes", "--cluster-port", str(bus_port),
            "--cluster-config-file", f"nodes-{port}.conf", "--cluster-node-timeout", "2000",
        ]  # fmt: skip
    return Command(argv=argv, env=os.environ, cwd=folder, log=log)


def url(port: int) -> str:
    """The text that replaces ``{store}`` with one server."""
    return f"redis://{LOOPBACK}:{port}/0"


def cluster_url(ports: Sequence[int]) -> str:
    """The text that replaces ``{store}`` with a cluster."""
    return "redis+cluster://" + ",".join(f"{LOOPBACK}:{port}" for port in ports)


async def answering(port: int, pid: int) -> AsyncGenerator[str]:
    """Yield what is missing until the process `pid` answers on the port, and not an older server."""
    from redis.exceptions import RedisError  # noqa: PLC0415 - see _client

    async with _client(port) as client:
        while True:
            with contextlib.suppress(RedisError):
                if (await client.info("server"))["process_id"] == pid:
                    return
            yield "does not answer yet"


async def following(port: int, pid: int) -> AsyncGenerator[str]:
    """Yield what is missing until the process `pid` answers on the port and has copied its primary."""
    async for state in answering(port, pid):
        yield state
    from redis.exceptions import RedisError  # noqa: PLC0415 - see _client

    async with _client(port) as client:
        while True:
            with contextlib.suppress(RedisError):
                if (await client.info("replication")).get("master_link_status") == "up":
                    return
            yield "has not copied its primary yet"


async def form_cluster(nodes: Sequence[tuple[int, int]]) -> None:
    """Make one cluster of empty nodes that answer, given as ``(port, bus_port)``."""
    share = _SLOTS // len(nodes)
    for index, (port, _) in enumerate(nodes):
        last = _SLOTS - 1 if index == len(nodes) - 1 else (index + 1) * share - 1
        async with _client(port) as client:
            await _cluster(client, "ADDSLOTSRANGE", index * share, last)
            # distinct epochs: nodes that all claim epoch 0 would first have to settle which one wins
            await _cluster(client, "SET-CONFIG-EPOCH", index + 1)
            for other, bus_port in nodes[:index]:
                await _cluster(client, "MEET", LOOPBACK, other, bus_port)


async def until_whole(ports: Sequence[int]) -> None:
    """Wait until each node of a cluster knows all the others and finds every slot served."""
    for port in ports:
        async with _client(port) as client:
            while True:
                info = str(await _cluster(client, "INFO"))
                if "cluster_state:ok" in info and f"cluster_known_nodes:{len(ports)}" in info:
                    break
                await asyncio.sleep(POLL_S)


async def _cluster(client: Redis, *words: str | int) -> object:
    return await client.execute_command("CLUSTER", *words)  # type: ignore[no-untyped-call]


def _client(port: int) -> Redis:
    """A client that does not retry by itself: the stack's code asks again until its own time is over."""
    from redis.asyncio import Redis  # noqa: PLC0415 - 0.2 s of import, for deployments with a store only
    from redis.asyncio.retry import Retry  # noqa: PLC0415
    from redis.backoff import NoBackoff  # noqa: PLC0415

    return Redis(
        host=LOOPBACK, port=port, socket_timeout=0.5, socket_connect_timeout=0.5, retry=Retry(NoBackoff(), 0),
        decode_responses=True,
    )  # fmt: skip
