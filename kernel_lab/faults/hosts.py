"""Faults of hosts: a host is cut off or drained, the store's host is cut off, or all hosts get a rolling update."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

from kernel_lab.deployments.live import Live, Node, SpannedHosts
from kernel_lab.faults.fault import Fault, Landing
from kernel_lab.faults.stores import storeless
from kernel_lab.faults.workers import TIMEOUT_S

CUT_S = 8.0
"""The seconds of a partition: longer than a balancer waits for a host, and shorter than the 15 s after which a
swarm gives a host up."""
POLL_S = 0.25
BACK_S = 60.0
"""The most seconds that a swarm may take to count a host as reachable again."""


def one_host(live: Live) -> str:
    """Why the hosts of a live deployment cannot be disturbed; an empty string where they can."""
    return "" if live.hosts is not None else "it does not span hosts that the lab may disturb"


def hosts_of(live: Live) -> SpannedHosts:
    """The hosts of a deployment, if the lab may disturb them; `one_host` says whether it may."""
    if live.hosts is None:
        raise ValueError(one_host(live))
    return live.hosts


def no_spare(live: Live) -> str:
    """Why no host can be spared; an empty string where one can."""
    if why := one_host(live):
        return why
    return "" if hosts_of(live).spare else "each of its hosts has the manager, a store or a balancer"


def _uncut(live: Live) -> str:
    return no_spare(live) or hosts_of(live).lacks(_spare(live).host)


def _store_uncut(live: Live) -> str:
    return one_host(live) or hosts_of(live).lacks("store")


def _spare(live: Live) -> Node:
    found = hosts_of(live).spare
    if found is None:
        raise ValueError(no_spare(live))
    return found


async def _until(holds: Callable[[], Awaitable[bool]], within_s: float) -> bool:
    deadline_s = time.monotonic() + within_s
    # the engine is polled, because it sends no event
    while not (held := await holds()) and time.monotonic() < deadline_s:  # noqa: ASYNC110
        await asyncio.sleep(POLL_S)
    return held


@asynccontextmanager
async def _cut(live: Live, _aim: str | None) -> AsyncIterator[Landing]:
    hosts, node = hosts_of(live), _spare(live)
    workers = sum(host == node.host for host in (await hosts.tasks()).values())
    before = await hosts.reaches(node)
    await hosts.cut(node.host)
    try:
        after = await hosts.reaches(node)
        yield Landing(
            landed=before and not after and workers > 0,
            evidence=f"host {node.host} with {workers} of the tasks was {_answered(before)} before it was cut off, "
            f"and {_answered(after)} afterwards",
        )
    finally:
        await hosts.heal(node.host)
        await _until(hosts.all_ready, BACK_S)


def _answered(reached: bool) -> str:
    return "reached" if reached else "not reached"


@asynccontextmanager
async def _cut_store(live: Live, _aim: str | None) -> AsyncIterator[Landing]:
    hosts = hosts_of(live)
    before = await hosts.reaches_store()
    await hosts.cut("store")
    try:
        after = await hosts.reaches_store()
        yield Landing(
            landed=before and not after,
            evidence=f"from a worker's container the store was {_answered(before)} before it was cut off, and "
            f"{_answered(after)} afterwards",
        )
    finally:
        await hosts.heal("store")


@asynccontextmanager
async def _roll(live: Live, _aim: str | None) -> AsyncIterator[Landing]:
    hosts = hosts_of(live)
    before = await hosts.tasks()
    await hosts.roll()
    after = await hosts.tasks()
    replaced = len(before.keys() - after.keys())
    yield Landing(
        landed=bool(before) and replaced == len(before) and len(after) == len(before),
        evidence=f"{replaced} of {len(before)} tasks were replaced, and {len(after)} run",
    )


@asynccontextmanager
async def _drain(live: Live, _aim: str | None) -> AsyncIterator[Landing]:
    hosts, node = hosts_of(live), _spare(live)
    before = await hosts.tasks()
    moved = sum(host == node.host for host in before.values())
    await hosts.drain(node)

    async def gone() -> bool:
        now = await hosts.tasks()
        return len(now) == len(before) and node.host not in now.values()

    try:
        elsewhere = await _until(gone, TIMEOUT_S)
        yield Landing(
            landed=elsewhere and moved > 0,
            evidence=f"{moved} of {len(before)} tasks ran on host {node.host}, which was drained: "
            f"{'they run elsewhere now' if elsewhere else 'they did not move'}",
        )
    finally:
        await hosts.activate(node)


FAULTS = (
    Fault(
        name="cut_host", title="on a swarm, one host is taken off the network for 8 s, and put back",
        inapplicable=_uncut, inject=_cut, lasts=True, lasts_s=CUT_S,
    ),
    Fault(
        name="cut_store", title="on a swarm, the store is taken off the network for 8 s, and put back",
        inapplicable=_store_uncut, excluded=storeless, inject=_cut_store, lasts=True, lasts_s=CUT_S,
    ),
    Fault(
        name="rolling_update", title="on a swarm, every task is replaced, one after another, with one surge task",
        inapplicable=one_host, inject=_roll,
    ),
    Fault(
        name="drain_host", title="on a swarm, the tasks of one host move to the others",
        inapplicable=no_spare, inject=_drain, lasts=True,
    ),
)  # fmt: skip
"""The faults of hosts, in the order in which they are listed."""
