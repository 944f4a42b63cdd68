"""One script that counts a grant in its window and tracks its token."""

from __future__ import annotations

import datetime as dt

from weaver_kernel.stores import RevocationStoreProtocol

from lab.state.cached import CachedRevocations
from lab.state.redis.cluster import Cluster
from lab.state.redis.link import Script
from lab.state.redis.stores import RedisLimiter, RedisRevocations
from lab.state.revocations import MARGIN_S, microseconds
from lab.state.seam import State

_S = 1_000_000


class Grants:
    """``acquire`` of the limiter and ``track`` of the revocations as one change of one server."""

    def __init__(
        self, limiter: RedisLimiter, tracked: RedisRevocations, revocations: RevocationStoreProtocol
    ) -> None:
        self.revocations = revocations
        self._limiter = limiter
        self._tracked = tracked
        self._take = Script("grants.take")

    def take(
        self,
        key: str,
        limit: int,
        window_seconds: float,
        *,
        principal_id: str,
        token_id: str,
        expires_at: dt.datetime,
    ) -> bool:
        """Count the grant and track the token, or do neither. Return True if both were done.

        Raises:
            StateUnavailable: The server could not be asked. It may have done both.
        """
        keys = (self._limiter.key(key), *self._tracked.keys(principal_id, token_id))
        window_us, expires_us = round(window_seconds * _S), microseconds(expires_at)
        return bool(
            self._limiter.server.run(self._take, keys, limit, window_us, token_id, expires_us, MARGIN_S * _S)
        )


def grants_of(state: State) -> Grants | None:
    """Return the grants of a state whose limits and revocations are on the same single server, and otherwise None."""
    limiter, revocations = state.limiter, state.revocations
    tracked = revocations.store if isinstance(revocations, CachedRevocations) else revocations
    if not isinstance(limiter, RedisLimiter) or not isinstance(tracked, RedisRevocations):
        return None
    if limiter.server is not tracked.server or isinstance(limiter.server, Cluster):
        return None
    return Grants(limiter, tracked, revocations)
