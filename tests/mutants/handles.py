"""Handle stores that lose what they keep, keep it too long, or show it to others."""

from __future__ import annotations

import time
from functools import partial

from weaver_kernel import HandleConstraintViolation, HandleNotFound

from mutants.mutant import Wrap, elsewhere, mutant

misses = partial(mutant, breaks="handles", finds="miss")


@misses("settings", bitten="https://github.com/modelcontextprotocol/python-sdk/issues/520")
def handles_per_worker(settings):
    """Every worker keeps its own."""
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
    """Does not look who expands a handle."""

    def expand(self, handle, *, principal_id, **how):
        return self.right.expand(handle, principal_id=handle.principal_id, **how)


@mutant("handles", breaks="handles", finds="refused_owner")
class RefusesOwners(Wrap):
    """Takes the owner of a handle for somebody else, one time in six."""

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
