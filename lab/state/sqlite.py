"""``sqlite:///path``: all five kinds of state in one file, for every process of one host.

Each change is one transaction under the file's write lock, so it takes effect at one instant. `SQLiteFile` says
how long a call waits, which failures the data survive, and how a call fails.
"""

from __future__ import annotations

import datetime as dt
import sqlite3
import time
from array import array
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path
from threading import Event

from weaver_kernel._secrets import resolve_hmac_secret
from weaver_kernel.firewall.token_counting import TokenCounter
from weaver_kernel.stores import GENESIS_HASH

from lab.state.budget import LEASE_S, Pool, SharedBudget
from lab.state.handles import KEPT_EXPIRED_S, Life, SharedHandles
from lab.state.limiter import SharedLimiter
from lab.state.revocations import MARGIN_S, UNTRACKED_S, microseconds
from lab.state.seam import State, StateOptions
from lab.state.sqlite_file import SQLiteFile
from lab.state.traces import Head, Line, SharedTraces
from lab.state.url import StateURL

_S = 1_000_000
_FAR = 2**62
_SWEEP_EVERY = 256
"""The number of changes between two sweeps of rows that are no longer needed, per process and store."""


def open_url(url: StateURL, options: StateOptions) -> State:
    """Open the five stores on the URL's file. The file itself is opened at the first call."""
    return replace(stores(file_of(url, options), options), waits=not blocking_of(url))


def blocking_of(url: StateURL) -> bool:
    """Return whether calls hold the event loop while they wait, which is how the stores worked before `lab.bridge`."""
    return bool(url.number("blocking", 0, at_least=0))


def file_of(url: StateURL, options: StateOptions) -> SQLiteFile:
    """Return the file that a URL names."""
    url.allow("blocking", "replaced")
    path = Path(url.rest.removeprefix("/"))
    if not path.name:
        url.wrong("no path to a file in it")
    if not path.parent.is_dir():
        url.wrong(f"there is no folder {path.parent}")
    return SQLiteFile(
        path,
        timeout_ms=options.timeout_ms,
        blocking=blocking_of(url),
        accept_replaced=url.choice("replaced", ("refuse", "accept")) == "accept",
    )


def open_feed(url: StateURL, options: StateOptions) -> SQLiteFeed:
    """Open the feed of revocations of the URL's file."""
    return SQLiteFeed(partial(file_of, url, options))


def stores(file: SQLiteFile, options: StateOptions) -> State:
    """Return the five stores on a file."""
    return State(
        revocations=SQLiteRevocations(file),
        limiter=SQLiteLimiter(file),
        handles=SQLiteHandles(file, options.handle_ttl_s, max_entries=options.handle_cap),
        traces=SQLiteTraces(file, cap=options.trace_cap, secret=partial(resolve_hmac_secret, options.secret)),
        budget=None
        if options.budget_total is None
        else SQLiteBudget(file, options.budget_total, default_request=options.budget_request),
        closers=(file.close,),
    )


