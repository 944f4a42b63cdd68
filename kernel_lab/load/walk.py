"""walk(): locust goes through a plan in a process of its own; every process tree is sampled beside it."""

from __future__ import annotations

import asyncio
import os
import sys
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

from kernel_lab.deployments.native.guarded import Command, Guard
from kernel_lab.deployments.native.servers import last_lines
from kernel_lab.load.measure import Traffic, read_slot
from kernel_lab.load.plan import Plan, Slot, write_plan
from kernel_lab.load.usage import Machine, Usage, machine, memory_bytes, usage

GENERATOR = "generator"
READY_WITHIN_S = 90.0
AFTER_S = 30.0
"""The most seconds that the generator may take to write its last lines after the last slot."""
SATURATED = 0.85
"""A generator process that is on a core for more of the time than this had no time to wait for replies."""
IDLE = 0.05
"""Where less than this share of the machine is idle, generator and servers compete for the cores, and the one
that takes more of them is the bottleneck."""
_POLL_S = 0.02

Parts = Mapping[str, Mapping[str, list[int]]]
"""Subject -> part (``workers``, ``store``, …) -> the pids of that part's process trees."""


class GeneratorFailed(RuntimeError):  # noqa: N818 - it names a thing
    """The load generator ended before its plan; the message shows the last lines of its log."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Sample:
    """One slot, measured."""

    slot: Slot
    traffic: Traffic
    cores_used: dict[str, float]
    """Part -> CPU seconds per second. ``generator`` is a part of every slot."""
    memory: dict[str, int]
    """Part -> bytes, at the slot's end."""
    generator_busy: float
    """The share of the time for which its busiest process ran on a core."""
    generator_queued: float | None
    """The share of the time for which that process waited for a core."""
    others_used: float
    """Cores used by everybody else on this machine."""
    stolen: float
    """Cores taken by the hypervisor."""
    cores: int

    @property
    def saturated(self) -> bool:
        """The generator was the bottleneck: throughput and latency say more about it than of the servers.

        At a constant rate it waits for its next start, however little the servers have to do.
        """
        if self.generator_busy > SATURATED or self.slot.rate_per_s:
            return self.generator_busy > SATURATED
        used = sum(self.cores_used.values())
        idle = self.cores - used - self.others_used - self.stolen
        return idle < IDLE * self.cores and self.generator_share > 0.5

    @property
    def generator_share(self) -> float:
        """The generator's share of the CPU time that the generator and the servers used together."""
        used = sum(self.cores_used.values())
        return self.cores_used[GENERATOR] / used if used else 0.0

    def cpu_ms_per_call(self, *parts: str) -> float | None:
        """CPU of these parts for one answered call, in milliseconds; None if nothing was answered."""
        if not self.traffic.answered:
            return None
        return 1e3 * sum(self.cores_used.get(part, 0.0) for part in parts) / self.traffic.per_s


async def walk(
    plan: Plan,
    folder: Path,
    *,
    root: Path,
    locustfile: str,
    users: int,
    processes: int,
    parts: Parts,
    before: Callable[[Slot], Awaitable[None]],
    done: Callable[[Slot], None],
) -> list[Sample]:
    """Drive the plan, and measure each of its slots.

    Args:
        plan: The calls, their deployments and their times.
        folder: A new folder for the plan, the histories and locust's own figures.
        root: The folder of `locustfile` and of the modules that it imports.
        locustfile: Its path under `root`.
        users: Callers in all, each with one call in flight; a multiple of `processes`.
        processes: Generator processes.
        parts: The processes whose CPU and memory are counted for a subject.
        before: Called before each slot begins, in the gap after the one before.
        done: Called when a slot is over.

    Raises:
        GeneratorFailed: Locust ended early, or was not ready or through in time.
    """
    folder.mkdir(parents=True)
    write_plan(folder / "plan.json", plan)
    async with _locusts(folder, root, locustfile, users, processes) as (guard, generators):
        await _until("ready-{}", processes, guard, folder, within_s=READY_WITHIN_S)
        # locust reads this at its leisure, and the first slot has a warm-up
        start_ns = time.monotonic_ns() + 500_000_000
        (folder / "start.part").write_text(str(start_ns), "ascii")
        (folder / "start.part").rename(folder / "start")
        readings = []
        for slot in plan.slots:
            await before(slot)
            readings.append(await _read(slot, start_ns, {**parts[slot.subject], GENERATOR: generators}))
            done(slot)
        await _until("paces-{}.json", processes, guard, folder, within_s=AFTER_S)
    return [_sample(reading, read_slot(folder, reading.slot, start_ns=start_ns)) for reading in readings]


