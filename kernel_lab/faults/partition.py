"""A proxy between a store and its workers cuts them apart: both go on, and no byte passes."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import psutil

from kernel_lab.deployments.live import Live, Servers
from kernel_lab.deployments.ports import LOOPBACK
from kernel_lab.faults.fault import Fault, Inject, Landing, unprepared
from kernel_lab.faults.proxy import Proxy
from kernel_lab.faults.stores import ask_store, no_store, one_server, port_of_store
from kernel_lab.faults.workers import FIRST, again, servers_of


async def lead_through(proxy: Proxy, servers: Servers, port: int) -> None:
    """Restart the first replica, whose workers then reach the store on `port` through the proxy."""
    there = f"{LOOPBACK}:{port}"
    env = {
        name: value.replace(there, f"{LOOPBACK}:{proxy.port}")
        for name, value in psutil.Process(servers.processes[FIRST].pid).environ().items()
        if name.startswith("LAB_") and there in value
    }
    await again(servers, FIRST, env)


@asynccontextmanager
async def _through_proxy(live: Live) -> AsyncIterator[Inject]:
    """Put a proxy between the first replica and the store before the traffic begins."""
    servers, port = servers_of(live), port_of_store(live)
    async with Proxy(LOOPBACK, port) as proxy:
        await lead_through(proxy, servers, port)

        @asynccontextmanager
        async def partition(_live: Live, _aim: str | None) -> AsyncIterator[Landing]:
            passed = (await proxy.counts()).requests
            await proxy.partition("hold")
            try:
                said = await ask_store(proxy.port, "PING")
                direct = await ask_store(port, "PING")
                yield Landing(
                    landed=passed > 0 and not said and bool(direct),
                    evidence=f"after {passed} requests, PING is answered with {said or 'nothing'} through the "
                    f"proxy and with {direct or 'nothing'} beside it",
                )
            finally:
                await proxy.heal()

        yield partition


FAULTS = (
    Fault(
        name="partition_store",
        title="the first replica and its store are cut apart for a while: no byte passes, connections stay",
        inapplicable=no_store, excluded=one_server,
        inject=unprepared("no proxy was put between the first replica and the store"),
        prepare=_through_proxy, lasts=True,
    ),
)  # fmt: skip
"""The one fault between a store and its workers."""