class SQLiteRevocations:
    """Upstream's revocation store in one table of tokens.

    ``revoke_principal`` covers every token whose ``track`` returned before it was called. The row of such a token is
    committed, and the one transaction of ``revoke_principal`` reads and marks all rows of the principal. A ``track``
    that overlaps comes wholly before it or wholly after. A revocation has reached the disk when the call returns.

    No token is forgotten before it has been expired for `MARGIN_S` by the store's clock, whatever time the
    caller of ``sweep_expired`` names.
    """

    def __init__(self, file: SQLiteFile) -> None:
        self.file = self._file = file
        self._tracked = 0

    def is_revoked(self, token_id: str) -> bool:
        """Return whether `token_id` has been revoked. If the file cannot be read, raise an error and do not guess."""
        return bool(
            self._file.read("SELECT 1 FROM tokens WHERE token_id = ? AND revoked IS NOT NULL", (token_id,))
        )

    def revoke(self, token_id: str) -> None:
        """Revoke one token, known or not. A second call changes nothing."""

        def mark(connection: sqlite3.Connection) -> None:
            connection.execute(
                "INSERT INTO tokens VALUES (?, NULL, ?, ?) ON CONFLICT (token_id)"
                " DO UPDATE SET revoked = excluded.revoked WHERE revoked IS NULL",
                (token_id, self._file.now_us() + UNTRACKED_S * _S, _next(connection, "revocations")),
            )

        self._file.change(mark, durable=True)

    def track(self, principal_id: str, token_id: str, expires_at: dt.datetime) -> None:
        """Remember that `token_id` was issued to `principal_id`. A revoked token stays revoked."""
        self._file.change(lambda connection: self.track_in(connection, principal_id, token_id, expires_at))

    def track_in(
        self, connection: sqlite3.Connection, principal_id: str, token_id: str, expires_at: dt.datetime
    ) -> None:
        """Track a token inside of a transaction that is already open."""
        connection.execute(
            "INSERT INTO tokens VALUES (?, ?, ?, NULL) ON CONFLICT (token_id)"
            " DO UPDATE SET principal_id = excluded.principal_id, expires_us = excluded.expires_us",
            (token_id, principal_id, microseconds(expires_at)),
        )
        self._tracked += 1
        if self._tracked % _SWEEP_EVERY == 0:
            self._sweep(connection, self._file.now_us())

    def revoke_principal(self, principal_id: str) -> int:
        """Revoke every token tracked for `principal_id`, and return the number of those that were good until now."""

        def mark(connection: sqlite3.Connection) -> int:
            return connection.execute(
                "UPDATE tokens SET revoked = ? WHERE principal_id = ? AND revoked IS NULL",
                (_next(connection, "revocations"), principal_id),
            ).rowcount

        return self._file.change(mark, durable=True)

    def sweep_expired(self, now: dt.datetime) -> int:
        """Forget tokens that expired before `now` and at least `MARGIN_S` ago, and return their number."""
        return self._file.change(lambda connection: self._sweep(connection, microseconds(now)))

    def _sweep(self, connection: sqlite3.Connection, now_us: int) -> int:
        cutoff_us = min(now_us, self._file.now_us() - MARGIN_S * _S)
        return connection.execute("DELETE FROM tokens WHERE expires_us <= ?", (cutoff_us,)).rowcount

    def revoked_since(self, place: int) -> tuple[int, list[str]]:
        """Return the tokens revoked after `place`, and the place from which to ask next. Places only ever grow."""
        rows = self._file.read(
            "SELECT value, token_id FROM counters LEFT JOIN tokens ON revoked > ? WHERE name = 'revocations'",
            (place,),
        )
        return rows[0][0], [token_id for _, token_id in rows if token_id is not None]


class SQLiteFeed:
    """The feed of committed revocations, by asking at intervals: see `lab.state.cached.Feed`."""

    def __init__(self, open_file: Callable[[], SQLiteFile]) -> None:
        self._open = open_file

    def listen(
        self, every_s: float, heard: Callable[[str], None], alive: Callable[[float], None], end: Event
    ) -> None:
        """See `lab.state.cached.Feed.listen`."""
        file = self._open()
        try:
            revocations = SQLiteRevocations(file)
            as_of_s = time.monotonic()
            place, _ = revocations.revoked_since(_FAR)
            alive(as_of_s)
            while not end.wait(every_s):
                as_of_s = time.monotonic()
                place, revoked = revocations.revoked_since(place)
                for token_id in revoked:
                    heard(token_id)
                alive(as_of_s)
        finally:
            file.close()


