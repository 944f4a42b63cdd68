"""The five kinds of state on a Redis or Valkey server: every change is one script, and every script uses one slot.

A script runs alone on its server, so it takes effect at one instant, and its time is the server's. Keys have the
kind of state as their hash tag, ``{lab:handles}:…``. So the keys of one kind are in one slot, and a cluster spreads the
kinds, and the windows of the limiter, over its nodes. Every key expires by itself, each after its own time.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable
from typing import Any

from weaver_kernel.firewall.token_counting import TokenCounter

from lab.state.budget import LEASE_S, Pool, SharedBudget
from lab.state.handles import KEPT_EXPIRED_S, Life, SharedHandles
from lab.state.limiter import SharedLimiter
from lab.state.redis.link import Script, Server
from lab.state.revocations import MARGIN_S, UNTRACKED_S, microseconds

_S = 1_000_000
KEPT_MS = 30 * 86_400 * 1000
"""Milliseconds for which traces and the budget are kept after their last change."""


class RedisRevocations:
    """Upstream's revocation store: one key per token, good or revoked, and one index per principal.

    All of its keys are in one slot, because a token's id alone must tell which node to ask, and because all tokens of
    a principal must be revoked at one instant. Scripts run one after the other. So ``revoke_principal`` covers every
    token whose ``track`` returned before it was called, and a ``track`` that overlaps comes wholly before it or
    wholly after.

    A token's key lives longer than the token, by `MARGIN_S` of the server's clock. So the store has nothing to sweep
    and does not depend on a caller's clock.
    """

    def __init__(self, server: Server, namespace: str) -> None:
        self.server = server
        tag = f"{{{namespace}:revocations}}"
        self._token, self._principal, self.channel = f"{tag}:token:", f"{tag}:principal:", f"{tag}:revoked"
        self._track = Script("revocations.track")
        self._revoke = Script("revocations.revoke")
        self._revoke_principal = Script("revocations.revoke_principal")

    def keys(self, principal_id: str, token_id: str) -> tuple[str, str]:
        """Return the key of a token, and the key of the index of its principal."""
        return self._token + token_id, self._principal + principal_id

    def is_revoked(self, token_id: str) -> bool:
        """Return whether `token_id` has been revoked. If the server cannot say, raise an error and do not guess."""
        key = self._token + token_id
        return bool(self.server.call(key, "GET", key) == b"1")

    def revoke(self, token_id: str) -> None:
        """Revoke one token, known or not. A second call changes nothing."""
        self.server.run(self._revoke, (self._token + token_id, self.channel), token_id, UNTRACKED_S * 1000)

    def track(self, principal_id: str, token_id: str, expires_at: dt.datetime) -> None:
        """Remember that `token_id` was issued to `principal_id`. A revoked token stays revoked."""
        self.server.run(
            self._track,
            self.keys(principal_id, token_id),
            token_id,
            microseconds(expires_at),
            MARGIN_S * _S,
        )

    def revoke_principal(self, principal_id: str) -> int:
        """Revoke every token tracked for `principal_id`, and return the number of those that were good until now."""
        return int(
            self.server.run(
                self._revoke_principal, (self._principal + principal_id, self.channel), self._token
            )
        )

    def sweep_expired(self, now: dt.datetime) -> int:  # noqa: ARG002 - upstream's signature
        """Do nothing, because expired keys disappear by themselves."""
        return 0


class RedisLimiter(SharedLimiter):
    """A limiter with one list per key: the times of the admissions that still count.

    Each window is in a slot of its own.
    """

    def __init__(self, server: Server, namespace: str) -> None:
        self.server = server
        self._prefix = f"{namespace}:window:"
        self._acquire = Script("limiter.acquire")
        self._peek = Script("limiter.peek")

    def key(self, key: str) -> str:
        """Return the key of a window."""
        return self._prefix + key

    def acquire(self, key: str, limit: int, window_seconds: float) -> bool:
        """See `SharedLimiter.acquire`."""
        return bool(self.server.run(self._acquire, (self.key(key),), limit, round(window_seconds * _S)))

    def peek(self, key: str, limit: int, window_seconds: float) -> bool:
        """See `SharedLimiter.peek`."""
        return bool(self.server.run(self._peek, (self.key(key),), limit, round(window_seconds * _S)))


class RedisHandles(SharedHandles):
    """Handles with one hash each, and two indexes: by age for the cap, and by expiry."""

    def __init__(
        self,
        server: Server,
        namespace: str,
        default_ttl_seconds: int = 3600,
        *,
        max_entries: int = 10_000,
    ) -> None:
        super().__init__(default_ttl_seconds, max_entries=max_entries)
        self._server = server
        tag = f"{{{namespace}:handles}}"
        self._handle, self._order, self._expiry = f"{tag}:handle:", f"{tag}:order", f"{tag}:expiry"
        self._store = Script("handles.put")
        self._fetch = Script("handles.get")
        self._evict = Script("handles.evict")
        self._measure = Script("handles.bytes")

    def evict_expired(self) -> int:
        """Forget every handle whose time has passed, and return their number."""
        return int(self._server.run(self._evict, (self._order, self._expiry), self._handle))

    def _put(self, handle_id: str, *, meta: bytes, data: bytes, ttl_s: int) -> Callable[[], Life]:
        keys = (self._handle + handle_id, self._order, self._expiry)
        kept = (ttl_s * _S, self._max_entries, KEPT_EXPIRED_S * _S)
        answer = self._server.start(self._store, keys, handle_id, meta, data, *kept, self._handle)
        return lambda: Life(*answer())

    def _read(self, handle_id: str) -> tuple[bytes | None, Life] | None:
        row = self._server.run(self._fetch, (self._handle + handle_id,))
        return None if row is None else (row[2], Life(int(row[0]), int(row[1])))

    def _describe(self, handle_id: str) -> tuple[bytes, Life] | None:
        key = self._handle + handle_id
        meta, created, expires = self._server.call(key, "HMGET", key, "meta", "created", "expires")
        return None if meta is None else (meta, Life(int(created), int(expires)))

    def _bytes(self) -> int:
        return int(self._server.run(self._measure, (self._order,), self._handle))


class RedisBudget(SharedBudget):
    """A budget whose use is one number. The reserved amount is the sum of the leases that are not overdue."""

    __slots__ = ("_keys", "_scripts", "_server")

    def __init__(
        self,
        server: Server,
        namespace: str,
        total_budget: int,
        *,
        token_counter: TokenCounter | None = None,
        default_request: int = 4_000,
    ) -> None:
        super().__init__(total_budget, token_counter=token_counter, default_request=default_request)
        self._server = server
        tag = f"{{{namespace}:budget}}"
        self._keys = (f"{tag}:used", f"{tag}:leases", f"{tag}:amounts")
        self._scripts = {name: Script(f"budget.{name}") for name in ("pool", "reserve", "settle")}

    def _pool(self) -> Pool:
        return Pool(*self._run("pool"))

    def _reserve(self, name: str, want: int) -> tuple[int | None, Pool]:
        granted, used, reserved = self._run("reserve", name, want, self.total_budget, LEASE_S * _S, KEPT_MS)
        return granted, Pool(used, reserved)

    def _settle(self, leases: list[tuple[str, int]], actual: int) -> None:
        flat = [part for lease in leases for part in lease]
        self._run("settle", actual, self.total_budget, KEPT_MS, *flat)

    def _run(self, name: str, *arguments: str | int) -> Any:
        return self._server.run(self._scripts[name], self._keys, *arguments)
