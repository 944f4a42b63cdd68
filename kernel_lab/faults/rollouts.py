"""Faults of rollouts: two versions of the package side by side, and traffic that moves to a second stack."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import cache

import msgspec

from kernel_lab.deployments.deployment import Deployment
from kernel_lab.deployments.live import Live, StackUnavailable
from kernel_lab.deployments.native.packages import PACKAGE, other_version
from kernel_lab.faults.fault import Fault, Inject, Landing, unprepared
from kernel_lab.faults.liveness import PATH
from kernel_lab.faults.operations import last_replica, setting
from kernel_lab.faults.workers import TIMEOUT_S, again, not_ours, servers_of
from kernel_lab.traffic.address import WORKER_HEADER, open_http
from kernel_lab.traffic.client import Principal

OLD = "0.11.0"
"""The version that one replica gets; the others keep the version under test."""
SEARCH = "PYTHONPATH"
CALLS = 32
"""The number of calls, each of another principal, that show which workers the balancer reaches."""


def _two_sides(deployment: Deployment) -> Deployment:
    """The deployment with a replica that can get another version: its workers in two halves, if it has one replica."""
    if deployment.replicas > 1:
        return deployment
    return _balanced(deployment, replicas=2, workers=deployment.workers // 2)


def _balanced(deployment: Deployment, *, replicas: int, workers: int) -> Deployment:
    routing = "round_robin" if deployment.routing == "direct" else deployment.routing
    return msgspec.structs.replace(deployment, replicas=replicas, workers=workers, routing=routing)


@asynccontextmanager
async def _mix(live: Live, _aim: str | None) -> AsyncIterator[Landing]:
    """The last replica is started again with the older version; later once more, with its own."""
    servers, replica = servers_of(live), last_replica(live)
    before = setting(servers, replica, SEARCH)
    packages = await asyncio.to_thread(other_version, OLD)
    await again(servers, replica, {SEARCH: os.pathsep.join(filter(None, (str(packages), before)))})
    *others, last = await asyncio.gather(*(_version(url) for url in live.replica_urls))
    try:
        yield Landing(
            landed=last == OLD and bool(others) and OLD not in others,
            evidence=f"{replica} serves {PACKAGE} {last}, and the other replicas {', '.join(sorted({*others}))}",
        )
    finally:
        await again(servers, replica, {SEARCH: before})


async def _version(url: str) -> str:
    """The version that a replica's worker reports."""
    async with open_http(url, kept=False, timeout_s=TIMEOUT_S) as http:
        return str((await http.get("/worker")).raise_for_status().json()["kernel_version"])


def _one_version(deployment: Deployment) -> str:
    """Why no replica gets another version; an empty string where one does."""
    if deployment.remote:
        return "its one kernel is in a process of its own, which has one version"
    if deployment.replicas == 1 and deployment.kernels == 1:
        return "it has one kernel, and a second version is a second kernel"
    return no_other_version()


@cache
def no_other_version() -> str:
    """Why the older version cannot be had here; an empty string where it can. It is tried once."""
    try:
        other_version(OLD)
    except StackUnavailable as error:
        return str(error)
    return ""


def _two_stacks(deployment: Deployment) -> Deployment:
    """The deployment twice: its replicas, and as many again, which serve once the balancer leads to them."""
    return _balanced(deployment, replicas=2 * deployment.replicas, workers=deployment.workers)


@asynccontextmanager
async def _blue_first(live: Live) -> AsyncIterator[Inject]:
    """Have the balancer lead to the first half of the replicas before the traffic begins: the blue stack."""
    servers, blue = servers_of(live), live.deployment.replicas // 2
    await servers.balance(range(blue))
    before = await _met(live)

    @asynccontextmanager
    async def switch(_live: Live, _aim: str | None) -> AsyncIterator[Landing]:
        await servers.balance(range(blue, live.deployment.replicas))
        after = await _met(live)
        yield Landing(
            landed=bool(before and after) and not before & after,
            evidence=f"{CALLS} calls met {len(before)} workers before the switch and {len(after)} after it, of whom "
            f"{len(before & after)} had been met before",
        )

    yield switch


async def _met(live: Live) -> set[str]:
    """The workers that calls of many principals meet through the balancer, by their boots."""
    async with open_http(live.base_url, kept=False, timeout_s=TIMEOUT_S) as http:
        calls = (http.get(PATH, headers=Principal(name=f"switch{one}").headers()) for one in range(CALLS))
        replies = await asyncio.gather(*calls)
    return {reply.headers[WORKER_HEADER] for reply in replies}


FAULTS = (
    Fault(
        name="mixed_version",
        title=f"the last replica serves {PACKAGE} {OLD} for a while, and the others the version under test",
        inapplicable=not_ours, excluded=_one_version, shape=_two_sides, inject=_mix, hits=-1, lasts=True,
    ),
    Fault(
        name="blue_green",
        title="the balancer switches all traffic to a second stack with the same store",
        inapplicable=not_ours, shape=_two_stacks,
        inject=unprepared("the balancer led to both stacks from the start"), prepare=_blue_first,
    ),
)  # fmt: skip
"""The faults of rollouts, in the order in which they are listed."""
