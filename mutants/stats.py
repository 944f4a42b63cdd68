"""Counters that miss, repeat, or forget."""

from __future__ import annotations

import time
from functools import partial

from mutants.mutant import Wrap, later, mutant

miscounts = partial(mutant, "stats", breaks="stats", home="one")


@mutant("settings", breaks="stats", finds="undercount")
def counters_per_worker(settings):
    """Every worker counts only its own work, as upstream's kernel does."""
    return settings


@mutant("settings", breaks="stats", finds="undercount", home="single", workers=1, restarts_s=(0.02,))
def restart_forgets_the_counters(settings):
    """Counts in memory, and is restarted."""
    return settings


@miscounts(finds="undercount")
class CountsNineOfTen(Wrap):
    """Misses one grant in ten."""

    def on_grant(self):
        if not self.every(10):
            self.right.on_grant()


@miscounts(finds="overcount")
class CountsTwice(Wrap):
    """Counts one expansion in four twice."""

    def on_expansion(self):
        self.right.on_expansion()
        if self.every(4):
            self.right.on_expansion()


@miscounts(finds="went_back")
class ResetsWhenRead(Wrap):
    """Begins at zero again when it has been read."""

    def snapshot(self):
        counted = self.right.snapshot()
        self.right.reset()
        return counted


@miscounts(finds="undercount")
class TellsAnOldSnapshot(Wrap):
    """Reports numbers that are up to 100 ms old."""

    def snapshot(self):
        at_s, counted = self.__dict__.get("last", (-1.0, None))
        if time.monotonic() - at_s > 0.1:
            counted = self.right.snapshot()
            self.last = (time.monotonic(), counted)
        return counted


@miscounts(finds="undercount")
class MissesOneInvokeInThirty(Wrap):
    """Misses one invoke in thirty."""

    def on_invocation(self, **how):
        if not self.every(30):
            self.right.on_invocation(**how)


@miscounts(finds="overcount")
class CountsOneGrantInThirtyTwice(Wrap):
    """Counts one grant in thirty twice."""

    def on_grant(self):
        self.right.on_grant()
        if self.every(30):
            self.right.on_grant()


@miscounts(finds="undercount")
class CountsExpansionsLate(Wrap):
    """Counts an expansion 20 ms later."""

    def on_expansion(self):
        later(0.020, self.right.on_expansion)


@miscounts(finds="overcount")
class CountsExpansionsAsInvokes(Wrap):
    """Counts an expansion as an invoke too."""

    def on_expansion(self):
        self.right.on_expansion()
        self.right.on_invocation(failed=False, fallback=False, redacted=False, downgraded=False)
