"""Limiters that count wrongly, and policies that ask a right one wrongly."""

from __future__ import annotations

import math
import sys
import time
from collections import defaultdict
from functools import partial

from weaver_kernel.rate_limit import RateLimiter

from lab.policy import limit_key
from mutants.mutant import Wrap, elsewhere, later, mutant

EVERYTHING = sys.maxsize

too_many = partial(mutant, breaks="rate_limit", finds="over_admission")
too_few = partial(mutant, breaks="rate_limit", finds="wrongful_denial")


@too_many("limiter")
class OneMore(Wrap):
    """Admits one grant more than the limit."""

    def acquire(self, key, limit, window_s):
        return self.right.acquire(key, limit + 1, window_s)


@too_few("limiter")
class OneFewer(Wrap):
    """Admits one grant fewer than the limit."""

    def acquire(self, key, limit, window_s):
        return self.right.acquire(key, limit - 1, window_s)


@too_many("limiter")
class HalfTheWindow(Wrap):
    """Forgets a grant after half the window."""

    def acquire(self, key, limit, window_s):
        return self.right.acquire(key, limit, window_s / 2)


@too_few("limiter")
class TwiceTheWindow(Wrap):
    """Holds a grant against its principal for two windows."""

    def acquire(self, key, limit, window_s):
        return self.right.acquire(key, limit, window_s * 2)


@too_many("limiter")
class TenthTooShort(Wrap):
    """Forgets a grant a tenth of the window too early."""

    def acquire(self, key, limit, window_s):
        return self.right.acquire(key, limit, window_s * 0.9)


@too_few("limiter")
class TenthTooLong(Wrap):
    """Forgets a grant a tenth of the window too late."""

    def acquire(self, key, limit, window_s):
        return self.right.acquire(key, limit, window_s * 1.1)


class Coarse(RateLimiter):
    """Upstream's limiter on a clock of whole ticks, of which there are eight in a window of 1.2 s."""

    TICK_S = 0.15

    def __init__(self, _right, _settings):
        # the cell begins in the middle of a tick
        super().__init__(lambda: math.floor(time.monotonic() / self.TICK_S + 0.5) * self.TICK_S)


@too_many("limiter", home="one")
class WholeTicks(Coarse):
    """Reads a clock of whole ticks, so that a grant late in a tick is forgotten a tick too early."""


@too_few("limiter", home="one")
class WholeTicksInclusive(Coarse):
    """Reads a clock of whole ticks, and still counts a grant that is exactly one window old."""

    def check(self, key, limit, window_seconds):
        return super().check(key, limit, window_seconds + self.TICK_S / 100)


@too_many("limiter")
class FixedWindow(Wrap):
    """Counts from zero at every full multiple of the window, so that two limits meet at the boundary."""

    def acquire(self, key, limit, window_s):
        return self.right.acquire(f"{key}@{time.time() // window_s}", limit, window_s)


@too_many("limiter", home="one")
class TokenBucket(Wrap):
    """Fills up again bit by bit: a burst of the limit, and then one more every W / L."""

    def check(self, key, limit, window_seconds):
        buckets = self.__dict__.setdefault("buckets", {})
        now_s = time.monotonic()
        left, at_s = buckets.get(key, (limit, now_s))
        left = min(limit, left + (now_s - at_s) * limit / window_seconds)
        buckets[key] = (left - (left >= 1), now_s)
        return left >= 1

    def record(self, key):
        pass


@too_few("limiter", home="one")
class Spaced(Wrap):
    """Admits a grant only W / L after the last one, so a burst within the limit is denied."""

    def check(self, key, limit, window_seconds):
        last_s = self.__dict__.setdefault("last_s", defaultdict(lambda: -math.inf))
        admits = time.monotonic() - last_s[key] >= window_seconds / limit
        if admits:
            last_s[key] = time.monotonic()
        return admits

    def record(self, key):
        pass


@too_many("limiter")
class ChecksThenRecords(Wrap):
    """Checks whether there is room, and counts the grant 5 ms later."""

    def acquire(self, key, limit, window_s):
        room = self.right.peek(key, limit, window_s)
        if room:
            later(0.005, self.right.acquire, key, EVERYTHING, window_s)
        return room


@too_few("limiter")
class DenialsCount(Wrap):
    """Counts denied attempts too, so a principal that keeps asking is never admitted again."""

    def acquire(self, key, limit, window_s):
        admits = self.right.acquire(key, limit, window_s)
        if not admits:
            self.right.acquire(key, EVERYTHING, window_s)
        return admits


@too_few("kernel")
def invokes_count(kernel, settings):
    """Counts invokes as well as grants."""
    verify, limiter = kernel._token_provider.verify, kernel._policy._limiter._limiter

    def counting(token, **expected):
        verify(token, **expected)
        key = limit_key(token.principal_id, token.capability_id)
        limiter.acquire(key, EVERYTHING, settings.rate_limits["WRITE"][1])

    kernel._token_provider.verify = counting


@too_many("settings", bitten="https://github.com/laurentS/slowapi/issues/226")
def windows_per_worker(settings):
    """Every worker counts for itself."""
    return elsewhere(settings, "limiter")


@too_many("settings", workers=3, bitten="https://github.com/alisaifee/flask-limiter/issues/327")
def one_of_three_ignores_the_store(settings):
    """Of three workers, two count in the shared store and one counts for itself."""
    return elsewhere(settings, "limiter") if settings.replica == "r0" else settings


@too_few("limiter")
class KeyedByCapability(Wrap):
    """Has one window for all principals of a capability."""

    def acquire(self, key, limit, window_s):
        return self.right.acquire(key.rsplit(":", 1)[1], limit, window_s)


