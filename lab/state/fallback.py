"""A state that is wrong on purpose: while its store cannot be reached, each process goes on alone, without an error.

``fallback+redis://`` is ``redis://`` with one difference in its limiter and its revocations: a call that the
store does not answer is answered by stores in the process's own memory. Many published limiters do so
(``in_memory_fallback`` and similar options). As long as the store answers, this state is right. While the store cannot
be reached, each process counts and remembers alone. N processes admit N times the limit, and a token that was revoked
before is accepted. No error says so.

Its handles, traces and budget are those of ``redis://``, which refuse. The deployment ``redis-fallback`` therefore
takes only its limiter and its revocations from here, and keeps the rest in memory: a handle that cannot be stored turns
an accepted token into a 503, which hides that the token was accepted.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable
from dataclasses import replace
from typing import TypeVar

from weaver_kernel import RevocationStoreProtocol
from weaver_kernel.rate_limit import RateLimiter
from weaver_kernel.stores import InMemoryRevocationStore

from lab.state import redis
from lab.state.limiter import SharedLimiter
from lab.state.seam import State, StateOptions, StateUnavailable
from lab.state.url import StateURL, parse

T = TypeVar("T")


def _either(shared: Callable[[], T], own: Callable[[], T]) -> T:
    """Return the store's answer, or this process's own answer if the store does not answer."""
    try:
        return shared()
    except StateUnavailable:
        return own()


class FallbackLimiter(SharedLimiter):
    """A limiter that counts in the store, and in this process alone while the store cannot be reached."""

    def __init__(self, shared: SharedLimiter) -> None:
        self._shared = shared
        self._own = RateLimiter()

    def acquire(self, key: str, limit: int, window_seconds: float) -> bool:
        """See `SharedLimiter.acquire`."""

        def alone() -> bool:
            fits = self._own.check(key, limit, window_seconds)
            if fits:
                self._own.record(key)
            return fits

        return _either(lambda: self._shared.acquire(key, limit, window_seconds), alone)

    def peek(self, key: str, limit: int, window_seconds: float) -> bool:
        """See `SharedLimiter.peek`."""
        return _either(
            lambda: self._shared.peek(key, limit, window_seconds),
            lambda: self._own.check(key, limit, window_seconds),
        )


class FallbackRevocations:
    """Revocations that are kept in the store, and in this process alone while the store cannot be reached."""

    def __init__(self, shared: RevocationStoreProtocol) -> None:
        self._shared = shared
        self._own = InMemoryRevocationStore()

    def revoke(self, token_id: str) -> None:
        """See upstream's protocol."""
        _either(lambda: self._shared.revoke(token_id), lambda: self._own.revoke(token_id))

    def is_revoked(self, token_id: str) -> bool:
        """See upstream's protocol."""
        return _either(lambda: self._shared.is_revoked(token_id), lambda: self._own.is_revoked(token_id))

    def track(self, principal_id: str, token_id: str, expires_at: dt.datetime) -> None:
        """See upstream's protocol."""
        _either(
            lambda: self._shared.track(principal_id, token_id, expires_at),
            lambda: self._own.track(principal_id, token_id, expires_at),
        )

    def revoke_principal(self, principal_id: str) -> int:
        """See upstream's protocol."""
        return _either(
            lambda: self._shared.revoke_principal(principal_id),
            lambda: self._own.revoke_principal(principal_id),
        )

    def sweep_expired(self, now: dt.datetime) -> int:
        """See upstream's protocol."""
        return _either(lambda: self._shared.sweep_expired(now), lambda: self._own.sweep_expired(now))


def open_url(url: StateURL, options: StateOptions) -> State:
    """Open the state that is wrong on purpose."""
    rest = redis.open_url(parse(url.text.removeprefix("fallback+")), options)
    if not isinstance(rest.limiter, SharedLimiter):
        raise TypeError("the limiter of a Redis is shared")
    return replace(
        rest, limiter=FallbackLimiter(rest.limiter), revocations=FallbackRevocations(rest.revocations)
    )
