"""A kernel whose grants ask a Redis once: ``LAB_KERNEL=lab.one_trip:build_kernel``.

A grant asks its store twice, for a slot in the window and to track the token. Both are changes of one server,
so one script can make them: the slot is taken and the token tracked, or neither. The token's id must be known
before the policy has decided, so policy and provider work as a pair: the policy's last question also names
the token that the provider will issue if the answer is yes.

No guarantee is given up. The limit is as atomic as before; a token is tracked before anybody holds it, so
``revoke_all`` covers it and counts it. What differs: a grant that fails between the two (the process is
killed, say) leaves a tracked id that nobody holds, which a later ``revoke_all`` counts.

The window and the principal's tokens are in different slots, which one server has and a cluster does not: on
a cluster, or where limits and revocations are not on the same server, this is `lab.kernel.build_kernel`.
"""

from __future__ import annotations

import uuid
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import Any

from weaver_kernel import (
    Capability,
    CapabilityRequest,
    CapabilityToken,
    Kernel,
    PolicyDecision,
    Principal,
    SafetyClass,
)

from lab import kernel
from lab.kernel import LimitedLifeTokens, assemble, state_options
from lab.policy import SharedLimitPolicy, worker_limits
from lab.settings import Settings
from lab.state import open_state
from lab.state.redis.grants import Grants, grants_of


class OneTripTokens(LimitedLifeTokens):
    """Upstream's tokens; one that was taken together with its slot is tracked already."""

    def __init__(self, settings: Settings, grants: Grants) -> None:
        super().__init__(
            settings.secret,
            revocation_store=grants.revocations,
            ttl_s=settings.token_ttl_s,
            ttls=settings.token_ttls,
        )
        self._grants = grants
        self._taken: CapabilityToken | None = None

    def take(
        self, capability_id: str, principal_id: str, *, key: str, limit: int, window_seconds: float
    ) -> bool:
        """Take a slot and, if there was one, name the token that the next `issue` makes."""
        now = datetime.now(tz=UTC)
        token = CapabilityToken(
            token_id=str(uuid.uuid4()),
            capability_id=capability_id,
            principal_id=principal_id,
            issued_at=now,
            expires_at=now + timedelta(seconds=self.life_s(capability_id)),
        )
        taken = self._grants.take(
            key, limit, window_seconds, principal_id=principal_id, token_id=token.token_id,
            expires_at=token.expires_at,
        )  # fmt: skip
        self._taken = token if taken else None
        return taken

    def issue(
        self,
        capability_id: str,
        principal_id: str,
        *,
        constraints: dict[str, Any] | None = None,
        ttl_seconds: int | None = None,
        audit_id: str = "",
    ) -> CapabilityToken:
        """The token that was taken for this grant, signed; or upstream's, if none was."""
        token, self._taken = self._taken, None
        if (
            token is None
            or (token.capability_id, token.principal_id) != (capability_id, principal_id)
            or ttl_seconds is not None
        ):
            return super().issue(
                capability_id,
                principal_id,
                constraints=constraints,
                ttl_seconds=ttl_seconds,
                audit_id=audit_id,
            )
        token.constraints = constraints or {}
        token.audit_id = audit_id
        token.signature = self._sign(token._signable_payload())  # noqa: SLF001 - what upstream signs
        return token


class OneTripPolicy(SharedLimitPolicy):
    """The shared limit, asked for together with the token.

    Grants are decided one at a time, on one thread.
    """

    def __init__(self, tokens: OneTripTokens, limits: Mapping[SafetyClass, tuple[int, float]]) -> None:
        super().__init__(self, limits)
        self._tokens = tokens
        self._asking = ("", "")

    def evaluate(
        self,
        request: CapabilityRequest,
        capability: Capability,
        principal: Principal,
        *,
        justification: str,
    ) -> PolicyDecision:
        """See `SharedLimitPolicy.evaluate`."""
        self._asking = (capability.capability_id, principal.principal_id)
        return super().evaluate(request, capability, principal, justification=justification)

    def acquire(self, key: str, limit: int, window_seconds: float) -> bool:
        """What `SharedLimitPolicy` asks of its limiter."""
        return self._tokens.take(*self._asking, key=key, limit=limit, window_seconds=window_seconds)


def build_kernel(settings: Settings) -> Kernel:
    """The lab's kernel, its grants in one round trip where the state allows it."""
    state = open_state(settings.state, state_options(settings))
    grants = grants_of(state)
    if grants is None:
        state.close()
        return kernel.build_kernel(settings)
    tokens = OneTripTokens(settings, grants)
    return assemble(settings, state, policy=OneTripPolicy(tokens, worker_limits(settings)), tokens=tokens)