class SQLiteLimiter(SharedLimiter):
    """One row per key: the times of its admissions that still count, in a BLOB of 64-bit integers."""

    def __init__(self, file: SQLiteFile) -> None:
        self.file = self._file = file
        self._asked = 0

    def acquire(self, key: str, limit: int, window_seconds: float) -> bool:
        """See `SharedLimiter.acquire`."""
        return self._file.change(lambda connection: self.acquire_in(connection, key, limit, window_seconds))

    def acquire_in(self, connection: sqlite3.Connection, key: str, limit: int, window_seconds: float) -> bool:
        """Count an admission inside of a transaction that is already open."""
        window_us = round(window_seconds * _S)
        row = connection.execute("SELECT admitted FROM windows WHERE key = ?", (key,)).fetchone()
        now_us = self._file.now_us()
        counting = _counting(row, now_us, window_us)
        admitted = not counting or len(counting) < limit
        if admitted:
            counting.append(now_us)
        # also write after a refusal: admissions that count as made now must keep that time
        if row is None or row[0] != counting.tobytes():
            connection.execute(
                "REPLACE INTO windows VALUES (?, ?, ?)", (key, counting.tobytes(), now_us + window_us)
            )
        self._asked += 1
        if self._asked % _SWEEP_EVERY == 0:
            connection.execute("DELETE FROM windows WHERE empty_us <= ?", (now_us,))
        return admitted

    def peek(self, key: str, limit: int, window_seconds: float) -> bool:
        """See `SharedLimiter.peek`."""
        rows = self._file.read("SELECT admitted FROM windows WHERE key = ?", (key,))
        counting = _counting(rows[0] if rows else None, self._file.now_us(), round(window_seconds * _S))
        return not counting or len(counting) < limit


def _counting(row: tuple[bytes] | None, now_us: int, window_us: int) -> array[int]:
    """Return the admissions that count.

    If the clock was set back, some admissions lie in its future. They count as made now.
    """
    times = array("q", row[0] if row else b"")
    return array("q", (min(t, now_us) for t in times if t > now_us - window_us))


class SQLiteHandles(SharedHandles):
    """Handles as rows in the order in which they were stored. The cap evicts them in this order."""

    def __init__(
        self, file: SQLiteFile, default_ttl_seconds: int = 3600, *, max_entries: int = 10_000
    ) -> None:
        super().__init__(default_ttl_seconds, max_entries=max_entries)
        self._file = file

    def evict_expired(self) -> int:
        """Forget every handle whose time has passed, and return their number."""
        return self._file.change(
            lambda connection: _evict(connection, "expires_us <= ?", self._file.now_us())
        )

    def _put(self, handle_id: str, *, meta: bytes, data: bytes, ttl_s: int) -> Callable[[], Life]:
        def insert(connection: sqlite3.Connection) -> Life:
            now_us = self._file.now_us()
            life = Life(now_us, now_us + ttl_s * _S)
            connection.execute(
                "INSERT INTO handles (handle_id, created_us, expires_us, meta, data) VALUES (?, ?, ?, ?, ?)",
                (handle_id, life.created_us, life.expires_us, meta, data),
            )
            kept = _next(connection, "handles")
            kept -= _evict(connection, "expires_us <= ?", now_us - KEPT_EXPIRED_S * _S)
            if kept > self._max_entries:
                kept -= _evict(connection, "expires_us <= ?", now_us)
            if kept > self._max_entries:
                _evict(
                    connection,
                    "seq IN (SELECT seq FROM handles ORDER BY seq LIMIT ?)",
                    kept - self._max_entries,
                )
            return life

        return self._file.start(insert)

    def _read(self, handle_id: str) -> tuple[bytes | None, Life] | None:
        rows = self._file.read(
            "SELECT iif(expires_us > ?, data, NULL), created_us, expires_us FROM handles WHERE handle_id = ?",
            (self._file.now_us(), handle_id),
        )
        return (rows[0][0], Life(*rows[0][1:])) if rows else None

    def _describe(self, handle_id: str) -> tuple[bytes, Life] | None:
        rows = self._file.read(
            "SELECT meta, created_us, expires_us FROM handles WHERE handle_id = ?", (handle_id,)
        )
        return (rows[0][0], Life(*rows[0][1:])) if rows else None

    def _bytes(self) -> int:
        return int(self._file.read("SELECT coalesce(sum(length(data)), 0) FROM handles")[0][0])


