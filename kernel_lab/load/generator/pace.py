"""Pace: when the calls of one slot are meant to start.

A **closed loop** asks for the next call as soon as the caller is free: the intended start is now, and a slow
server is asked less. A **constant rate** has its starts fixed beforehand; a caller that comes late still
counts its latency from the start that was meant, so a stall is felt by every call that should have begun in
it (no coordinated omission). A start that nobody took within `PATIENCE_NS` is dropped, and counted.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field

PATIENCE_NS = 1_000_000_000


@dataclass(slots=True, kw_only=True)
class Pace:
    """The intended starts of one generator process in one slot, handed to whichever caller is free.

    Args:
        begin_ns: The slot's first instant, on the monotonic clock.
        counted_ns: Where its warm-up ends.
        end_ns: From here on nothing starts; None is never.
        rate_per_s: Starts per second of this process; 0 is a closed loop.
        phase: Where in the interval between two starts the first one lies, 0 to 1.
    """

    begin_ns: int
    counted_ns: int
    end_ns: int | None
    rate_per_s: float = 0.0
    phase: float = 0.0
    clock: Callable[[], int] = time.monotonic_ns
    started: int = 0
    """Starts after the warm-up that a caller took."""
    _tick: int = field(default=0, init=False)

    def next_start(self) -> int | None:
        """The intended start of the caller's next call, perhaps yet to come; None: the slot is over."""
        now = self.clock()
        while not self._over(now):
            if not self.rate_per_s:
                intended = max(now, self.begin_ns)
            else:
                intended = self._at(self._tick)
                self._tick += 1
                if self._over(intended):
                    return None
                if now - intended > PATIENCE_NS:
                    continue
            self.started += intended >= self.counted_ns
            return intended
        return None

    @property
    def offered(self) -> int:
        """Starts that were meant after the warm-up, of a constant rate whose slot is over."""
        if not self.rate_per_s or self.end_ns is None:
            return self.started
        return self._ticks_before(self.end_ns) - self._ticks_before(self.counted_ns)

    @property
    def dropped(self) -> int:
        """Starts that were meant and that nobody took in time."""
        return self.offered - self.started

    def _over(self, instant_ns: int) -> bool:
        return self.end_ns is not None and instant_ns >= self.end_ns

    def _at(self, tick: int) -> int:
        return self.begin_ns + int((tick + self.phase) * 1e9 / self.rate_per_s)

    def _ticks_before(self, instant_ns: int) -> int:
        """Return the number of intended starts before an instant."""
        tick = max(0, int((instant_ns - self.begin_ns) * self.rate_per_s / 1e9) - 1)
        while self._at(tick) < instant_ns:
            tick += 1
        return tick