@too_few("limiter")
class KeyedByPrincipal(Wrap):
    """Has one window for all capabilities of a principal."""

    def acquire(self, key, limit, window_s):
        return self.right.acquire(key.rsplit(":", 1)[0], limit, window_s)


@too_many("limiter")
class KeyedByWorkerToo(Wrap):
    """Has the worker's name in the key of a shared window."""

    def acquire(self, key, limit, window_s):
        return self.right.acquire(f"{self.settings.replica}:{key}", limit, window_s)


@too_many("limiter", home="one")
class RemembersOneKey(Wrap):
    """Keeps the window of the last key that was asked about, and no other."""

    def check(self, key, limit, window_seconds):
        for other in [known for known in self.right._windows if known != key]:
            del self.right._windows[other]
        return self.right.check(key, limit, window_seconds)


@too_many("kernel")
def one_worker_ahead(kernel, settings):
    """The clock of one worker is almost a window ahead, so it takes the counts of the others for old ones."""
    if settings.replica == "r0":
        file = kernel._policy._limiter._limiter._file
        clock = file._clock
        file._clock = lambda: clock() + settings.rate_limits["WRITE"][1] * 0.8


@too_many("limiter", bitten="https://github.com/go-chi/httprate-redis/pull/15")
class FallsBackToMemory(Wrap):
    """Each worker counts for itself while the store is away, which is every other tenth of a second."""

    def acquire(self, key, limit, window_s):
        if int(time.monotonic() * 10) % 2:
            return self.right.acquire(key, limit, window_s)
        own = self.__dict__.setdefault("own", RateLimiter())
        admits = own.check(key, limit, window_s)
        if admits:
            own.record(key)
        return admits


@too_many("limiter")
class FailsOpen(Wrap):
    """Treats one error of the store in five as permission."""

    def acquire(self, key, limit, window_s):
        return self.every(5) or self.right.acquire(key, limit, window_s)


@too_few("limiter")
class FailsShut(Wrap):
    """Treats one error of the store in three as a full window."""

    def acquire(self, key, limit, window_s):
        return not self.every(3) and self.right.acquire(key, limit, window_s)


@too_many("settings", home="single", workers=1, restarts_s=(0.4,))
def restart_empties_the_windows(settings):
    """Keeps its windows in memory, and is restarted."""
    return settings


@too_many("limiter")
class LosesUpdates(Wrap):
    """Does not count one grant in two."""

    def acquire(self, key, limit, window_s):
        return self.right.peek(key, limit, window_s) and (
            self.every(2) or self.right.acquire(key, limit, window_s)
        )


@too_many("limiter", home="one")
class ExpiresFromTheFirstGrant(Wrap):
    """Counts with INCR, and sets EXPIRE with the first grant: a fixed window that begins with it."""

    def check(self, key, limit, window_seconds):
        windows = self.__dict__.setdefault("windows", {})
        begun_s, count = windows.get(key, (-math.inf, 0))
        if time.monotonic() - begun_s >= window_seconds:
            begun_s, count = time.monotonic(), 0
        windows[key] = begun_s, count + (count < limit)
        return count < limit

    def record(self, key):
        pass


@too_few("limiter", home="one")
class RefreshesItsExpiry(Wrap):
    """Counts with INCR, and each grant sets EXPIRE again, so a window ends only after a pause of its length."""

    def check(self, key, limit, window_seconds):
        windows = self.__dict__.setdefault("windows", {})
        last_s, count = windows.get(key, (-math.inf, 0))
        if time.monotonic() - last_s >= window_seconds:
            count = 0
        if count < limit:
            windows[key] = time.monotonic(), count + 1
        return count < limit

    def record(self, key):
        pass


@too_many("limiter", home="one")
class ForgetsWhoeverIsIdle(Wrap):
    """Drops the window of a principal that has not asked for nine tenths of a window."""

    def check(self, key, limit, window_seconds):
        asked_s = self.__dict__.setdefault("asked_s", {})
        if time.monotonic() - asked_s.get(key, math.inf) > 0.9 * window_seconds:
            self.right._windows.pop(key, None)
        asked_s[key] = time.monotonic()
        return self.right.check(key, limit, window_seconds)


@too_many("limiter")
class TwentiethTooShort(Wrap):
    """Forgets a grant a twentieth of the window too early."""

    def acquire(self, key, limit, window_s):
        return self.right.acquire(key, limit, window_s * 0.95)


@too_few("limiter")
class TwentiethTooLong(Wrap):
    """Forgets a grant a twentieth of the window too late."""

    def acquire(self, key, limit, window_s):
        return self.right.acquire(key, limit, window_s * 1.05)


@too_few("limiter")
class DeniesOneInTwenty(Wrap):
    """Denies one grant in twenty, whatever was granted."""

    def acquire(self, key, limit, window_s):
        return not self.every(20) and self.right.acquire(key, limit, window_s)


@too_many("limiter")
class AdmitsOneInTwenty(Wrap):
    """Admits one grant in twenty without counting it."""

    def acquire(self, key, limit, window_s):
        return self.every(20) or self.right.acquire(key, limit, window_s)


@too_many("limiter", home="one")
class WeighsTwoFixedWindows(Wrap):
    """Estimates a sliding window from the counts of two fixed ones, as if grants were spread evenly."""

    def check(self, key, limit, window_seconds):
        counts = self.__dict__.setdefault("counts", defaultdict(int))
        number, share = divmod(time.monotonic() / window_seconds + 0.5, 1)
        if counts[key, number] + counts[key, number - 1] * (1 - share) >= limit:
            return False
        counts[key, number] += 1
        return True

    def record(self, key):
        pass
