"""States that are wrong on purpose: shared, but not atomic. The lab must find that they are wrong.

``naive+redis://`` and ``stash://`` (gunicorn's dirty stash) both read a value, change it in the worker and write it
back. A change that another process makes in between is lost. So a limiter admits more than its limit, a principal's
index misses tokens, and a revocation is lost.

``naive+redis://`` is wrong in its limiter and its revocations; its handles, traces and budget are those of
``redis://``. ``stash://`` has the same two in gunicorn's stash, and the rest in memory. The stash exists
only under a gunicorn with ``dirty_workers`` and ``dirty_apps = ["lab.state.controls:Stash"]``.
"""

from __future__ import annotations

import datetime as dt
import json
import os
import time
from collections.abc import Callable
from dataclasses import replace
from typing import Any, Protocol

from gunicorn.dirty.app import DirtyApp
from gunicorn.dirty.errors import DirtyError
from gunicorn.dirty.stash import StashClient, get_stash_socket_path

from lab.state import memory
from lab.state.limiter import SharedLimiter
from lab.state.redis.link import Server
from lab.state.seam import State, StateOptions, StateUnavailable
from lab.state.url import StateURL, parse

_KEPT_MS = 86_400_000


class Shelf(Protocol):
    """Get and put: the two methods of a store that is only a shared dictionary."""

    def get(self, key: str) -> list[Any]:
        """Return the list under `key`, or an empty list if there is none."""

    def put(self, key: str, value: list[Any]) -> None:
        """Put a list under `key`, in place of any other value."""


class RedisShelf:
    """Lists as JSON under Redis keys."""

    def __init__(self, server: Server, namespace: str) -> None:
        self._server = server
        self._prefix = f"{namespace}:naive:"

    def get(self, key: str) -> list[Any]:
        """See `Shelf.get`."""
        name = self._prefix + key
        return list(json.loads(self._server.call(name, "GET", name) or "[]"))

    def put(self, key: str, value: list[Any]) -> None:
        """See `Shelf.put`."""
        name = self._prefix + key
        self._server.call(name, "SET", name, json.dumps(value), "PX", _KEPT_MS)


class Stash(DirtyApp):  # type: ignore[misc]  # gunicorn has no types
    """The application gunicorn wants before it starts the process that keeps the stash. It does nothing."""


class StashShelf:
    """Lists in one table of gunicorn's stash, over one socket for each process."""

    _TABLE = "lab"

    def __init__(self, timeout_s: float) -> None:
        self._timeout_s = timeout_s
        self._begin()

    def _begin(self) -> None:
        self._pid = os.getpid()
        self._client: Any = None

    def get(self, key: str) -> list[Any]:
        """See `Shelf.get`."""
        # the stash's own get raises an error for a missing key, even if it is given a default
        there = self._ask(lambda client: client.exists(self._TABLE, key))
        return list(self._ask(lambda client: client.get(self._TABLE, key))) if there else []

    def put(self, key: str, value: list[Any]) -> None:
        """See `Shelf.put`."""
        self._ask(lambda client: client.put(self._TABLE, key, value))

    def close(self) -> None:
        """Close this process's socket."""
        if self._client is not None and self._pid == os.getpid():
            self._client.close()

    def _ask(self, question: Callable[[Any], Any]) -> Any:
        if self._pid != os.getpid():
            self._begin()
        try:
            if self._client is None:
                self._client = StashClient(get_stash_socket_path(), timeout=self._timeout_s)
            return question(self._client)
        except DirtyError as error:
            raise StateUnavailable(f"gunicorn's stash: {error}") from error


class NaiveLimiter(SharedLimiter):
    """Upstream's two calls, check and then record, on a shared dictionary.

    It is wrong as soon as two processes ask at the same time.
    """

    def __init__(self, shelf: Shelf, clock: Callable[[], float] = time.time) -> None:
        self._shelf = shelf
        self._clock = clock

    def acquire(self, key: str, limit: int, window_seconds: float) -> bool:
        """Count an admission if the copy that was read has room for it."""
        if not self.peek(key, limit, window_seconds):
            return False
        self._shelf.put(f"window:{key}", [*self._counting(key, window_seconds), self._clock()])
        return True

    def peek(self, key: str, limit: int, window_seconds: float) -> bool:
        """Return whether the copy that is read has room for one more admission."""
        times = self._counting(key, window_seconds)
        return not times or len(times) < limit

    def _counting(self, key: str, window_seconds: float) -> list[float]:
        cutoff = self._clock() - window_seconds
        return [t for t in self._shelf.get(f"window:{key}") if t > cutoff]


class NaiveRevocations:
    """The revoked ids in one list, and each principal's in another. Both are read and written back as a whole."""

    def __init__(self, shelf: Shelf) -> None:
        self._shelf = shelf

    def is_revoked(self, token_id: str) -> bool:
        """Return whether `token_id` is in the list at present."""
        return token_id in self._shelf.get("revoked")

    def revoke(self, token_id: str) -> None:
        """Add `token_id` to the list that was read. A change that was made in between is lost."""
        revoked = self._shelf.get("revoked")
        if token_id not in revoked:
            self._shelf.put("revoked", [*revoked, token_id])

    def track(self, principal_id: str, token_id: str, expires_at: dt.datetime) -> None:  # noqa: ARG002 - upstream's
        """Add `token_id` to the principal's list that was read. A change that was made in between is lost."""
        tokens = self._shelf.get(f"principal:{principal_id}")
        self._shelf.put(f"principal:{principal_id}", [*tokens, token_id])

    def revoke_principal(self, principal_id: str) -> int:
        """Revoke those of the principal's tokens that its list contains."""
        revoked = self._shelf.get("revoked")
        newly = [token for token in self._shelf.get(f"principal:{principal_id}") if token not in set(revoked)]
        self._shelf.put("revoked", [*revoked, *newly])
        self._shelf.put(f"principal:{principal_id}", [])
        return len(newly)

    def sweep_expired(self, now: dt.datetime) -> int:  # noqa: ARG002 - upstream's
        """Do nothing: this state is never used for longer than one run."""
        return 0


def open_url(url: StateURL, options: StateOptions) -> State:
    """Open one of the two states that are wrong on purpose."""
    if url.scheme == "stash":
        if url.rest:
            url.wrong(f"nothing may follow '://', there is {url.rest!r}")
        url.allow()
        stash = StashShelf(options.timeout_ms / 1000)
        return _on(stash, memory.open_url(parse("memory://"), options), stash.close)

    from lab.state import redis  # noqa: PLC0415 - the stash needs no Redis client

    plain = parse(url.text.removeprefix("naive+"))
    server = redis.server_of(plain, options)
    shelf = RedisShelf(server, redis.namespace_of(plain))
    return _on(shelf, redis.open_url(plain, options), server.close)


def _on(shelf: Shelf, rest: State, close: Callable[[], None]) -> State:
    return replace(
        rest,
        revocations=NaiveRevocations(shelf),
        limiter=NaiveLimiter(shelf),
        closers=(*rest.closers, close),
    )
