"""A clock that stands still while the processor works, and jumps while everybody waits.

A simulated cell takes as long as its calls take to compute; its windows and lives cost nothing. When things
happen depends on the seed alone: not on the machine, nor on who else uses it.
"""

from __future__ import annotations

import asyncio
import datetime as dt
import selectors
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from types import SimpleNamespace
from typing import Any
from unittest.mock import patch

import weaver_kernel.handles
import weaver_kernel.stores.memory
import weaver_kernel.tokens

import kernel_lab.run.scenario
import lab.older
import lab.one_trip

EPOCH_NS = 1_900_000_000_000_000_000
"""Where a simulation begins, in nanoseconds of the Unix epoch: in 2030."""

LONGEST_NS = 3_600_000_000_000

WHO_ASKS = (
    weaver_kernel.handles, weaver_kernel.stores.memory, weaver_kernel.tokens, lab.older, lab.one_trip,
    kernel_lab.run.scenario,
)  # fmt: skip
"""Modules that use the date. The C type for it cannot be patched itself."""


class Clock:
    """One clock for everybody in the process; it moves when the event loop has nothing left to do.

    And by a microsecond when a recorder looks at it: of two calls in a row, the first returns before the
    second is called.
    """

    def __init__(self) -> None:
        self.now_ns = 0

    def monotonic_s(self) -> float:
        return self.now_ns / 1e9

    def unix_s(self) -> float:
        return (EPOCH_NS + self.now_ns) / 1e9

    def tick_ns(self) -> int:
        self.now_ns += 1_000
        return self.now_ns

    @contextmanager
    def everywhere(self) -> Iterator[None]:
        """For as long as this lasts, this is the time for the harness, the lab and the kernel."""
        simulated = _dates(self)
        dates = SimpleNamespace(**{**vars(dt), "datetime": simulated})
        with ExitStack() as stack:
            for name, read in {
                "monotonic": self.monotonic_s, "monotonic_ns": self.tick_ns,
                "time": self.unix_s, "time_ns": lambda: EPOCH_NS + self.now_ns,
            }.items():  # fmt: skip
                stack.enter_context(patch.object(time, name, read))
            for module in WHO_ASKS:
                fake = dates if module.datetime is dt else simulated
                stack.enter_context(patch.object(module, "datetime", fake))
            yield

    def run(self, job: Any) -> Any:
        """Run a coroutine to its end on a loop that waits for nothing."""
        with self.everywhere(), asyncio.Runner(loop_factory=self._loop) as runner:
            return runner.run(job)

    def _loop(self) -> asyncio.SelectorEventLoop:
        loop = asyncio.SelectorEventLoop(_Jumping(self))
        # a timer is due when it is this close: asyncio's nanosecond is lost in a float of some days
        loop._clock_resolution = 1e-6  # type: ignore[attr-defined]
        return loop


class _Jumping(selectors.DefaultSelector):
    """No event comes from outside, so only the next timer has to be waited for."""

    def __init__(self, clock: Clock) -> None:
        super().__init__()
        self._clock = clock

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        if timeout is None:
            raise RuntimeError("everybody waits, and nobody for a timer: the simulation would stand for ever")
        self._clock.now_ns += round(timeout * 1e9)
        if self._clock.now_ns > LONGEST_NS:
            raise RuntimeError("a simulated cell took more than an hour: somebody waits for what never comes")
        return super().select(0)


def _dates(clock: Clock) -> type[dt.datetime]:
    class Simulated(dt.datetime):
        @classmethod
        def now(cls, tz: dt.tzinfo | None = None) -> Any:
            return cls.fromtimestamp(clock.unix_s(), tz)

    return Simulated