@dataclass(frozen=True, slots=True)
class _Reading:
    """The usage of the process trees, by pid, at the two ends of a slot."""

    slot: Slot
    trees: Mapping[str, list[int]]
    first: Mapping[int, Usage]
    last: Mapping[int, Usage]
    around: tuple[Machine, Machine]
    memory: dict[str, int]


async def _read(slot: Slot, start_ns: int, trees: Mapping[str, list[int]]) -> _Reading:
    pids = [pid for part in trees.values() for pid in part]
    assert slot.end_s is not None  # noqa: S101 - a plan's slots end
    await _sleep_until(start_ns + round(slot.counted_s * 1e9))
    before, first = machine(), {pid: usage([pid]) for pid in pids}
    await _sleep_until(start_ns + round(slot.end_s * 1e9))
    after, last = machine(), {pid: usage([pid]) for pid in pids}
    return _Reading(
        slot, trees, first, last, (before, after), {part: memory_bytes(pids) for part, pids in trees.items()}
    )


def _sample(reading: _Reading, traffic: Traffic) -> Sample:
    before, after = reading.around
    lasted_s = after.at_s - before.at_s

    def used(pid: int) -> float:
        return (reading.last[pid].cpu_s - reading.first[pid].cpu_s) / lasted_s

    def queued(pid: int) -> float | None:
        was, now = reading.first[pid].queued_s, reading.last[pid].queued_s
        return None if was is None or now is None else (now - was) / lasted_s

    cores_used = {part: sum(map(used, pids)) for part, pids in reading.trees.items()}
    busiest = max(reading.trees[GENERATOR], key=used)
    return Sample(
        slot=reading.slot,
        traffic=traffic,
        cores_used=cores_used,
        memory=reading.memory,
        generator_busy=used(busiest),
        generator_queued=queued(busiest),
        others_used=max(0.0, (after.busy_s - before.busy_s) / lasted_s - sum(cores_used.values())),
        stolen=(after.stolen_s - before.stolen_s) / lasted_s,
        cores=os.cpu_count() or 1,
    )


@asynccontextmanager
async def _locusts(
    folder: Path, root: Path, locustfile: str, users: int, processes: int
) -> AsyncIterator[tuple[Guard, list[int]]]:
    """Start locust processes that wait for their plan's start, and yield their pids.

    They do not outlive this process.
    """
    guard = Guard(log=folder / "guard.log")
    try:
        await guard.ready()
        pids = []
        for process in range(processes):
            argv = [
                sys.executable, "-m", "locust", "-f", locustfile, "--headless", "--only-summary",
                "--loglevel", "WARNING", "--users", str(users // processes), "--spawn-rate", str(users),
                "--plan", str(folder / "plan.json"), "--part", f"{process}/{processes}",
                "--csv", str(folder / f"locust-{process}"),
            ]  # fmt: skip
            command = Command(argv=argv, env=os.environ, cwd=root, log=_log(folder, process))
            pids.append(await guard.start(f"{GENERATOR}-{process}", command))
        yield guard, pids
    finally:
        await guard.close()


async def _until(name: str, processes: int, guard: Guard, folder: Path, *, within_s: float) -> None:
    """Wait until every process has left a file of this name."""
    deadline_s = time.monotonic() + within_s
    for process in range(processes):
        while not (folder / name.format(process)).exists():
            if guard.status(f"{GENERATOR}-{process}") is not None:
                raise GeneratorFailed(f"locust has ended{last_lines(_log(folder, process))}")
            if time.monotonic() > deadline_s:
                late = f"locust: no {name.format(process)} after {within_s:g} s"
                raise GeneratorFailed(f"{late}{last_lines(_log(folder, process))}")
            await asyncio.sleep(_POLL_S)


def _log(folder: Path, process: int) -> Path:
    return folder / f"locust-{process}.log"


async def _sleep_until(instant_ns: int) -> None:
    await asyncio.sleep(max(0, instant_ns - time.monotonic_ns()) / 1e9)
