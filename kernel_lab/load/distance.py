"""Cost against distance: the seams are synchronous, so each round trip to the store blocks a worker."""

from __future__ import annotations

import asyncio
import random
import socket
import time
from collections import defaultdict
from collections.abc import Mapping, Sequence
from statistics import median
from typing import Any

import msgspec

from kernel_lab.deployments.deployment import Deployment
from kernel_lab.faults.proxy import LOOPBACK
from kernel_lab.load.bench import Bench, slot_of
from kernel_lab.load.live import Lives, LiveSubject, Subject, open_all
from kernel_lab.load.measure import count_calls
from kernel_lab.load.plan import Slot
from kernel_lab.load.rows import TOLD, compared, grouped, interval, told
from kernel_lab.load.table import throughput

RTTS_MS = (0.0, 0.5, 1.0, 2.0, 5.0)
"""What a round trip takes longer than on loopback."""
FAR = ("redis", "redis-authz", "redis-cached", "remote")
"""Deployments whose store, or whose kernel, may be far from their workers."""
MIXES = ("invoke-200", "grant")
COLUMNS = (
    "deployment", "mix", "rtt_ms", "ping_ms", "store_calls_per_call", "blocked_ms_per_call", "ceiling_per_s",
    *TOLD, *interval("throughput_vs_memory"),
)  # fmt: skip


async def measure(
    bench: Bench, known: Mapping[str, Deployment], env: Mapping[str, str]
) -> list[dict[str, Any]]:
    """Cost against the round trip to the store: the seams are synchronous, so each trip blocks a worker."""
    memory = Subject(name="memory-4", deployment=known["memory-4"], env=env)
    far = [
        Subject(name=name, deployment=_one_host(known[name], memory.deployment), env=env, distant=True)
        for name in FAR
        if name in known
    ]
    async with open_all([memory, *far], bench.folder / "stacks" / "distance", root=bench.root) as lives:
        pings = await _pings(lives)
        seen: list[dict[str, int]] = []

        async def before(slot: Slot) -> None:
            proxy = lives.running[slot.subject].proxy
            if proxy is not None:
                await proxy.set_rtt(slot.rtt_ms)
            seen.append(await _requests(lives))

        slots = []
        for number in range(bench.effort.rounds):
            for mix in MIXES:
                far_slots = [
                    slot_of(live, mix, number, rtt_ms=rtt_ms)
                    for live in lives.running.values()
                    for rtt_ms in (RTTS_MS if live.proxy else (0.0,))
                ]
                order = random.Random(bench.effort.seed * 1000 + number)
                slots += order.sample(far_slots, len(far_slots))
        samples = await bench.go("distance", slots, lives, before)
        seen.append(await _requests(lives))
        requests: dict[tuple[str, str, float], list[float]] = defaultdict(list)
        for index, sample in enumerate(samples):
            slot = sample.slot
            if lives.running[slot.subject].proxy is not None:
                passed = seen[index + 1][slot.subject] - seen[index][slot.subject]
                calls = count_calls(bench.folder / "load" / "distance", slot)
                requests[slot.subject, slot.mix, slot.rtt_ms].append(passed / calls if calls else 0.0)
    found = grouped(samples, lambda slot: (slot.subject, slot.mix, slot.rtt_ms))
    return [
        {"deployment": name, "mix": mix, "rtt_ms": rtt_ms}
        | told(series)
        | _blocked(lives.running[name], pings.get((name, rtt_ms)), requests.get((name, mix, rtt_ms)))
        | compared(
            "throughput_vs_memory", throughput, series, found.get(("memory-4", mix, 0.0)), name == "memory-4"
        )
        for (name, mix, rtt_ms), series in sorted(found.items())
    ]


def _one_host(deployment: Deployment, like: Deployment) -> Deployment:
    """The deployment on one host, with the workers of another one and no balancer: only the distance differs."""
    return msgspec.structs.replace(deployment, workers=like.workers, replicas=1, routing=like.routing)


def _blocked(live: LiveSubject, ping_ms: float | None, per_call: Sequence[float] | None) -> dict[str, Any]:
    """How long a call blocks its worker for round trips alone, and how many calls that leaves room for."""
    if ping_ms is None or not per_call:
        return {}
    trips = median(per_call)
    blocked_ms = trips * ping_ms
    return {
        "ping_ms": ping_ms,
        "store_calls_per_call": trips,
        "blocked_ms_per_call": blocked_ms,
        "ceiling_per_s": live.expected_workers * 1e3 / blocked_ms if blocked_ms else None,
    }


async def _requests(lives: Lives) -> dict[str, int]:
    """What went through every proxy so far."""
    return {
        name: (await live.proxy.counts()).requests
        for name, live in lives.running.items()
        if live.proxy is not None
    }


async def _pings(lives: Lives) -> dict[tuple[str, float], float]:
    """The round trip to each store at each distance, as it is: our proxy takes time of its own."""
    found = {}
    for name, live in lives.running.items():
        if live.proxy is not None:
            for rtt_ms in RTTS_MS:
                await live.proxy.set_rtt(rtt_ms)
                question = _HEALTH if live.subject.deployment.remote else _PING
                found[name, rtt_ms] = await asyncio.to_thread(_ping, live.proxy.port, question)
    return found


_PING = b"PING\r\n"
_HEALTH = b"GET /healthz HTTP/1.1\r\nHost: remote\r\n\r\n"


def _ping(port: int, question: bytes, times: int = 50) -> float:
    """The median round trip of a `question`, in milliseconds."""
    took_ms = []
    with socket.create_connection((LOOPBACK, port)) as connection:
        for _ in range(times):
            began_ns = time.monotonic_ns()
            connection.sendall(question)
            connection.recv(4096)
            took_ms.append((time.monotonic_ns() - began_ns) / 1e6)
    return median(took_ms)
