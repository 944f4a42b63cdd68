"""Cost against distance: how much of a worker's throughput is left with its shared state near and far.

64 callers on four workers, near and far side by side in every round. Without a distance the workers reach their
store directly. With a distance they reach it through a proxy, which uses CPU on the same cores. The proxy's CPU
has a column of its own and does not count as the servers'.
"""

from __future__ import annotations

import asyncio
import contextlib
import http.client
import random
import socket
import time
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from statistics import median
from typing import Any

import msgspec

from kernel_lab.deployments.deployment import Deployment
from kernel_lab.deployments.native import remote
from kernel_lab.faults.proxy import LOOPBACK
from kernel_lab.load.bench import Bench, slot_of
from kernel_lab.load.costs.rows import TOLD, compared, grouped, interval, told
from kernel_lab.load.costs.table import cpu, throughput
from kernel_lab.load.live import PROXY, Lives, LiveSubject, Subject, open_all
from kernel_lab.load.measure import count_calls
from kernel_lab.load.plan import Slot
from kernel_lab.load.walk import Sample

MEMORY, CONTROL = "memory-4", "memory-4-again"
RTTS_MS = (0.0, 0.5, 1.0, 2.0, 5.0)
"""The time in milliseconds by which a round trip takes longer than on loopback."""
FEWER = (0.0, 1.0, 5.0)
MIXES = ("grant", "invoke-10", "invoke-200")
SHORT = ("grant", "invoke-10")
"""The mixes in which the store takes the larger part of a call."""
STRETCH = {"invoke-200": 3.0}
"""An invoke of 200 rows takes each of 64 callers about as long as a slot lasts: a median of 0.28 s on two cores, where
a slot counted 0.3 s. Then the calls that happen to end within the slot decide its throughput. A longer slot holds
several calls of every caller."""
COLUMNS = (
    "deployment", "mix", "rtt_ms", "callers", "ping_ms", "store_calls_per_call", "blocked_ms_per_call",
    "ceiling_per_s", *interval("cpu_vs_memory"), *interval("throughput_vs_memory"), *TOLD,
    "proxy_cpu_ms_per_call", "reason",
)  # fmt: skip


@dataclass(frozen=True, slots=True, kw_only=True)
class Asked:
    """The deployment and the settings of one row of the curve."""

    rtts_ms: Sequence[float] = (0.0,)
    mixes: Sequence[str] = MIXES
    deployment: str = ""
    """Its own name, unless it is a variant of another one."""
    appendfsync: str = ""
    """The time at which the store writes its append-only file to disk (Redis' setting); empty where it keeps no such
    file."""


ASKED: Mapping[str, Asked] = {
    MEMORY: Asked(),
    CONTROL: Asked(deployment=MEMORY),
    "redis": Asked(rtts_ms=RTTS_MS),
    "redis-cached": Asked(rtts_ms=RTTS_MS),
    "remote": Asked(rtts_ms=RTTS_MS),
    "redis-blocking": Asked(rtts_ms=FEWER),
    "redis-authz": Asked(rtts_ms=FEWER, mixes=("grant",)),
    "redis-everysec": Asked(deployment="redis", appendfsync="everysec", mixes=SHORT),
    "redis-always": Asked(deployment="redis", appendfsync="always", mixes=SHORT),
    "sqlite": Asked(),
    "sidecar": Asked(),
}
"""The measured deployments and settings, by the name that their rows have."""
_FAR = "-far"
"""Ends the names of subjects that are reached through a proxy."""


async def measure(
    bench: Bench, known: Mapping[str, Deployment], env: Mapping[str, str]
) -> list[dict[str, Any]]:
    """The rows of ``cost_distance.csv``."""
    subjects = _subjects(known, env)
    async with open_all(subjects, bench.folder / "stacks" / "distance", root=bench.root) as lives:
        bench.tell_skipped(lives)
        pings = await _pings(lives)
        seen: list[dict[str, int]] = []

        async def before(slot: Slot) -> None:
            proxy = lives.running[slot.subject].proxy
            if proxy is not None:
                await proxy.set_rtt(slot.rtt_ms)
            seen.append(await _requests(lives))

        samples = await bench.go("distance", _slots(bench, lives), lives, before)
        seen.append(await _requests(lives))
        requests: dict[tuple[str, str, float], list[float]] = defaultdict(list)
        for index, sample in enumerate(samples):
            slot = sample.slot
            if lives.running[slot.subject].proxy is not None:
                passed = seen[index + 1][slot.subject] - seen[index][slot.subject]
                calls = count_calls(bench.folder / "load" / "distance", slot)
                requests[_key(slot)].append(passed / calls if calls else 0.0)
    found = grouped(samples, _key)
    rows = []
    for key, series in sorted(found.items(), key=lambda item: (_order(item[0][0]), *item[0][1:])):
        name, mix, rtt_ms = key
        memory = found.get((MEMORY, mix, 0.0))
        live = lives.running[name + _FAR if rtt_ms else name]
        rows.append(
            {"deployment": name, "mix": mix, "rtt_ms": rtt_ms, "callers": bench.effort.users}
            | told(series)
            | _trips(live, pings.get((name, rtt_ms)), requests.get(key))
            | compared("throughput_vs_memory", throughput, series, memory, name == MEMORY)
            | compared("cpu_vs_memory", cpu, series, memory, name == MEMORY)
            | {"proxy_cpu_ms_per_call": _proxy_cpu(series.samples.values())}
        )
    return [*rows, *({"deployment": name, "reason": why} for name, why in lives.skipped.items())]


