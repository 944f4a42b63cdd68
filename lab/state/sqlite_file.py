"""One SQLite file that many processes change: bounded waits, whole transactions, safe across forks."""

from __future__ import annotations

import os
import random
import sqlite3
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeVar

from lab.state.breaker import Breaker
from lab.state.seam import StateUnavailable

_SCHEMA = Path(__file__).with_name("schema.sql").read_text(encoding="utf-8")
_LONGEST_PAUSE_S = 0.004

T = TypeVar("T")


class SQLiteFile:
    """A connection per process, made at its first call.

    WAL: readers and the one writer do not wait for each other. A change is one immediate transaction: the
    write lock is taken before anything is read, so what was read still holds when it is acted on. Waiting for
    the lock is bounded by `timeout_ms`; then, as after any other failure, the transaction is rolled back and
    the call raises `StateUnavailable`. The lock is the operating system's: a process that is killed gives it
    up.

    A committed transaction survives the death of its process (``synchronous=NORMAL``: it is in the page
    cache). One made `durable` has also reached the disk when it returns, and so has everything before it.

    Time is this host's ``time.time``: whoever can open the file reads the same clock.
    """

    def __init__(self, path: Path, *, timeout_ms: int, clock: Callable[[], float] = time.time) -> None:
        self.path = path
        self._timeout_s = timeout_ms / 1000
        self._clock = clock
        self._inherited: list[sqlite3.Connection] = []
        self._begin()

    def _begin(self) -> None:
        self._pid = os.getpid()
        self._mutex = threading.Lock()
        self._connection: sqlite3.Connection | None = None
        self._breaker = Breaker(self._probe)

    def now_us(self) -> int:
        """Microseconds of the Unix epoch on the store's clock."""
        return round(self._clock() * 1_000_000)

    def read(self, sql: str, values: Sequence[Any] = ()) -> list[Any]:
        """The rows of one statement, as of one instant.

        Raises:
            StateUnavailable: When the file could not be read in time.
        """
        with self._alone():
            deadline_s = time.monotonic() + self._timeout_s
            return self._wait(lambda: self._connected().execute(sql, values).fetchall(), deadline_s)

    @contextmanager
    def change(self, *, durable: bool = False) -> Iterator[sqlite3.Connection]:
        """One transaction, committed when the block ends, rolled back when it raises.

        Raises:
            StateUnavailable: When the lock was not to be had in time, or the file cannot be written.
        """
        with self._alone():
            self._breaker.check()
            deadline_s = time.monotonic() + self._timeout_s
            try:
                connection = self._wait(self._connected, deadline_s)
                connection.execute(f"PRAGMA synchronous={'FULL' if durable else 'NORMAL'}")
                self._wait(lambda: connection.execute("BEGIN IMMEDIATE"), deadline_s)
            except StateUnavailable as error:
                self._breaker.trip(str(error))
                raise
            try:
                yield connection
                connection.execute("COMMIT")
            except sqlite3.Error as error:
                raise self._away(error) from error
            finally:
                if connection.in_transaction:
                    connection.execute("ROLLBACK")

    def close(self) -> None:
        """Close this process's connection."""
        if self._pid != os.getpid():
            return
        self._breaker.close()
        with self._mutex:
            if self._connection is not None:
                self._connection.close()
                self._connection = None

    @contextmanager
    def _alone(self) -> Iterator[None]:
        """Keep this process's other threads off the connection, and its parent's connection out of it."""
        if self._pid != os.getpid():
            # SQLite forbids using, and even closing, a connection on this side of a fork: it is only kept
            if self._connection is not None:
                self._inherited.append(self._connection)
            self._begin()
        with self._mutex:
            yield

    def _connected(self) -> sqlite3.Connection:
        if self._connection is None:
            self._connection = _connect(self.path)
        return self._connection

    def _wait(self, attempt: Callable[[], T], deadline_s: float) -> T:
        """`attempt`, again while the file is locked and there is time.

        SQLite's own waiting backs off to 100 ms: with 8 writers a call took up to 190 ms where short random
        pauses kept it under 60.
        """
        pause_s = 0.0002
        while True:
            try:
                return attempt()
            except sqlite3.Error as error:
                if not _busy(error) or time.monotonic() > deadline_s:
                    raise self._away(error) from error
            time.sleep(random.uniform(0, pause_s))
            pause_s = min(pause_s * 1.5, _LONGEST_PAUSE_S)

    def _probe(self) -> None:
        """Take the write lock and give it back, over a connection of the asking thread's own."""
        try:
            connection = _connect(self.path)
            try:
                connection.execute("BEGIN IMMEDIATE")
                connection.execute("ROLLBACK")
            finally:
                connection.close()
        except sqlite3.Error as error:
            raise self._away(error) from error

    def _away(self, error: sqlite3.Error) -> StateUnavailable:
        return StateUnavailable(f"{self.path}: {error}")


def _busy(error: sqlite3.Error) -> bool:
    # the low byte is the code, the rest says why
    return getattr(error, "sqlite_errorcode", 0) & 0xFF in {sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED}


def _connect(path: Path) -> sqlite3.Connection:
    """A connection to a file that has the tables, made if they are not there yet."""
    connection = sqlite3.connect(path, timeout=0, isolation_level=None, check_same_thread=False)
    try:
        if connection.execute("PRAGMA journal_mode").fetchone() != ("wal",):
            connection.execute("PRAGMA journal_mode=WAL")
        if connection.execute("PRAGMA user_version").fetchone() == (0,):
            connection.executescript(_SCHEMA)
    except BaseException:
        connection.close()
        raise
    return connection
