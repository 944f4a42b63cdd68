"""One process of the load generator on its way through a plan. Imported by locust's own process only."""

from __future__ import annotations

import itertools
import random
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import gevent  # type: ignore[import-untyped]
import msgspec

from kernel_lab.judge.history import HistoryWriter
from kernel_lab.load.generator.agent import Agent
from kernel_lab.load.generator.pace import Pace
from kernel_lab.load.generator.pinned import Lanes
from kernel_lab.load.plan import Kept, Slot

POLL_S = 0.01


@dataclass(frozen=True, slots=True, kw_only=True)
class Part:
    """The number of this process among those of the generator."""

    number: int
    of: int
    users: int
    """The number of users of this process."""


class Course:
    """One slot as one process goes through it: connections, pace, history."""

    def __init__(self, generator: Generator, slot: Slot) -> None:
        start_ns = generator.start_ns
        self.slot = slot
        self.lanes = generator.lanes[slot.base_url]
        self.pace = Pace(
            begin_ns=start_ns + round(slot.begin_s * 1e9),
            counted_ns=start_ns + round(slot.counted_s * 1e9),
            end_ns=None if slot.end_s is None else start_ns + round(slot.end_s * 1e9),
            rate_per_s=slot.rate_per_s / generator.part.of,
            phase=generator.part.number / generator.part.of,
        )
        self.writer: HistoryWriter | None = None
        if generator.folder is not None:
            self.writer = HistoryWriter(generator.folder / f"{slot.name}.g{generator.part.number}.jsonl")
            self.writer.__enter__()
        self.users = 0
        write = self.lanes.facts["rate_limits"]["WRITE"]
        self._limit, self._window_s = int(write["limit"]), float(write["window_s"])
        self._numbers = itertools.count(generator.part.number, generator.part.of)
        self._rng = random.Random(f"{generator.seed} {slot.name} {generator.part.number}")
        self._tag = f"{slot.name}-{start_ns & 0xFFFFFFFF:x}"

    def new_agent(self) -> Agent:
        """The next agent of this process: a principal nobody else is."""
        number = next(self._numbers)
        return Agent(
            principal=f"a{number}-{self._tag}",
            number=number,
            rng=self._rng,
            limit=self._limit,
            window_s=self._window_s,
        )

    def leave(self) -> None:
        """Note that one user is through. After the last user the history is closed."""
        self.users -= 1
        if self.users == 0 and self.writer is not None:
            self.writer.__exit__(None, None, None)


class Generator:
    """One process of the load generator, and its part of the plan."""

    def __init__(
        self, slots: Sequence[Slot], part: Part, *, folder: Path | None, planned: bool, seed: int
    ) -> None:
        self.slots = slots
        self.part = part
        self.folder = folder
        self.planned = planned
        self.clock_ahead_ns = 0
        """The time by which the recorded times are put ahead, for a test of clocks that differ."""
        self.seed = seed
        self.start_ns = 0
        self.lanes: dict[str, Lanes] = {}
        self._connections = (f"g{part.number}.k{number}" for number in itertools.count())
        self._callers = itertools.count()
        self._courses: dict[str, Course] = {}
        self._through = 0

    def prepare(self) -> None:
        """Open every connection; with a plan, say so and wait for the start."""
        for slot in self.slots:
            if slot.base_url not in self.lanes:
                lanes = Lanes(slot, self._connections, users=self.part.users)
                self.lanes[slot.base_url] = lanes
        if self.planned and self.folder is not None:
            (self.folder / f"ready-{self.part.number}").touch()
            while not (start := self.folder / "start").exists():
                gevent.sleep(POLL_S)
            self.start_ns = int(start.read_text("ascii"))
        else:
            self.start_ns = time.monotonic_ns()

    def course(self, slot: Slot) -> Course:
        """The slot's session object, one for all users of this process."""
        if slot.name not in self._courses:
            self._courses[slot.name] = Course(self, slot)
        return self._courses[slot.name]

    def new_caller(self) -> int:
        """A fresh number for a client: an ``info`` retires the old one."""
        return next(self._callers)

    def leave(self) -> bool:
        """Note that one user is through the plan. The last user writes down how this process kept to its paces.

        True: everybody is through, and the process has nothing left to do.
        """
        self._through += 1
        if self._through == self.part.users and self.planned and self.folder is not None:
            kept = {
                name: Kept(offered=course.pace.offered, dropped=course.pace.dropped)
                for name, course in self._courses.items()
            }
            written = self.folder / f"paces-{self.part.number}.part"
            written.write_bytes(msgspec.json.encode(kept))
            written.rename(written.with_suffix(".json"))
            return True
        return False
