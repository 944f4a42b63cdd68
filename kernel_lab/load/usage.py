"""Measure the CPU time, the waiting for a core and the memory of some processes, and the use of the whole machine.

Linux tells a thread's time on a core, and in the queue for one, in nanoseconds (``schedstat``); elsewhere CPU
time comes in ticks of 10 ms and waiting is not known. Memory is the proportional share (PSS) where it is
told, because pages that forked workers share would otherwise be counted once for each.
"""

from __future__ import annotations

import time
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import psutil


@dataclass(frozen=True, slots=True, kw_only=True)
class Usage:
    """The seconds that some processes have used so far."""

    cpu_s: float
    queued_s: float | None
    """The seconds for which they waited for a core; None where the system does not tell."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Machine:
    """The whole machine's CPU seconds since it started, and when that was read."""

    at_s: float
    busy_s: float
    """The CPU seconds of all cores together, used by any process. Stolen time is left out."""
    stolen_s: float
    """The CPU seconds that the hypervisor took for others."""


def tree(pid: int) -> list[int]:
    """A process and all that descend from it; empty if it has ended."""
    try:
        process = psutil.Process(pid)
        return [pid, *(child.pid for child in process.children(recursive=True))]
    except psutil.NoSuchProcess:
        return []


def usage(pids: Iterable[int]) -> Usage:
    """Return the usage of these processes so far. A process that has ended counts nothing."""
    cpu_s = 0.0
    queued_s: float | None = 0.0
    for pid in pids:
        told = _schedstat(pid)
        if told is None:
            cpu_s += _ticks(pid)
            queued_s = None
        else:
            cpu_s += told[0] / 1e9
            queued_s = None if queued_s is None else queued_s + told[1] / 1e9
    return Usage(cpu_s=cpu_s, queued_s=queued_s)


def memory_bytes(pids: Iterable[int]) -> int:
    """Return the memory of these processes."""
    return sum(_memory(pid) for pid in pids)


def machine() -> Machine:
    """The machine, now."""
    times = psutil.cpu_times()
    idle = times.idle + getattr(times, "iowait", 0.0)
    stolen = getattr(times, "steal", 0.0)
    # guest time is within user time already
    guests = getattr(times, "guest", 0.0) + getattr(times, "guest_nice", 0.0)
    return Machine(at_s=time.monotonic(), busy_s=sum(times) - idle - stolen - guests, stolen_s=stolen)


def _schedstat(pid: int) -> tuple[int, int] | None:
    """Nanoseconds on a core and in the queue, of all threads; None where it is not told."""
    on_core = queued = 0
    try:
        for thread in Path(f"/proc/{pid}/task").iterdir():
            ran, waited, _ = (thread / "schedstat").read_text("ascii").split()
            on_core += int(ran)
            queued += int(waited)
    except (OSError, ValueError):
        return None
    return on_core, queued


def _ticks(pid: int) -> float:
    try:
        times = psutil.Process(pid).cpu_times()
    except psutil.NoSuchProcess:
        return 0.0
    return float(times.user + times.system)


def _memory(pid: int) -> int:
    try:
        process = psutil.Process(pid)
        try:
            return int(process.memory_full_info().pss)
        except (AttributeError, psutil.AccessDenied):
            return int(process.memory_info().rss)
    except psutil.NoSuchProcess:
        return 0
