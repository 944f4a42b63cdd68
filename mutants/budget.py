"""Budgets that lose count, count twice, or count too late."""

from __future__ import annotations

import asyncio
import time
from functools import partial

from weaver_kernel import BudgetExhausted

from mutants.mutant import Wrap, elsewhere, later, mutant

overspends = partial(mutant, breaks="budget", finds="overspend")
loses_use = partial(mutant, breaks="budget", finds="lost_use")
goes_back = partial(mutant, breaks="budget", finds="used_went_back")
inflates = partial(mutant, breaks="budget", finds="inflated_use")
denies = partial(mutant, breaks="budget", finds="false_denial")


@overspends("settings", bitten="https://github.com/BerriAI/litellm/pull/30661")
def pool_per_worker(settings):
    """Every worker has a pool of its own."""
    return elsewhere(settings, "budget")


@overspends("budget", home="one", bitten="https://github.com/BerriAI/litellm/issues/34732")
class ChecksThenIncrements(Wrap):
    """Checks whether anything is left, reserves nothing, and adds the cost of the invoke 50 ms later."""

    async def allocate(self, requested=None):
        if self.right.used >= self.right.total_budget:
            raise BudgetExhausted("nothing left")
        return 0

    async def record_usage(self, actual, *, reserved=None):
        later(0.050, self.add, actual)

    def add(self, actual):
        self.right._state.used = min(self.right.total_budget, self.right._state.used + actual)


@overspends("budget", home="one")
class FailsOpenWhenEmpty(Wrap):
    """Lets an invoke go on when nothing could be reserved for it."""

    async def allocate(self, requested=None):
        try:
            return await self.right.allocate(requested)
        except BudgetExhausted:
            return 0

    def suggested_mode(self, requested):
        return requested


@loses_use("budget")
class ChargesTwoOfThree(Wrap):
    """Forgets to charge one invoke in three."""

    async def record_usage(self, actual, *, reserved=None):
        await self.right.record_usage(0 if self.every(3) else actual, reserved=reserved)


@loses_use("budget")
class ChargesHalf(Wrap):
    """Charges half of what an invoke has cost."""

    async def record_usage(self, actual, *, reserved=None):
        await self.right.record_usage(actual // 2, reserved=reserved)


@loses_use("budget", home="one")
class ReadsACopy(Wrap):
    """Reports the use from a copy that is 30 ms behind."""

    @property
    def used(self):
        copies = self.__dict__.setdefault("copies", [])
        copies.append((time.monotonic(), self.right.used))
        return max((used for at_s, used in copies if at_s < time.monotonic() - 0.030), default=0)


@loses_use("budget", home="one")
class WritesAStaleCountBack(Wrap):
    """Writes back, every fifth time, a use that it read four charges ago."""

    async def record_usage(self, actual, *, reserved=None):
        seen = self.__dict__.setdefault("seen", [])
        seen.append(self.right.used)
        await self.right.record_usage(actual, reserved=reserved)
        if self.every(5):
            self.right._state.used = seen[-4]


@goes_back("settings", home="single", workers=1, restarts_s=(0.12,))
def restart_refills_the_pool(settings):
    """Keeps its budget in memory, and is restarted."""
    return settings


@goes_back("budget", home="one")
class RefillsTooOften(Wrap):
    """Refills the pool every 40 ms, although it was meant to last for ever."""

    async def allocate(self, requested=None):
        turn = time.monotonic() // 0.040
        if self.__dict__.setdefault("turn", turn) != turn:
            self.turn, self.right._state.used = turn, 0
        return await self.right.allocate(requested)


@inflates("budget", home="one", bitten="https://github.com/BerriAI/litellm/issues/30460")
class ChargesTwice(Wrap):
    """Charges one invoke in four twice, as after a time-out of a charge that had succeeded."""

    async def record_usage(self, actual, *, reserved=None):
        await self.right.record_usage(actual, reserved=reserved)
        if self.every(4):
            await self.right.record_usage(actual)


@denies("budget", home="one", bitten="https://github.com/BerriAI/litellm/issues/27639")
class NeverReleases(Wrap):
    """Never releases the reservation of an invoke that has ended."""

    async def record_usage(self, actual, *, reserved=None):
        await self.right.record_usage(actual)


@denies("budget")
class DeniesOneInFive(Wrap):
    """Treats the pool as empty one time in five."""

    async def allocate(self, requested=None):
        if self.every(5):
            raise BudgetExhausted("nothing left")
        return await self.right.allocate(requested)


@overspends("budget", home="one")
class NeverRefuses(Wrap):
    """Treats the pool as never empty, so every invoke goes on."""

    async def allocate(self, requested=None):
        try:
            return await self.right.allocate(requested)
        except BudgetExhausted:
            return 0


@mutant("budget", breaks="budget", finds="over_reserved", home="one", proof=8)
class IgnoresReservations(Wrap):
    """Counts what was spent and ignores what others have reserved. Each invoke takes 20 ms."""

    async def allocate(self, requested=None):
        if self.right.used >= self.right.total_budget:
            raise BudgetExhausted("nothing left")
        await asyncio.sleep(0.020)
        return 0


@mutant("budget", breaks="budget", finds="over_total", home="one")
class IsNotClamped(Wrap):
    """Reports more use than the whole budget."""

    async def record_usage(self, actual, *, reserved=None):
        self.spent = self.__dict__.get("spent", 0) + actual
        await self.right.record_usage(actual, reserved=reserved)

    @property
    def used(self):
        return self.__dict__.get("spent", 0)


@mutant("budget", breaks="budget", finds="wrong_total", home="one")
class TellsAnotherTotal(Wrap):
    """Reports twice the total that was stated."""

    @property
    def total_budget(self):
        return 2 * self.right.total_budget


@loses_use("budget", home="one")
class ChargesSevenOfEight(Wrap):
    """Forgets to charge one invoke in eight."""

    async def record_usage(self, actual, *, reserved=None):
        await self.right.record_usage(0 if self.every(8) else actual, reserved=reserved)


@loses_use("budget", home="one")
class ChargesLater(Wrap):
    """Charges an invoke 20 ms after it has returned, and holds its reservation until then."""

    async def record_usage(self, actual, *, reserved=None):
        later(0.020, self.charge, actual, reserved or 0)

    def charge(self, actual, reserved):
        state = self.right._state
        state.used = min(state.total, state.used + actual)
        state.reserved = max(0, state.reserved - reserved)


@denies("budget", home="one")
class DeniesOneInTwentyInvokes(Wrap):
    """Treats the pool as empty one time in twenty."""

    async def allocate(self, requested=None):
        if self.every(20):
            raise BudgetExhausted("nothing left")
        return await self.right.allocate(requested)
