"""Upstream's policy, with its rate limit taken from a store that all workers share.

Upstream's `DefaultPolicyEngine` keeps its windows in the process, and they cannot be replaced. So the engine is
wrapped. It judges everything else, and its own limits are set so high that they never refuse. Then one atomic step on
the shared limiter admits the grant or refuses it. The text, the reason code and the log record of a refusal are
upstream's, so a refusal is audited and counted as upstream does it. One difference remains: upstream logs
``policy_allowed`` (at INFO) before the shared limit is asked.
"""

from __future__ import annotations

import logging
import sys
from typing import TYPE_CHECKING, Protocol

from weaver_kernel import DefaultPolicyEngine, DenialReason, PolicyDenied, SafetyClass
from weaver_kernel.rate_limit import DEFAULT_RATE_LIMITS, SERVICE_RATE_MULTIPLIER

if TYPE_CHECKING:
    from collections.abc import Mapping

    from weaver_kernel import Capability, CapabilityRequest, DenialExplanation, PolicyDecision, Principal

    from lab.settings import Settings

logger = logging.getLogger("weaver_kernel.policy")  # a refusal is logged where upstream logs its own

Limits = dict[SafetyClass, tuple[int, float]]
"""Safety class → (grants, window in seconds), as `DefaultPolicyEngine` takes them."""

_NEVER_BINDS = (sys.maxsize, 1e-9)
"""A limit that never refuses. Its window is so short that upstream's own log of admissions keeps one entry."""


class AtomicLimiter(Protocol):
    """A limiter whose test and count are one step for every process that shares it."""

    def acquire(self, key: str, limit: int, window_seconds: float) -> bool:
        """Count one admission and return True if fewer than `limit` were counted in the last `window_seconds`."""
        ...


class GrantLimiter(Protocol):
    """The last question of a policy: does the limit allow one more grant?

    There are two kinds. `CountingLimiter` only counts the grant. `lab.one_trip.TrackingLimiter` counts it and
    tracks its token in the same step.
    """

    def admit(self, principal_id: str, capability_id: str, limit: int, window_seconds: float) -> bool:
        """Admit the grant if fewer than `limit` were admitted to this pair in the last `window_seconds`."""
        ...


class CountingLimiter:
    """A limiter that counts a grant in a shared store."""

    def __init__(self, limiter: AtomicLimiter) -> None:
        self._limiter = limiter

    def admit(self, principal_id: str, capability_id: str, limit: int, window_seconds: float) -> bool:
        """See `GrantLimiter.admit`."""
        return self._limiter.acquire(limit_key(principal_id, capability_id), limit, window_seconds)


def limit_key(principal_id: str, capability_id: str) -> str:
    """The key of the window of one principal and one capability.

    Two different pairs never have the same key: the key begins with the length of the principal's id and a
    colon, so a reader can tell where the principal ends, whatever characters the two ids contain.

    >>> limit_key("ada", "billing.get_invoice")
    '3:ada:billing.get_invoice'
    """
    return f"{len(principal_id)}:{principal_id}:{capability_id}"


def asked_limits(settings: Settings) -> Limits:
    """Return the limits that a deployment is asked to keep: upstream's, or those of ``LAB_RATE_LIMITS``."""
    return {
        **DEFAULT_RATE_LIMITS,
        **{SafetyClass(name): limit for name, limit in settings.rate_limits.items()},
    }


def worker_limits(settings: Settings) -> Limits:
    """Return the limits that one worker applies: the deployment's, divided by ``LAB_SPLIT_LIMIT``, and at least 1."""
    return {
        safety: (max(1, limit // settings.split_limit), window)
        for safety, (limit, window) in asked_limits(settings).items()
    }


class SharedLimitPolicy:
    """`DefaultPolicyEngine`, except that `limiter` keeps the sliding windows.

    Args:
        limiter: Admits a grant or does not.
        limits: The complete ``rate_limits``, as `DefaultPolicyEngine` takes them.
    """

    def __init__(self, limiter: GrantLimiter, limits: Mapping[SafetyClass, tuple[int, float]]) -> None:
        self._limiter = limiter
        self._limits = limits
        self._inner = DefaultPolicyEngine(rate_limits=dict.fromkeys(SafetyClass, _NEVER_BINDS))

    def evaluate(
        self,
        request: CapabilityRequest,
        capability: Capability,
        principal: Principal,
        *,
        justification: str,
    ) -> PolicyDecision:
        """Return upstream's decision, after the shared limit was asked too. Upstream also asks its own limit last.

        Raises:
            PolicyDenied: Upstream denied the grant, or the shared limit did (``rate_limited``).
            StateUnavailable: The limiter could not be asked. Nothing is granted then.
        """
        decision = self._inner.evaluate(request, capability, principal, justification=justification)
        limit, window_s = self._limits[capability.safety_class]
        if "service" in principal.roles:
            limit *= SERVICE_RATE_MULTIPLIER
        if not self._limiter.admit(principal.principal_id, capability.capability_id, limit, window_s):
            raise _rate_limited(capability, principal, limit, window_s)
        return decision

    def explain(
        self,
        request: CapabilityRequest,
        capability: Capability,
        principal: Principal,
        *,
        justification: str,
    ) -> DenialExplanation:
        """Return upstream's explanation, which leaves rate limits out."""
        return self._inner.explain(request, capability, principal, justification=justification)


def _rate_limited(capability: Capability, principal: Principal, limit: int, window_s: float) -> PolicyDenied:
    reason = (
        f"Rate limit exceeded: {limit} {capability.safety_class.value} "
        f"invocations per {window_s}s for principal '{principal.principal_id}'"
    )
    logger.warning(
        "policy_denied",
        extra={
            "principal_id": principal.principal_id,
            "capability_id": capability.capability_id,
            "reason": reason,
            "reason_code": DenialReason.RATE_LIMITED,
        },
    )
    return PolicyDenied(reason, reason_code=DenialReason.RATE_LIMITED)
