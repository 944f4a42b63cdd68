"""A failover: the store's server dies, and a replica that lags behind takes its place at its address."""

from __future__ import annotations

import asyncio
import signal
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from kernel_lab.deployments.deployment import Deployment
from kernel_lab.deployments.live import Live
from kernel_lab.deployments.ports import LOOPBACK
from kernel_lab.faults.fault import Fault, Inject, Landing, unprepared
from kernel_lab.faults.partition import lead_through
from kernel_lab.faults.proxy import Proxy
from kernel_lab.faults.stores import ask_store, information, no_store, port_of_store
from kernel_lab.faults.workers import POLL_S, TIMEOUT_S, servers_of, until

PRIMARY, REPLICA = "store", "store-replica"
LAG_S = 4.0
"""The seconds before the promotion during which nothing reaches the replica, while the primary answers as usual."""


@asynccontextmanager
async def _behind_an_address(live: Live) -> AsyncIterator[Inject]:
    """Give the store an address that can move, and put a proxy between the primary and its replica.

    The workers reach the store through a proxy, as they would reach it through the name or the address that a
    failover moves to the promoted server. Both proxies run before the traffic begins.
    """
    servers = servers_of(live)
    primary, replica = port_of_store(live), servers.processes[REPLICA].port
    async with Proxy(LOOPBACK, primary) as address, Proxy(LOOPBACK, primary) as link:
        await bring_about(
            replica, f"REPLICAOF {LOOPBACK} {link.port}", master_port=str(link.port), master_link_status="up"
        )
        await lead_through(address, servers, primary)

        @asynccontextmanager
        async def fail_over(_live: Live, _aim: str | None) -> AsyncIterator[Landing]:
            await link.partition("hold")
            await asyncio.sleep(LAG_S)
            carried_out = int((await _replication(primary))["master_repl_offset"])
            servers.signal(PRIMARY, signal.SIGKILL)
            gone = await until(lambda: PRIMARY in servers.ended())
            received = int((await _replication(replica))["slave_repl_offset"])
            await bring_about(replica, "REPLICAOF NO ONE", role="master")
            await address.lead_to(replica)
            try:
                yield Landing(
                    landed=gone and received < carried_out,
                    evidence=f"the replica was promoted and lacks the last {carried_out - received} "
                    f"bytes of what the primary had carried out; the primary {'has ended' if gone else 'still runs'}",
                )
            finally:
                if gone:  # it comes back as a replica of the server that was promoted
                    await servers.restart(PRIMARY, arguments=("--replicaof", LOOPBACK, str(replica)))

        yield fail_over


async def bring_about(port: int, command: str, **wanted: str) -> None:
    """Send a command to a store until its replication is as wanted; a store may be late with an answer.

    Raises:
        ValueError: The replication is still not as wanted after `TIMEOUT_S`.
    """
    deadline_s = time.monotonic() + TIMEOUT_S
    while True:
        await ask_store(port, command)
        told = await _replication(port)
        if all(told.get(name) == value for name, value in wanted.items()):
            return
        if time.monotonic() > deadline_s:
            raise ValueError(f"{command}: the store's replication is {told}, and should have {wanted}")
        await asyncio.sleep(POLL_S)


async def _replication(port: int) -> dict[str, str]:
    """Return what a store reports about its replication.

    Raises:
        ValueError: The store does not answer for `TIMEOUT_S`.
    """
    deadline_s = time.monotonic() + TIMEOUT_S
    while time.monotonic() < deadline_s:
        if told := await information(port, "replication"):
            return dict(line.split(":", 1) for line in told.splitlines() if ":" in line)
        await asyncio.sleep(POLL_S)
    raise ValueError("a store does not tell of its replication")


def _alone(deployment: Deployment) -> str:
    return "" if deployment.store_replica else "its store has no replica"


FAULTS = (
    Fault(
        name="failover_store",
        title=f"the store is killed, and its replica is promoted, which has received nothing for {LAG_S:g} s",
        inapplicable=no_store, excluded=_alone,
        inject=unprepared("the store was not given an address that can move"),
        prepare=_behind_an_address, lasts=True,
    ),
)  # fmt: skip
"""The one fault of a store with a replica."""
