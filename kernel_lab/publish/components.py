"""The kernel's stateful components, as an operator meets them: the fixed words of docs/consistency-model.md.

What is measured stands beside these words in the generated table and is never written here.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class Component:
    """One kind of state."""

    name: str
    scenario: str
    """Whose cells are its evidence."""
    default: str
    """Where upstream keeps it."""
    seen: str
    """What a caller sees with N workers on M hosts."""
    bound: str
    """The most it can go wrong by."""
    away: str
    """What a caller gets while a shared store is away (docs/state.md)."""
    repair: str
    """What makes the claim hold, and what only bounds it."""
    on: str = "memory-4"
    """The deployment whose N workers show it."""
    hosts: str = "replicas"
    """The deployment whose M hosts show it."""


COMPONENTS = (
    Component(
        name="token signatures",
        scenario="tokens",
        default="none: HMAC over the payload, with one secret",
        seen="nothing: a token verifies on every worker that has the secret",
        bound="–",
        away="needs no store",
        repair="not needed",
    ),
    Component(
        name="secret, where none is set",
        scenario="tokens",
        default="`_secrets._DEV_SECRET`: random, one for each process",
        seen="other workers call a good token tampered with",
        bound="1 − 1/(N·M) of verifications, at every restart all of them",
        away="needs no store",
        repair="set `WEAVER_KERNEL_SECRET` on every worker",
        on="no-secret",
        hosts="",
    ),
    Component(
        name="rate windows",
        scenario="rate_limit",
        default="`RateLimiter` in each process, counted when a token is granted",
        seen="up to N·M times the limit; whether one is denied depends on the worker one meets",
        bound="× N·M: the sum over workers of min(L, attempts that met it)",
        away="503: nothing is granted",
        repair="one atomic acquire in a shared store, or a sidecar; per principal also sticky routing; "
        "as a ceiling only, L divided by the workers",
    ),
    Component(
        name="revocations",
        scenario="revocation",
        default="`InMemoryRevocationStore` in each process",
        seen="a revoked token goes on working where nobody revoked it; `revoke_all` covers what the asked "
        "worker issued",
        bound="1 − 1/(N·M) of invokes, until the token expires",
        away="503: no invoke passes unchecked",
        repair="a shared revocation store, or a sidecar; as a bound on time only, short-lived tokens",
    ),
    Component(
        name="handles",
        scenario="handles",
        default="`HandleStore` in each process",
        seen="`HandleNotFound` for a handle that is minutes old",
        bound="1 − 1/(N·M) of expansions",
        away="503; an invoke whose handle cannot be kept fails after its driver has run",
        repair="a shared handle store, or a sidecar; per principal also sticky routing to one worker",
    ),
    Component(
        name="traces and audit",
        scenario="traces",
        default="`TraceStore` in each process; no chain",
        seen="`explain` does not know an action that another worker carried out; a listing is one worker's",
        bound="1 − 1/(N·M) of explanations; all of a worker's at its end",
        away="503; an invoke whose trace cannot be kept fails after its driver has run",
        repair="a shared trace store, or a sidecar",
    ),
    Component(
        name="budget",
        scenario="budget",
        default="`BudgetManager` in each process, one pool for all principals",
        seen="each worker spends a pool of its own, and a new one after a restart",
        bound="× N·M, and once more at each restart",
        away="503: nothing is invoked",
        repair="a shared pool with reservations, or a sidecar",
    ),
    Component(
        name="capability registry",
        scenario="capabilities",
        default="`CapabilityRegistry` in each process",
        seen="`CapabilityNotFound` for what was imported at run time through another worker",
        bound="1 − 1/(N·M) of uses",
        away="in no store",
        repair="register at start-up, or a sidecar on one host; no store holds it",
    ),
    Component(
        name="stats",
        scenario="stats",
        default="`Kernel._stats` in each process",
        seen="the counters of whichever worker answers",
        bound="a worker's share",
        away="in no store",
        repair="sum them over the workers, or a sidecar on one host; no store holds them",
    ),
    Component(
        name="streams",
        scenario="streams",
        default="checked once, when a stream begins",
        seen="a revoked token begins another stream elsewhere, and other workers cannot explain one that has "
        "ended; a stream that has begun outlives its revocation, in one process too",
        bound="as revocations and traces",
        away="503 before the first frame",
        repair="as revocations and traces; a stream under way is not ended by any store",
    ),
)
