"""Faults of a chosen strength: how small can a fault be and still be found?

A mutant is wrong in one fixed way. A graded fault has a strength: the share of calls in which a kernel goes
wrong, by how many milliseconds it is late, or by how many percent a time is off. Which calls go wrong is
drawn at random, from the seed of the run.

``LAB_KERNEL=mutants.graded:LosesHandles_at_2`` is the kernel that loses 2 % of its handles; ``_at_0_5`` is half
a percent.
"""

from __future__ import annotations

import random
import time
import uuid
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any, Literal

from weaver_kernel import (
    BudgetExhausted,
    CapabilityNotFound,
    HandleConstraintViolation,
    HandleNotFound,
    Kernel,
    TokenInvalid,
)

from lab.settings import Settings
from mutants.mutant import Home, Mutant, Part, Wrap, later

Unit = Literal["% of calls", "ms", "% of the time"]

STRENGTHS: dict[Unit, tuple[float, ...]] = {
    "% of calls": (50, 20, 10, 5, 2, 1, 0.5),
    "ms": (500, 200, 100, 50, 20, 10, 5, 2),
    "% of the time": (50, 20, 10, 5, 2, 1),
}
"""The strengths that are tried, from the strongest."""


@dataclass(frozen=True, kw_only=True)
class Graded:
    """A fault that comes in strengths."""

    name: str
    breaks: str
    """The claim, which is the scenario's name too."""
    wrong: str
    """What is wrong, in words that end where the strength is named."""
    unit: Unit
    part: Part
    home: Home
    wrap: Callable[[Any, Settings, float], Any]
    """``wrap(right part, settings, strength)`` is the wrong one; a strength in percent comes as a share."""

    def factory(self, strength: float) -> str:
        """As ``LAB_KERNEL`` names this fault at a strength."""
        written = f"{strength:g}".replace(".", "_")
        return f"{__name__}:{self.name}_at_{written}"

    def kernel(self, strength: float) -> Callable[[Settings], Kernel]:
        """The kernel that is wrong by so much."""
        size = strength / 100 if self.unit != "ms" else strength
        return Mutant(
            name=self.name, module=__name__, wrong=self.wrong, part=self.part, breaks=self.breaks, finds="",
            wrap=lambda right, settings: self.wrap(right, settings, size),
        )  # fmt: skip


GRADED: dict[str, Graded] = {}
"""Every graded fault, by name."""


def __getattr__(name: str) -> Callable[[Settings], Kernel]:
    fault, _, strength = name.partition("_at_")
    if fault not in GRADED or not strength:
        raise AttributeError(name)
    return GRADED[fault].kernel(float(strength.replace("_", ".")))


def graded(breaks: str, wrong: str, unit: Unit, part: Part, home: Home = "one") -> Callable[..., Any]:
    """List what is decorated, a class or a function of the right part, the settings and the strength."""

    def listed(wrap: Callable[..., Any]) -> Graded:
        one = Graded(
            name=wrap.__name__, breaks=breaks, wrong=wrong, unit=unit, part=part, home=home, wrap=wrap
        )
        GRADED[one.name] = one
        return one

    return listed


class Sometimes(Wrap):
    """A part that is wrong in some calls, or that is late by some time."""

    def __init__(self, right: Any, settings: Settings, size: float) -> None:
        super().__init__(right, settings)
        self.size = size
        # a simulation draws every UUID from its seed
        self.draw = random.Random(uuid.uuid4().int).random

    def now(self) -> bool:
        """Whether this call is one of those that go wrong."""
        return self.draw() < self.size


@graded("tokens", "rejects a good token", "% of calls", "tokens")
class RejectsTokens(Sometimes):
    def verify(self, token, **expected):
        self.right.verify(token, **expected)
        if self.now():
            raise TokenInvalid(f"Token '{token.token_id}' has an invalid signature.")


@graded("tokens", "accepts whatever is presented", "% of calls", "tokens")
class AcceptsForgeries(Sometimes):
    def verify(self, token, **expected):
        if not self.now():
            self.right.verify(token, **expected)


@graded("tokens", "accepts a token after its end, late by", "ms", "tokens")
class ExpiresLate(Sometimes):
    def verify(self, token, **expected):
        at = token.expires_at
        if 0 <= time.time() - at.timestamp() < self.size / 1000:
            token.expires_at = at.fromtimestamp(time.time() + 1, at.tzinfo)
            token.signature = self.right._sign(token._signable_payload())
        self.right.verify(token, **expected)


@graded("rate_limit", "admits a grant without counting it", "% of calls", "limiter", "each")
class AdmitsUncounted(Sometimes):
    def acquire(self, key, limit, window_s):
        return self.now() or self.right.acquire(key, limit, window_s)


@graded("rate_limit", "denies a grant that is within the limit", "% of calls", "limiter", "each")
class DeniesGrants(Sometimes):
    def acquire(self, key, limit, window_s):
        return not self.now() and self.right.acquire(key, limit, window_s)


@graded("rate_limit", "counts in a window that is too short, by", "% of the time", "limiter", "each")
class ShortWindow(Sometimes):
    def acquire(self, key, limit, window_s):
        return self.right.acquire(key, limit, window_s * (1 - self.size))


