"""One process asks one server over three clients: CPU and calls per second, near and 1 ms away.

Run it by hand, with ``valkey-glide`` installed beside the lab: ``python -m beside_upstream.connections``.
The figures of ``docs/decisions/0017-bridge.md`` come from it. CPU is the process's, its threads included; the
server and the proxy that puts distance in are other processes.
"""

from __future__ import annotations

import asyncio
import time
from collections import defaultdict
from collections.abc import Awaitable, Callable
from statistics import median
from typing import Any

from redis.asyncio import BlockingConnectionPool, Redis
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff

from beside_upstream.servers import server
from kernel_lab.faults.proxy import Proxy
from lab.state.redis.channel import Channel, Place

LOOPBACK = "127.0.0.1"
CALLERS = (1, 64, 256)
RTTS_MS = (0.0, 1.0)
ROUNDS = 5
LASTS_S = 0.6
Ask = Callable[[], Awaitable[Any]]
Close = Callable[[], Awaitable[Any]]


async def channel(port: int) -> tuple[Ask, Close]:
    """The lab's own."""
    ours = Channel(
        Place(host=LOOPBACK, port=port), timeout_s=20, examine=lambda _: None, ended=lambda _: None
    )

    async def close() -> None:
        ours.close()

    return lambda: ours.send(("EXISTS", "key")), close


async def redis_asyncio(port: int) -> tuple[Ask, Close]:
    """A pool with a connection for each caller, hiredis, and no retries."""
    pool = BlockingConnectionPool(
        host=LOOPBACK, port=port, max_connections=max(CALLERS), retry=Retry(NoBackoff(), 0)
    )
    client = Redis(connection_pool=pool)

    async def close() -> None:
        await client.aclose()
        await pool.aclose()

    return lambda: client.exists("key"), close


async def valkey_glide(port: int) -> tuple[Ask, Close]:
    """The official client, over its Rust core."""
    import glide  # type: ignore[import-not-found] # noqa: PLC0415 - no dependency of the lab

    client = await glide.GlideClient.create(
        glide.GlideClientConfiguration(
            [glide.NodeAddress(LOOPBACK, port)], request_timeout=20_000, inflight_requests_limit=2_000
        )
    )
    return lambda: client.exists(["key"]), client.close


CLIENTS = {"our channel": channel, "`redis.asyncio`": redis_asyncio, "`valkey-glide`": valkey_glide}


async def measured(ask: Ask, callers: int) -> tuple[float, float]:
    """CPU per call in µs, and calls per second."""
    answered = 0
    until_s = time.monotonic() + LASTS_S

    async def caller() -> None:
        nonlocal answered
        while time.monotonic() < until_s:
            await ask()
            answered += 1

    cpu_s, began_s = time.process_time(), time.monotonic()
    await asyncio.gather(*(caller() for _ in range(callers)))
    return 1e6 * (time.process_time() - cpu_s) / answered, answered / (time.monotonic() - began_s)


async def main() -> None:
    """Measure in rounds, each client in its turn; print medians as rows of a table."""
    found: dict[tuple[str, float, int], list[tuple[float, float]]] = defaultdict(list)
    with server() as valkey:
        async with Proxy(LOOPBACK, valkey.port) as proxy:
            await proxy.set_rtt(RTTS_MS[1])
            for rtt_ms, port in zip(RTTS_MS, (valkey.port, proxy.port), strict=True):
                for name, opened in CLIENTS.items():
                    ask, close = await opened(port)
                    await measured(ask, max(CALLERS))  # every connection is open
                    for callers in CALLERS:
                        for _ in range(ROUNDS):
                            found[name, rtt_ms, callers].append(await measured(ask, callers))
                    await close()
    print("| client | distance | callers | CPU per call | calls per second |")
    print("|---|---|---|---|---|")
    for (name, rtt_ms, callers), rounds in found.items():
        spent_us, per_s = (median(one) for one in zip(*rounds, strict=True))
        print(f"| {name} | {rtt_ms:g} ms | {callers} | {spent_us:.0f} µs | {per_s:,.0f} |")


if __name__ == "__main__":
    asyncio.run(main())
