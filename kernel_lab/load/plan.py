"""The plan of a load run: which calls go to which deployment, and when.

One generator walks through all slots of a plan, so repetitions lie side by side in time (A B C, B A C, …):
what drifts on the machine meets every deployment alike. The runner and the generator's processes share one
clock, the host's monotonic one, and three kinds of file in the plan's folder:

- ``plan.json``: the `Plan`, whose times count from a start that is not known yet;
- ``ready-<process>``: a generator process holds its connections;
- ``start``: the start, in nanoseconds of the monotonic clock, once every process is ready.

Each process leaves ``<slot>.g<process>.jsonl``, history lines with ``intended_ns`` (and ``anomaly``) beside
the usual keys, and at the end ``paces-<process>.json``: slot -> `Kept`.
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Literal

import msgspec

Connections = Literal["round_robin", "fresh", "keep_alive"]


class Slot(msgspec.Struct, frozen=True, kw_only=True):
    """A few seconds of one mix on one deployment. Times are seconds after the plan's start."""

    name: str
    """Names its files: unique in the plan."""
    subject: str
    """The stack that is asked."""
    base_url: str
    mix: str
    workers: int = 0
    """The number of workers that connections are pinned to; 0 where a balancer chooses the worker."""
    connections: Connections = "round_robin"
    rate_per_s: float = 0.0
    """Calls meant to start per second, by all processes together; 0 is a closed loop."""
    rtt_ms: float = 0.0
    """The time that the proxy between workers and store adds to a round trip."""
    round: int = 0
    stretch: float = 1.0
    """A factor for the length of this slot, its warm-up and the gap after it."""
    begin_s: float = 0.0
    counted_s: float = 0.0
    """The warm-up ends."""
    end_s: float | None = None
    """None: it lasts until it is stopped."""

    @property
    def step(self) -> str:
        """The load step, as a column has it: ``closed`` or ``rate``."""
        return "rate" if self.rate_per_s else "closed"


class Plan(msgspec.Struct, frozen=True, kw_only=True):
    """The slots, in the order in which they are walked through."""

    slots: tuple[Slot, ...]
    seed: int = 1


class Kept(msgspec.Struct, frozen=True, kw_only=True):
    """How one process kept to the pace of one slot: the number of planned starts, and of starts that no caller took."""

    offered: int
    dropped: int


def schedule(slots: Iterable[Slot], *, warm_s: float, measured_s: float, gap_s: float) -> tuple[Slot, ...]:
    """The slots one after another; in the gap between two, the calls of the first come back.

    A slot that is stretched has each of its three times longer.
    """
    timed = []
    begin_s = 0.0
    for slot in slots:
        counted_s = begin_s + warm_s * slot.stretch
        end_s = counted_s + measured_s * slot.stretch
        timed.append(msgspec.structs.replace(slot, begin_s=begin_s, counted_s=counted_s, end_s=end_s))
        begin_s = end_s + gap_s * slot.stretch
    return tuple(timed)


def write_plan(path: Path, plan: Plan) -> None:
    """Write ``plan.json``."""
    path.write_bytes(msgspec.json.format(msgspec.json.encode(plan), indent=1) + b"\n")


def read_plan(path: Path) -> Plan:
    """Read ``plan.json``."""
    return msgspec.json.decode(path.read_bytes(), type=Plan)
