"""A kernel whose grants make one call to Redis: ``LAB_KERNEL=lab.one_trip:build_kernel``.

A grant makes two calls to its store: one counts the grant in the window, the other tracks the token. Both change the
same server, so one script can do both: it counts the grant and tracks the token, or it does neither. The token's id
must be known before the policy has decided. So the limiter makes the token, and the token provider signs and issues it
later in the same grant.

No guarantee is given up. The limit is as atomic as before. A token is tracked before anybody holds it, so
``revoke_all`` covers it and counts it. One thing differs: if a grant fails between the two steps (the process
is killed, for example), the id of a token that no caller holds stays tracked, and a later ``revoke_all`` counts it.

The window and the principal's tokens are in different slots of the key space. One server has all slots; a cluster
does not. On a cluster, or where limits and revocations are not on the same server, the kernel is that of
`lab.kernel.build_kernel`.
"""

from __future__ import annotations

import uuid
from contextvars import ContextVar
from datetime import UTC, datetime, timedelta
from typing import Any

from weaver_kernel import CapabilityToken, Kernel

from lab import kernel
from lab.kernel import LimitedLifeTokens, assemble, state_options
from lab.policy import SharedLimitPolicy, limit_key, worker_limits
from lab.settings import Settings
from lab.state import open_state
from lab.state.redis.grants import Grants, grants_of


class TrackedToken:
    """The token that the running grant has tracked and not issued yet, if there is one.

    The kernel asks its policy and then its token provider within one call. Other grants may run between the
    two, because a store call gives the event loop away. Each grant must issue its own token: another grant's
    may be revoked already. A context variable belongs to one call (each HTTP request, and each call that
    `lab.bridge` runs, has a context of its own), so one grant never sees another's token.
    """

    def __init__(self) -> None:
        self._token: ContextVar[CapabilityToken | None] = ContextVar("tracked_token", default=None)

    def put(self, token: CapabilityToken | None) -> None:
        """Keep the token that this grant has tracked; None where the grant was refused."""
        self._token.set(token)

    def take(self) -> CapabilityToken | None:
        """Return the token of this grant, and forget it. A second call returns None."""
        token = self._token.get()
        self._token.set(None)
        return token


class TrackingLimiter:
    """A limiter that counts a grant and tracks its token in one step."""

    def __init__(self, grants: Grants, tokens: OneTripTokens, tracked: TrackedToken) -> None:
        self._grants = grants
        self._tokens = tokens
        self._tracked = tracked

    def admit(self, principal_id: str, capability_id: str, limit: int, window_seconds: float) -> bool:
        """See `lab.policy.GrantLimiter.admit`."""
        now = datetime.now(tz=UTC)
        token = CapabilityToken(
            token_id=str(uuid.uuid4()),
            capability_id=capability_id,
            principal_id=principal_id,
            issued_at=now,
            expires_at=now + timedelta(seconds=self._tokens.life_s(capability_id)),
        )
        admitted = self._grants.take(
            limit_key(principal_id, capability_id),
            limit,
            window_seconds,
            principal_id=principal_id,
            token_id=token.token_id,
            expires_at=token.expires_at,
        )
        self._tracked.put(token if admitted else None)
        return admitted


class OneTripTokens(LimitedLifeTokens):
    """Upstream's token provider, which signs and issues the token that this grant has already tracked."""

    def __init__(self, settings: Settings, grants: Grants, tracked: TrackedToken) -> None:
        super().__init__(
            settings.secret,
            revocation_store=grants.revocations,
            ttl_s=settings.token_ttl_s,
            ttls=settings.token_ttls,
        )
        self._tracked = tracked

    def issue(
        self,
        capability_id: str,
        principal_id: str,
        *,
        constraints: dict[str, Any] | None = None,
        ttl_seconds: int | None = None,
        audit_id: str = "",
    ) -> CapabilityToken:
        """Return the token that this grant has tracked, signed. If there is none, upstream makes a new token."""
        token = self._tracked.take()
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


def build_kernel(settings: Settings) -> Kernel:
    """Build the lab's kernel. Its grants make one round trip to the store where the state allows this."""
    state = open_state(settings.state, state_options(settings))
    grants = grants_of(state)
    if grants is None:
        state.close()
        return kernel.build_kernel(settings)
    tracked = TrackedToken()
    tokens = OneTripTokens(settings, grants, tracked)
    limiter = TrackingLimiter(grants, tokens, tracked)
    policy = SharedLimitPolicy(limiter, worker_limits(settings))
    return assemble(settings, state, policy=policy, tokens=tokens)
