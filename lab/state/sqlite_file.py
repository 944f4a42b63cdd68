"""One SQLite file that many processes change: bounded waits, whole transactions, safe across forks."""

from __future__ import annotations

import asyncio
import os
import random
import sqlite3
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeVar

from lab.bridge import is_bridged, wait
from lab.state.breaker import Breaker
from lab.state.seam import StateUnavailable
from lab.state.sqlite_group import GroupWriter, busy

_SCHEMA = Path(__file__).with_name("schema.sql").read_text(encoding="utf-8")
_LONGEST_PAUSE_S = 0.004

T = TypeVar("T")


class SQLiteFile:
    """One SQLite file, over a connection that each process makes at its first call.

    The file is in WAL mode, so readers and the one writer do not wait for each other. A change is one immediate
    transaction. The write lock is taken before anything is read, so the data that were read still hold when the
    change is made. Waiting for the lock is bounded by `timeout_ms`. If this time passes, or after any other failure,
    the transaction is rolled back and the call raises `StateUnavailable`. The operating system keeps the lock, and a
    process that is killed gives it up.

    Inside `lab.bridge.bridged`, waiting does not hold the event loop: see `lab.state.sqlite_group`.

    If somebody deletes or replaces the file, the changes that this process made are lost. Then every call raises
    `StateUnavailable` until the workers are restarted. With `accept_replaced` the new file is opened instead.

    A committed transaction survives the death of its process, because it is in the page cache
    (``synchronous=NORMAL``). A `durable` transaction has also reached the disk when it returns, and so have all
    transactions before it.

    Time is this host's ``time.time``. Every process that can open the file reads the same clock.
    """

    def __init__(
        self,
        path: Path,
        *,
        timeout_ms: int,
        clock: Callable[[], float] = time.time,
        blocking: bool = False,
        accept_replaced: bool = False,
    ) -> None:
        self.path = path
        self._timeout_s = timeout_ms / 1000
        self._clock = clock
        self._blocking = blocking
        self._accept_replaced = accept_replaced
        self._identity: tuple[int, int] | None = None
        self._inherited: list[object] = []
        self._groups: dict[asyncio.AbstractEventLoop, GroupWriter] = {}
        self._begin()

    def _begin(self) -> None:
        self._pid = os.getpid()
        self._mutex = threading.Lock()
        self._connection: sqlite3.Connection | None = None
        self._breaker = Breaker(self._probe)

    def now_us(self) -> int:
        """Return microseconds of the Unix epoch on the store's clock."""
        return round(self._clock() * 1_000_000)

    def read(self, sql: str, values: Sequence[Any] = ()) -> list[Any]:
        """Return the rows of one statement, all read at one instant.

        Raises:
            StateUnavailable: The file could not be read in time.
        """
        with self._alone():
            deadline_s = time.monotonic() + self._timeout_s
            return self._wait(lambda: self._connected().execute(sql, values).fetchall(), deadline_s)

    def change(self, work: Callable[[sqlite3.Connection], T], *, durable: bool = False) -> T:
        """Return the result of `work`, done in one transaction that is rolled back when `work` raises an error.

        `work` must be quick. It may be called with the work of other callers in the same transaction, each in a
        savepoint of its own.

        Raises:
            StateUnavailable: The lock could not be taken in time, or the file cannot be written.
        """
        return self.start(work, durable=durable)()

    def start(self, work: Callable[[sqlite3.Connection], T], *, durable: bool = False) -> Callable[[], T]:
        """Start a change, and return a function that waits for its result. Changes are done in order."""
        if is_bridged() and not self._blocking:
            self.check_same()
            self._breaker_now().check()
            future = self._group().submit(work, durable=durable)
            return lambda: wait(future)
        result = self._change(work, durable=durable)
        return lambda: result

    def _change(self, work: Callable[[sqlite3.Connection], T], *, durable: bool) -> T:
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
                result = work(connection)
                connection.execute("COMMIT")
            except sqlite3.Error as error:
                raise self.away(error) from error
            finally:
                if connection.in_transaction:
                    connection.execute("ROLLBACK")
            return result

    def _group(self) -> GroupWriter:
        """Return the writer of the running event loop."""
        loop = asyncio.get_running_loop()
        group = self._groups.get(loop)
        if group is None:
            # it belongs to another loop or to a parent process, and SQLite forbids closing it after a fork
            self._inherited += [other for of, other in self._groups.items() if of.is_closed()]
            self._groups = {of: other for of, other in self._groups.items() if not of.is_closed()}
            group = self._groups[loop] = GroupWriter(self, self._timeout_s)
        return group

    def _breaker_now(self) -> Breaker:
        if self._pid != os.getpid():
            self._fork()
        return self._breaker

    def trip(self, reason: str) -> None:
        """Refuse calls until the file can be written again."""
        self._breaker_now().trip(reason)

    def check_same(self) -> None:
        """Refuse a file that is not the one that was opened.

        Raises:
            StateUnavailable: It is another file, or there is none.
        """
        if self._identity is None or _identity(self.path) == self._identity:
            return
        if not self._accept_replaced:
            raise StateUnavailable(
                f"{self.path}: the file is no longer the one that was opened, so revocations may be lost; "
                "restart the workers once you know what it holds, or let the state URL say ?replaced=accept"
            )
        self._identity = None
        if self._connection is not None:
            self._connection.close()
            self._connection = None
        for group in self._groups.values():
            group.reopen()

    def connect(self) -> sqlite3.Connection:
        """Make a new connection to the file. The file is made if it does not exist.

        Raises:
            StateUnavailable: It is not the file that this process has opened before.
            sqlite3.Error: It cannot be opened.
        """
        self.check_same()
        connection = _connect(self.path)
        self._identity = self._identity or _identity(self.path)
        return connection

    def close(self) -> None:
        """Close this process's connection."""
        if self._pid != os.getpid():
            return
        self._breaker.close()
        groups, self._groups = self._groups, {}
        for loop, group in groups.items():
            if loop.is_closed():
                group.close()
            else:
                loop.call_soon_threadsafe(group.close)
        with self._mutex:
            if self._connection is not None:
                self._connection.close()
                self._connection = None

    @contextmanager
    def _alone(self) -> Iterator[None]:
        """Keep other threads of this process off the connection, and do not use the connection of a parent process."""
        if self._pid != os.getpid():
            self._fork()
        with self._mutex:
            self.check_same()
            yield

    def _fork(self) -> None:
        """Keep a parent's connection without using it, because SQLite forbids even closing it in a forked process."""
        self._inherited += [self._connection, *self._groups.values()]
        self._groups = {}
        self._begin()

    def _connected(self) -> sqlite3.Connection:
        if self._connection is None:
            self._connection = self.connect()
        return self._connection

    def _wait(self, attempt: Callable[[], T], deadline_s: float) -> T:
        """Return the result of `attempt`. It is repeated while the file is locked and time is left.

        SQLite's own waiting backs off to 100 ms. With 8 writers a call then took up to 190 ms, where short random
        pauses kept it under 60 ms.
        """
        pause_s = 0.0002
        while True:
            try:
                return attempt()
            except sqlite3.Error as error:
                if not busy(error) or time.monotonic() > deadline_s:
                    raise self.away(error) from error
            time.sleep(random.uniform(0, pause_s))
            pause_s = min(pause_s * 1.5, _LONGEST_PAUSE_S)

    def _probe(self) -> None:
        """Take the write lock and give it back, over a connection that this thread makes."""
        try:
            connection = _connect(self.path)
            try:
                connection.execute("BEGIN IMMEDIATE")
                connection.execute("ROLLBACK")
            finally:
                connection.close()
        except sqlite3.Error as error:
            raise self.away(error) from error

    def away(self, error: sqlite3.Error) -> StateUnavailable:
        """Return the error in the form that callers get."""
        return StateUnavailable(f"{self.path}: {error}")


def _identity(path: Path) -> tuple[int, int]:
    """Return the device and inode of the file at a path; zeros if there is none."""
    try:
        found = os.stat(path)  # noqa: PTH116 - called at every store call, and this is the faster one
    except OSError:
        return 0, 0
    return found.st_dev, found.st_ino


def _connect(path: Path) -> sqlite3.Connection:
    """Return a connection to a file that has the tables. They are made if they do not exist."""
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
