"""Handle stores that lose what they keep, keep it too long, or show it to others."""

from __future__ import annotations

import time
from dataclasses import replace
from functools import partial

from weaver_kernel import HandleConstraintViolation, HandleNotFound

from mutants.mutant import Wrap, elsewhere, later, mutant

misses = partial(mutant, breaks="handles", finds="miss")


@misses("settings", bitten="https://github.com/modelcontextprotocol/python-sdk/issues/520")
def handles_per_worker(settings):
    """Every worker keeps its own handles."""
    return elsewhere(settings, "handles")


@misses("settings", home="single", workers=1, restarts_s=(0.03,))
def restart_forgets_handles(settings):
    """Keeps its handles in memory, and is restarted."""
    return settings


@misses("handles", home="one")
class DropsOneInTen(Wrap):
    """Loses one handle in ten as it is stored."""

    def store(self, *args, **kwargs):
        handle = self.right.store(*args, **kwargs)
        if self.every(10):
            self.right._drop(handle.handle_id)
        return handle


@misses("handles", bitten="https://github.com/depictio/depictio/pull/991")
class FindsOneInEight(Wrap):
    """Finds a handle one time in eight."""

    def get_meta(self, handle_id):
        if not self.every(8):
            raise HandleNotFound(handle_id)
        return self.right.get_meta(handle_id)


@misses("handles", home="one")
class GoneOnceRead(Wrap):
    """Gives a handle's rows out once."""

    def get(self, handle_id):
        data = self.right.get(handle_id)
        self.right._drop(handle_id)
        return data

    def expand(self, handle, **how):
        frame = self.right.expand(handle, **how)
        self.right._drop(handle.handle_id)
        return frame


@misses("handles", home="one")
class KeepsTheLast(Wrap):
    """Drops a principal's handle when it makes another."""

    def store(self, *args, principal_id="", **kwargs):
        for handle in list(self.right._meta.values()):
            if handle.principal_id == principal_id:
                self.right._drop(handle.handle_id)
        return self.right.store(*args, principal_id=principal_id, **kwargs)


@misses("handles", home="one")
class EvictsTooEarly(Wrap):
    """Keeps fifty handles, where a cap of ten thousand was stated."""

    def store(self, *args, **kwargs):
        self.right._max_entries = 50
        return self.right.store(*args, **kwargs)


@misses("handles")
class SlowReplica(Wrap):
    """Looks for a handle in a copy of the store that is 10 ms behind."""

    def get_meta(self, handle_id):
        handle = self.right.get_meta(handle_id)
        if time.time() - handle.created_at.timestamp() < 0.010:
            raise HandleNotFound(handle_id)
        return handle


@mutant("handles", breaks="handles", finds="foreign_expand")
class ReadByAnybody(Wrap):
    """Does not check who expands a handle."""

    def expand(self, handle, *, principal_id, **how):
        return self.right.expand(handle, principal_id=handle.principal_id, **how)


@mutant("handles", breaks="handles", finds="refused_owner")
class RefusesOwners(Wrap):
    """Treats the owner of a handle as a stranger, one time in six."""

    def expand(self, handle, **how):
        if self.every(6):
            raise HandleConstraintViolation(
                "handle of another principal", reason_code="handle_principal_mismatch"
            )
        return self.right.expand(handle, **how)


@mutant("handles", breaks="handles", finds="early_expiry", home="one")
class ExpiresAtHalfTime(Wrap):
    """Lets a handle live for half the time that was stated."""

    def store(self, *args, **kwargs):
        self.right._default_ttl = self.settings.handle_ttl_s / 2
        return self.right.store(*args, **kwargs)


@mutant("handles", breaks="handles", finds="late_expand", home="one")
class NeverExpires(Wrap):
    """Serves a handle for ever."""

    def store(self, *args, **kwargs):
        self.right._default_ttl = 3600
        return self.right.store(*args, **kwargs)


shows = partial(mutant, breaks="handles", finds="wrong_rows", home="one")


class Rows(Wrap):
    """Shows other rows than the invoke made."""

    def expand(self, handle, **how):
        frame = self.right.expand(handle, **how)
        return replace(frame, table_preview=self.spoilt(frame.table_preview, handle))

    def spoilt(self, rows, handle):
        raise NotImplementedError


@shows("handles")
class ShowsNoRows(Rows):
    """Shows no rows."""

    def spoilt(self, rows, handle):
        return []


@shows("handles")
class ShowsHalfTheRows(Rows):
    """Shows half of the rows that were asked for."""

    def spoilt(self, rows, handle):
        return rows[: len(rows) // 2]


@shows("handles")
class ShowsLaterRows(Rows):
    """Leaves the first row out."""

    def spoilt(self, rows, handle):
        return rows[1:]


@shows("handles")
class ShowsOtherValues(Rows):
    """Shows every amount in another currency."""

    def spoilt(self, rows, handle):
        return [{**row, "currency": "XXX"} for row in rows]


@shows("handles")
class ShowsSomebodyElses(Wrap):
    """Shows the rows of the handle that was stored last, even if it belongs to another principal."""

    def get(self, handle_id):
        return self.right.get(list(self.right._data)[-1])

    def expand(self, handle, **how):
        last = list(self.right._meta.values())[-1]
        return self.right.expand(replace(last, principal_id=handle.principal_id), **how)


@shows("handles")
class ShowsRowsReversed(Rows):
    """Shows the rows in the opposite order, one time in three."""

    def spoilt(self, rows, handle):
        return rows[::-1] if self.every(3) else rows


@mutant("handles", breaks="handles", finds="early_expiry", home="one")
class ExpiresFivePercentEarly(Wrap):
    """Lets a handle live for 95 % of the time that was stated."""

    def store(self, *args, **kwargs):
        self.right._default_ttl = self.settings.handle_ttl_s * 0.95
        return self.right.store(*args, **kwargs)


@mutant("handles", breaks="handles", finds="late_expand", home="one")
class ExpiresFivePercentLate(Wrap):
    """Lets a handle live for 105 % of the time that was stated."""

    def store(self, *args, **kwargs):
        self.right._default_ttl = self.settings.handle_ttl_s * 1.05
        return self.right.store(*args, **kwargs)


@mutant("handles", breaks="handles", finds="cap_exceeded", home="one", env={"LAB_HANDLE_CAP": "4"})
class KeepsHandlesBeyondTheCap(Wrap):
    """Keeps ten times as many handles as it says."""

    def store(self, *args, **kwargs):
        self.right._max_entries = 10 * self.settings.handle_cap
        return self.right.store(*args, **kwargs)


@misses("handles", home="one")
class DropsOneInThirty(Wrap):
    """Loses one handle in thirty as it is stored."""

    def store(self, *args, **kwargs):
        handle = self.right.store(*args, **kwargs)
        if self.every(30):
            self.right._drop(handle.handle_id)
        return handle


@misses("handles", home="one")
class ForgetsHandlesAfterASecond(Wrap):
    """Keeps a handle for a second."""

    def store(self, *args, **kwargs):
        handle = self.right.store(*args, **kwargs)
        later(1.0, self.right._drop, handle.handle_id)
        return handle


@mutant("handles", breaks="handles", finds="foreign_expand")
class ReadByAnybodyOnOneWorker(Wrap):
    """One worker of four does not check who expands a handle."""

    def expand(self, handle, *, principal_id, **how):
        whoever = handle.principal_id if self.settings.replica == "r0" else principal_id
        return self.right.expand(handle, principal_id=whoever, **how)
