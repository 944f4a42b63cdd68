"""The handle store of several processes: the part that is the same for every store."""

from __future__ import annotations

import datetime as dt
import time
import uuid
from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, cast

from weaver_kernel import Handle, HandleExpired, HandleNotFound, HandleStore

from lab.bridge import is_bridged, owe
from lab.state import codec

KEPT_EXPIRED_S = 60
"""Seconds for which an expired handle is reported as expired. After that it is reported as not found."""

_EPOCH = dt.datetime.fromtimestamp(0, tz=dt.UTC)


@dataclass(frozen=True, slots=True)
class Life:
    """The times at which a handle was stored and ends: microseconds of the Unix epoch on the store's clock."""

    created_us: int
    expires_us: int


class SharedHandles(HandleStore, ABC):
    """Upstream's handle store over rows that every process reads. `expand` is upstream's own.

    Because it is shared, it differs from upstream's in-memory store in four ways:

    - The data is a copy, and must be JSON (`lab.state.codec`).
    - Times are the store's, not the caller's.
    - `max_entries` holds for the whole deployment. When one more handle would exceed it, the expired handles go
      first, and then the oldest, whichever process stored them.
    - An expired handle answers `HandleExpired` for `KEPT_EXPIRED_S` instead of once.

    The data is the driver's reply, before the firewall. It leaves the process, and anyone who can read the store can
    read all of it.
    """

    def __init__(self, default_ttl_seconds: int = 3600, *, max_entries: int = 10_000) -> None:
        super().__init__(default_ttl_seconds, max_entries=max_entries)

    def store(
        self,
        capability_id: str,
        data: Any,
        *,
        ttl_seconds: int | None = None,
        principal_id: str = "",
        constraints: dict[str, Any] | None = None,
    ) -> Handle:
        """Keep a copy of `data`; see upstream's `HandleStore.store`.

        Raises:
            Unstorable: The data or the constraints hold a value that JSON cannot express.
            StateUnavailable: The store could not keep it.
        """
        handle_id = str(uuid.uuid4())
        rows = len(data) if isinstance(data, list) else 1
        constraints = dict(constraints) if constraints else {}
        ttl_s = self._default_ttl if ttl_seconds is None else ttl_seconds
        kept = self._put(
            handle_id,
            meta=codec.encode([capability_id, rows, principal_id, constraints]),
            data=codec.encode(data),
            ttl_s=ttl_s,
        )
        life = kept if isinstance(kept, Life) else None if is_bridged() else kept()
        if life is not None:
            return _handle(handle_id, capability_id, rows, principal_id, constraints, life)

        # The row has been sent, and the store has not answered yet. The caller goes on, so that its trace leaves in
        # the same write. The whole call ends when the store has answered. Until then the handle has this host's
        # times.
        now_us = time.time_ns() // 1000
        life = Life(now_us, now_us + ttl_s * 1_000_000)
        handle = _handle(handle_id, capability_id, rows, principal_id, constraints, life)
        owe(lambda: _kept(handle, cast("Callable[[], Life]", kept)()))
        return handle

    def get(self, handle_id: str) -> Any:
        """Return the data behind a handle.

        Raises:
            HandleExpired, HandleNotFound: As upstream's.
            StateUnavailable: The store could not be asked.
        """
        found = self._read(handle_id)
        if found is None:
            raise HandleNotFound(f"Handle '{handle_id}' not found. It may have been evicted.")
        data, life = found
        if data is None:
            raise HandleExpired(f"Handle '{handle_id}' expired at {_at(life.expires_us).isoformat()}.")
        return codec.decode(data)

    def get_meta(self, handle_id: str) -> Handle:
        """Return the handle itself, expired or not, without its data.

        Raises:
            HandleNotFound: As upstream's.
            StateUnavailable: The store could not be asked.
        """
        found = self._describe(handle_id)
        if found is None:
            raise HandleNotFound(f"Handle '{handle_id}' not found.")
        meta, life = found
        capability_id, rows, principal_id, constraints = codec.decode(meta)
        return _handle(handle_id, capability_id, rows, principal_id, constraints, life)

    @property
    def current_bytes(self) -> int:
        """Return the number of bytes of data in the store: the size of its JSON, and not upstream's estimate."""
        return self._bytes()

    @abstractmethod
    def evict_expired(self) -> int:
        """Forget every handle whose time has passed, and return their number."""

    @abstractmethod
    def _put(self, handle_id: str, *, meta: bytes, data: bytes, ttl_s: int) -> Life | Callable[[], Life]:
        """Store a row and evict the handles that exceed the cap.

        Returns the row's times on the store's clock, or a function that waits for them.
        """

    @abstractmethod
    def _read(self, handle_id: str) -> tuple[bytes | None, Life] | None:
        """Return the handle's data and its life; None if there is no such row.

        The data of an expired handle is None.
        """

    @abstractmethod
    def _describe(self, handle_id: str) -> tuple[bytes, Life] | None:
        """Return the handle's metadata and its life; None if there is no such row."""

    @abstractmethod
    def _bytes(self) -> int: ...


def _kept(handle: Handle, life: Life) -> None:
    """Return the handle with the times of the store's clock."""
    handle.created_at, handle.expires_at = _at(life.created_us), _at(life.expires_us)


def _at(microseconds: int) -> dt.datetime:
    return _EPOCH + dt.timedelta(microseconds=microseconds)


def _handle(
    handle_id: str, capability_id: str, rows: int, principal_id: str, constraints: dict[str, Any], life: Life
) -> Handle:
    return Handle(
        handle_id=handle_id,
        capability_id=capability_id,
        created_at=_at(life.created_us),
        expires_at=_at(life.expires_us),
        total_rows=rows,
        principal_id=principal_id,
        constraints=constraints,
    )