class SQLiteTraces(SharedTraces):
    """Traces in one chain: one transaction reads the head and adds the record."""

    def __init__(self, file: SQLiteFile, *, cap: int, secret: Callable[[], str]) -> None:
        super().__init__(cap=cap, secret=secret)
        self._file = file

    def _append(self, action_id: str, link: Callable[[Head], Line]) -> bool:
        def insert(connection: sqlite3.Connection) -> bool:
            if connection.execute("SELECT 1 FROM traces WHERE action_id = ?", (action_id,)).fetchone():
                return False
            last = connection.execute(
                "SELECT seq + 1, record_hash FROM traces ORDER BY seq DESC LIMIT 1"
            ).fetchone()
            line = link(Head(*last) if last else Head())
            connection.execute(
                "INSERT INTO traces VALUES (?, ?, ?, ?, ?)",
                (line.seq, action_id, line.prev_hash, line.record_hash, line.payload),
            )
            # seq has no gaps, so the numbers tell which records exceed the cap
            dropped = (line.seq - self._cap,)
            connection.execute(
                "REPLACE INTO checkpoint SELECT 1, record_hash FROM traces WHERE seq = ?", dropped
            )
            connection.execute("DELETE FROM traces WHERE seq <= ?", dropped)
            return True

        return self._file.change(insert)

    def _find(self, action_id: str) -> str | None:
        rows = self._file.read("SELECT payload FROM traces WHERE action_id = ?", (action_id,))
        return rows[0][0] if rows else None

    def _read(self) -> tuple[str, list[Line]]:
        rows = self._file.read(
            "SELECT hash, seq, prev_hash, record_hash, payload FROM traces LEFT JOIN checkpoint ORDER BY seq"
        )
        return (rows[0][0] if rows else None) or GENESIS_HASH, [Line(*row[1:]) for row in rows]


class SQLiteBudget(SharedBudget):
    """A budget whose use is one number. The reserved amount is the sum of the leases that are not overdue."""

    __slots__ = ("_file",)

    def __init__(
        self,
        file: SQLiteFile,
        total_budget: int,
        *,
        token_counter: TokenCounter | None = None,
        default_request: int = 4_000,
    ) -> None:
        super().__init__(total_budget, token_counter=token_counter, default_request=default_request)
        self._file = file

    _POOL = (
        "SELECT value, (SELECT coalesce(sum(amount), 0) FROM leases WHERE overdue_us > ?)"
        " FROM counters WHERE name = 'used'"
    )

    def _pool(self) -> Pool:
        return Pool(*self._file.read(self._POOL, (self._file.now_us(),))[0])

    def _reserve(self, name: str, want: int) -> tuple[int | None, Pool]:
        def insert(connection: sqlite3.Connection) -> tuple[int | None, Pool]:
            now_us = self._file.now_us()
            connection.execute("DELETE FROM leases WHERE overdue_us <= ?", (now_us,))
            pool = Pool(*connection.execute(self._POOL, (now_us,)).fetchone())
            left = self.total_budget - pool.used - pool.reserved
            if left <= 0:
                return None, pool
            granted = min(want, left)
            connection.execute("INSERT INTO leases VALUES (?, ?, ?)", (name, granted, now_us + LEASE_S * _S))
            return granted, pool

        return self._file.change(insert)

    def _settle(self, leases: list[tuple[str, int]], actual: int) -> None:
        def update(connection: sqlite3.Connection) -> None:
            connection.executemany(
                "UPDATE leases SET amount = ? WHERE name = ?", [(amount, name) for name, amount in leases]
            )
            connection.execute("DELETE FROM leases WHERE amount = 0")
            connection.execute(
                "UPDATE counters SET value = min(?, value + ?) WHERE name = 'used'",
                (self.total_budget, actual),
            )

        self._file.change(update)


def _next(connection: sqlite3.Connection, name: str) -> int:
    """Raise a counter by one, and return its new value."""
    (value,) = connection.execute(
        "UPDATE counters SET value = value + 1 WHERE name = ? RETURNING value", (name,)
    ).fetchone()
    return int(value)


def _evict(connection: sqlite3.Connection, where: str, value: int) -> int:
    """Delete handles, keep count of them, and return their number."""
    gone = connection.execute(f"DELETE FROM handles WHERE {where}", (value,)).rowcount  # noqa: S608 - ours
    if gone:
        connection.execute("UPDATE counters SET value = value - ? WHERE name = 'handles'", (gone,))
    return gone