@graded("revocation", "answers a revoke and does nothing", "% of calls", "revocations")
class LosesRevokes(Sometimes):
    def revoke(self, token_id):
        if not self.now():
            self.right.revoke(token_id)


@graded("revocation", "does not look whether a token was revoked", "% of calls", "revocations")
class SkipsChecks(Sometimes):
    def is_revoked(self, token_id):
        return not self.now() and self.right.is_revoked(token_id)


@graded("revocation", "revokes after it has answered, late by", "ms", "revocations")
class RevokesLate(Sometimes):
    def revoke(self, token_id):
        later(self.size / 1000, self.right.revoke, token_id)

    def revoke_principal(self, principal_id):
        later(self.size / 1000, self.right.revoke_principal, principal_id)
        return 0


@graded("handles", "loses a handle as it is stored", "% of calls", "handles")
class LosesHandles(Sometimes):
    def store(self, *args, **kwargs):
        handle = self.right.store(*args, **kwargs)
        if self.now():
            self.right._drop(handle.handle_id)
        return handle


@graded("handles", "does not find a handle", "% of calls", "handles")
class MissesHandles(Sometimes):
    def get_meta(self, handle_id):
        if self.now():
            raise HandleNotFound(handle_id)
        return self.right.get_meta(handle_id)


@graded("handles", "does not look who expands a handle", "% of calls", "handles")
class ShowsStrangers(Sometimes):
    def expand(self, handle, *, principal_id, **how):
        whoever = handle.principal_id if self.now() else principal_id
        return self.right.expand(handle, principal_id=whoever, **how)


@graded("handles", "takes the owner for a stranger", "% of calls", "handles")
class RefusesOwners(Sometimes):
    def expand(self, handle, **how):
        if self.now():
            raise HandleConstraintViolation(
                "handle of another principal", reason_code="handle_principal_mismatch"
            )
        return self.right.expand(handle, **how)


@graded("handles", "shows a row with a wrong value", "% of calls", "handles")
class WrongRows(Sometimes):
    def expand(self, handle, **how):
        frame = self.right.expand(handle, **how)
        rows = frame.table_preview
        if rows and self.now():
            rows = [{**rows[0], "currency": "XXX"}, *rows[1:]]
        return replace(frame, table_preview=rows)


@graded("handles", "lets a handle expire too early, by", "% of the time", "handles")
class ShortHandles(Sometimes):
    def store(self, *args, **kwargs):
        self.right._default_ttl = self.settings.handle_ttl_s * (1 - self.size)
        return self.right.store(*args, **kwargs)


@graded("traces", "loses a trace", "% of calls", "traces", "each")
class LosesTraces(Sometimes):
    def record(self, trace):
        if not self.now():
            self.right.record(trace)


@graded("traces", "leaves a trace out of a listing", "% of calls", "traces", "each")
class UnlistsTraces(Sometimes):
    def query(self, query):
        return [trace for trace in self.right.query(query) if not self.now()]


@graded("traces", "records another principal than the one who acted", "% of calls", "traces", "each")
class BlamesOthers(Sometimes):
    def record(self, trace):
        self.right.record(replace(trace, principal_id="nobody") if self.now() else trace)


@graded("traces", "records after the invoke was answered, late by", "ms", "traces", "each")
class RecordsLate(Sometimes):
    def record(self, trace):
        later(self.size / 1000, self.right.record, trace)


@graded("budget", "forgets to charge an invoke", "% of calls", "budget")
class ForgetsCharges(Sometimes):
    async def record_usage(self, actual, *, reserved=None):
        await self.right.record_usage(0 if self.now() else actual, reserved=reserved)


@graded("budget", "charges an invoke twice", "% of calls", "budget")
class ChargesTwice(Sometimes):
    async def record_usage(self, actual, *, reserved=None):
        await self.right.record_usage(actual, reserved=reserved)
        if self.now():
            await self.right.record_usage(actual)


@graded("budget", "denies an invoke although the budget is not used up", "% of calls", "budget")
class DeniesInvokes(Sometimes):
    async def allocate(self, requested=None):
        if self.now():
            raise BudgetExhausted("nothing left")
        return await self.right.allocate(requested)


@graded("capabilities", "does not know an imported capability", "% of calls", "kernel")
class ForgetsCapabilities(Sometimes):
    def __init__(self, kernel, settings, size):
        super().__init__(kernel, settings, size)
        get = kernel._registry.get

        def sometimes(capability_id):
            if capability_id.startswith("remote.") and self.now():
                raise CapabilityNotFound(capability_id)
            return get(capability_id)

        kernel._registry.get = sometimes


@graded("capabilities", "carries an import out after it has answered, late by", "ms", "kernel")
class ImportsLate(Sometimes):
    def __init__(self, kernel, settings, size):
        super().__init__(kernel, settings, size)
        importing = kernel.import_remote

        def import_remote(manifest, **how):
            later(size / 1000, lambda: importing(manifest, **how))
            return []

        kernel.import_remote = import_remote


@graded("stats", "does not count a grant", "% of calls", "stats")
class MissesGrants(Sometimes):
    def on_grant(self):
        if not self.now():
            self.right.on_grant()


@graded("stats", "counts an expansion twice", "% of calls", "stats")
class CountsTwice(Sometimes):
    def on_expansion(self):
        self.right.on_expansion()
        if self.now():
            self.right.on_expansion()
