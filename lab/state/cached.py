"""``cached+<store>?max_stale_ms=N``: revocation checks from process memory that are at most N ms old.

Only the checks are cached. Revoking, tracking and the other four kinds of state go to the store. A token's first check
asks the store. If the token was good, the process remembers this, while a thread listens for revocations:

- On Redis the server sends each revocation (``SSUBSCRIBE``; the script that revokes publishes it). The thread asks the
  server a question over the same connection every `max_stale_ms` / 4. Answers and messages come in order, so an answer
  proves that every revocation before the question has been heard.
- In SQLite the thread asks for new revocations every `max_stale_ms` / 4.

**The bound.** A check made more than `max_stale_ms` after a revocation was acknowledged finds the token
revoked, or asks the store, or raises an error. While the thread hears from the store, a revocation is usually known as
soon as its message arrives. When the thread has heard nothing for `max_stale_ms`, the remembered answers no longer
count. Then each check asks the store, and is refused if the store cannot be asked. If the listening is interrupted, the
process forgets every remembered answer.

A revocation is never taken back, so a revocation that was heard wins over an answer from the store. An answer that was
under way while its token was revoked cannot make the token good again.
"""

from __future__ import annotations

import datetime as dt
import os
import threading
import time
from collections.abc import Callable
from dataclasses import replace
from importlib import import_module
from typing import Protocol, cast

from weaver_kernel.stores import RevocationStoreProtocol

from lab.state.seam import State, StateOptions, StateUnavailable
from lab.state.url import StateURL

DEFAULT_MAX_STALE_MS = 500
_REMEMBERED = 100_000
"""The largest number of remembered tokens. When it is exceeded, all are forgotten, and the store is asked again."""
_AGAIN_S = 0.1
"""Seconds until the thread listens again after the listening was interrupted."""


class Feed(Protocol):
    """The messages of a store about its revocations."""

    def listen(
        self,
        every_s: float,
        heard: Callable[[str], None],
        alive: Callable[[float], None],
        end: threading.Event,
    ) -> None:
        """Call `heard` for each token revoked from the first `alive` on, until `end` is set.

        ``alive(t)`` is called about every `every_s`. It says that every revocation which was acknowledged before `t`
        (of ``time.monotonic``) has been heard, or was known to the store before the first `alive`.

        Raises:
            StateUnavailable: The listening was interrupted, so a revocation may have been missed.
        """


class CachedRevocations:
    """A revocation store in front of another. The module's docstring describes it."""

    def __init__(
        self,
        store: RevocationStoreProtocol,
        feed: Feed,
        *,
        max_stale_s: float,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.store = store
        self._feed = feed
        self._max_stale_s = max_stale_s
        self._clock = clock
        self._begin()

    def _begin(self) -> None:
        self._pid = os.getpid()
        self._lock = threading.Lock()
        self._thread: threading.Thread | None = None
        self._end = threading.Event()
        self._forget()

    def _forget(self) -> None:
        self._good: set[str] = set()
        self._revoked: set[str] = set()
        self._as_of_s = float("-inf")

    def is_revoked(self, token_id: str) -> bool:
        """Return whether `token_id` has been revoked, as of `max_stale_ms` ago or later."""
        if self._pid != os.getpid():
            self._begin()
        if token_id in self._revoked:
            return True
        fresh = self._clock() - self._as_of_s <= self._max_stale_s
        good = self._good
        if fresh and token_id in good:
            return False
        self._listen()
        revoked = self.store.is_revoked(token_id)
        with self._lock:
            # remember the answer only if the listening was not interrupted while the store was asked
            if good is self._good:
                (self._revoked if revoked else self._good).add(token_id)
            if len(self._good) + len(self._revoked) > _REMEMBERED:
                self._good, self._revoked = set(), set()
        return revoked

    def revoke(self, token_id: str) -> None:
        """Revoke one token in the store, and remember the revocation here at once."""
        self.store.revoke(token_id)
        self._heard(token_id)

    def track(self, principal_id: str, token_id: str, expires_at: dt.datetime) -> None:
        """Track a token in the store."""
        self.store.track(principal_id, token_id, expires_at)

    def revoke_principal(self, principal_id: str) -> int:
        """Revoke in the store, and forget all cached answers, because the reply does not name the revoked tokens."""
        try:
            return self.store.revoke_principal(principal_id)
        finally:
            with self._lock:
                self._good = set()

    def sweep_expired(self, now: dt.datetime) -> int:
        """Sweep the store."""
        return self.store.sweep_expired(now)

    def close(self) -> None:
        """End the thread."""
        self._end.set()
        if self._thread is not None and self._pid == os.getpid():
            self._thread.join(timeout=5)

    def _heard(self, token_id: str) -> None:
        with self._lock:
            self._revoked.add(token_id)
            self._good.discard(token_id)

    def _alive(self, as_of_s: float) -> None:
        if self._as_of_s == float("-inf"):
            # a token that was checked before the thread listened may have been revoked without a message
            with self._lock:
                self._forget()
        self._as_of_s = as_of_s

    def _listen(self) -> None:
        """Start the thread, at the first check in this process."""
        if self._thread is None and not self._end.is_set():
            self._thread = threading.Thread(target=self._keep_listening, name="lab-state-feed", daemon=True)
            self._thread.start()

    def _keep_listening(self) -> None:
        while not self._end.is_set():
            try:
                self._feed.listen(self._max_stale_s / 4, self._heard, self._alive, self._end)
            except StateUnavailable:
                pass
            finally:
                with self._lock:
                    self._forget()
            self._end.wait(_AGAIN_S)


def open_url(url: StateURL, options: StateOptions) -> State:
    """Open the store's state, with its revocation checks cached."""
    if url.scheme not in _HOMES:
        url.wrong(f"{url.scheme}:// has nobody to tell of revocations; cached+ goes before {_NAMES}")
    home = cast("_Home", import_module(_HOMES[url.scheme]))
    state = home.open_url(url, options)
    max_stale_ms = url.number("max_stale_ms", DEFAULT_MAX_STALE_MS, at_least=1)
    revocations = CachedRevocations(
        state.revocations, home.open_feed(url, options), max_stale_s=max_stale_ms / 1000
    )
    return replace(state, revocations=revocations, closers=(revocations.close, *state.closers))


class _Home(Protocol):
    def open_url(self, url: StateURL, options: StateOptions) -> State: ...
    def open_feed(self, url: StateURL, options: StateOptions) -> Feed: ...


_HOMES = {
    "sqlite": "lab.state.sqlite",
    "redis": "lab.state.redis",
    "redis+unix": "lab.state.redis",
    "redis+cluster": "lab.state.redis",
}
_NAMES = " ".join(f"{name}://" for name in _HOMES)