def _subjects(known: Mapping[str, Deployment], env: Mapping[str, str]) -> list[Subject]:
    """Every deployment once near, and once far where it is asked at a distance."""
    subjects = []
    for name, asked in ASKED.items():
        plain = known.get(asked.deployment or name)
        if plain is None or MEMORY not in known:
            continue
        one = _one_host(plain, known[MEMORY])
        subjects.append(Subject(name=name, deployment=one, env=env, appendfsync=asked.appendfsync))
        if len(asked.rtts_ms) > 1:
            subjects.append(Subject(name=name + _FAR, deployment=one, env=env, distant=True))
    return subjects


def _one_host(deployment: Deployment, like: Deployment) -> Deployment:
    """The deployment on one host, with the workers of another one and no balancer: only its state differs."""
    return msgspec.structs.replace(deployment, workers=like.workers, replicas=1, routing=like.routing)


def _slots(bench: Bench, lives: Lives) -> list[Slot]:
    """Every round asks each mix at each distance once, in an order of its own."""
    slots = []
    for number in range(bench.effort.rounds):
        for mix in MIXES:
            of_round = [
                slot_of(live, mix, number, rtt_ms=rtt_ms, stretch=STRETCH.get(mix, 1.0))
                for live in lives.running.values()
                if mix in (asked := ASKED[live.subject.name.removesuffix(_FAR)]).mixes
                for rtt_ms in asked.rtts_ms
                if bool(rtt_ms) == live.subject.distant
            ]
            order = random.Random(bench.effort.seed * 1000 + number)
            slots += order.sample(of_round, len(of_round))
    return slots


def _key(slot: Slot) -> tuple[str, str, float]:
    return slot.subject.removesuffix(_FAR), slot.mix, slot.rtt_ms


def _order(name: str) -> int:
    return list(ASKED).index(name)


def _trips(live: LiveSubject, ping_ms: float | None, per_call: Sequence[float] | None) -> dict[str, Any]:
    """The round trip, and how many a call takes; where each holds its worker, how long, and what that leaves."""
    if ping_ms is None:
        return {}
    if not per_call:
        return {"ping_ms": ping_ms}
    trips = median(per_call)
    found = {"ping_ms": ping_ms, "store_calls_per_call": trips}
    if not live.subject.deployment.blocks:
        return found
    blocked_ms = trips * ping_ms
    return found | {
        "blocked_ms_per_call": blocked_ms,
        "ceiling_per_s": live.expected_workers * 1e3 / blocked_ms if blocked_ms else None,
    }


def _proxy_cpu(samples: Iterable[Sample]) -> float | None:
    """Return the milliseconds that the proxy took for one call; None where there is no proxy."""
    spent = [
        ms
        for sample in samples
        if PROXY in sample.cores_used and (ms := sample.cpu_ms_per_call(PROXY)) is not None
    ]
    return median(spent) if spent else None


async def _requests(lives: Lives) -> dict[str, int]:
    """Return the number of requests that went through every proxy so far."""
    return {
        name: (await live.proxy.counts()).requests
        for name, live in lives.running.items()
        if live.proxy is not None
    }


async def _pings(lives: Lives) -> dict[tuple[str, float], float]:
    """The round trip to each store or remote kernel at each distance, as it is: a proxy takes time of its own."""
    found = {}
    for name, live in lives.running.items():
        plain = name.removesuffix(_FAR)
        ping = _ping_remote if live.subject.deployment.remote else _ping_store
        if live.proxy is None:
            port = _near(live)
            if port is not None:
                found[plain, 0.0] = await asyncio.to_thread(ping, port)
            continue
        for rtt_ms in ASKED[plain].rtts_ms:
            if rtt_ms:
                await live.proxy.set_rtt(rtt_ms)
                found[plain, rtt_ms] = await asyncio.to_thread(ping, live.proxy.port)
    return found


def _near(live: LiveSubject) -> int | None:
    """Return the address of the store or of the remote kernel; None where there is neither."""
    servers = live.stack.servers
    if live.subject.deployment.remote and servers is not None:
        return servers.processes[remote.NAME].port
    return live.store_port


_PINGS = 50


def _ping_store(port: int) -> float:
    """The median round trip of a PING to a store, in milliseconds."""
    with socket.create_connection((LOOPBACK, port)) as connection:

        def ping() -> None:
            connection.sendall(b"PING\r\n")
            connection.recv(64)

        return _median_ms(ping)


def _ping_remote(port: int) -> float:
    """The median round trip of a question to a remote kernel, in milliseconds, until its whole answer is there."""
    connection = http.client.HTTPConnection(LOOPBACK, port)

    def ping() -> None:
        connection.request("GET", "/healthz")
        connection.getresponse().read()

    with contextlib.closing(connection):
        return _median_ms(ping)


def _median_ms(ping: Callable[[], None]) -> float:
    took_ms = []
    for _ in range(_PINGS):
        began_ns = time.monotonic_ns()
        ping()
        took_ms.append((time.monotonic_ns() - began_ns) / 1e6)
    return median(took_ms)
