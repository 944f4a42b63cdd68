"""A writer that puts the changes of many requests into one SQLite transaction, without holding the event loop."""

from __future__ import annotations

import asyncio
import random
import sqlite3
import time
from collections import deque
from collections.abc import Callable
from typing import Any, Protocol, TypeVar

from lab.state.seam import StateUnavailable

QUEUED_AT_MOST = 2048
"""The number of changes that may wait for the lock. Any further change is refused at once."""
_TOGETHER = 64
"""The most changes in one transaction. It runs on the event loop, and so for about 2 ms at most."""
_LONGEST_PAUSE_S = 0.004

T = TypeVar("T")


class File(Protocol):
    """The methods of the file that the writer uses."""

    def connect(self) -> sqlite3.Connection:
        """Make a connection for this caller alone."""

    def away(self, error: sqlite3.Error) -> StateUnavailable:
        """Return the error in the form that callers get."""

    def trip(self, reason: str) -> None:
        """Refuse calls until the file can be written again."""


class _Change:
    """One request's change."""

    __slots__ = ("deadline_s", "durable", "future", "work")

    def __init__(
        self, work: Callable[[sqlite3.Connection], Any], future: asyncio.Future[Any], *, durable: bool,
        deadline_s: float,
    ) -> None:  # fmt: skip
        self.work = work
        self.future = future
        self.durable = durable
        self.deadline_s = deadline_s


class GroupWriter:
    """The writer for the changes of one event loop.

    The first change asks for the write lock, and changes that come while it waits join it. With the lock all of them
    are done in one transaction, each in a savepoint of its own. If one fails, the others still count, and none is
    acknowledged before the whole transaction is committed.

    **Which steps hold the loop.** Waiting for the lock is ``asyncio.sleep`` and does not hold it. The statements run
    on the loop, and take tens of microseconds. A thread would have to take the interpreter's lock back
    after each statement, for up to 5 ms each, while it holds the file's lock. The steps that wait for the disk run in a
    thread, where they do not need the interpreter's lock. These are the commit of a durable change, and the checkpoint,
    which is therefore not a part of the commits.
    """

    def __init__(self, file: File, timeout_s: float) -> None:
        self._file = file
        self._timeout_s = timeout_s
        self._loop = asyncio.get_running_loop()
        self._queue: deque[_Change] = deque()
        self._connection: sqlite3.Connection | None = None
        self._leader: asyncio.Task[None] | None = None
        self._checkpoint: asyncio.Future[Any] | None = None
        self._commits = 0
        self._closed = False

    def submit(self, work: Callable[[sqlite3.Connection], T], *, durable: bool = False) -> asyncio.Future[T]:
        """Return the result of `work` once it is committed; raise `StateUnavailable` if it was not committed."""
        if len(self._queue) >= QUEUED_AT_MOST:
            raise StateUnavailable(f"{QUEUED_AT_MOST} changes wait for the file already")
        future: asyncio.Future[T] = self._loop.create_future()
        deadline_s = time.monotonic() + self._timeout_s
        self._queue.append(_Change(work, future, durable=durable, deadline_s=deadline_s))
        if self._leader is None:
            self._leader = self._loop.create_task(self._lead())
        return future

    def reopen(self) -> None:
        """Close the connection, because the file was replaced."""
        if self._connection is not None:
            self._connection.close()
            self._connection = None

    def close(self) -> None:
        """Close the connection. Changes that still wait fail."""
        self._closed = True
        self._fail(list(self._queue), "closed")
        self._queue.clear()
        if self._leader is None and (self._checkpoint is None or self._checkpoint.done()):
            self.reopen()

    async def _lead(self) -> None:
        """Commit waiting changes until none waits."""
        try:
            while self._queue:
                await self._one()
        finally:
            self._leader = None
            if self._closed:
                self.reopen()

    async def _one(self) -> None:
        """Do one transaction. A failure is raised to every caller that waits for it, and never in this task."""
        try:
            connection = await self._locked()
        except StateUnavailable as error:
            self._file.trip(str(error))
            self._fail([self._queue.popleft() for _ in range(len(self._queue))], str(error))
            return
        batch = self._batch()
        try:
            outcomes = [(change, *_outcome(connection, change.work)) for change in batch]
            if batch[0].durable:
                await self._loop.run_in_executor(None, connection.execute, "COMMIT")
            else:
                connection.execute("COMMIT")
        except sqlite3.Error as error:
            if connection.in_transaction:
                connection.execute("ROLLBACK")
            self._fail(batch, str(self._file.away(error)))
            return
        for change, result, failure in outcomes:
            if change.future.done():
                continue  # its caller has left
            if failure is None:
                change.future.set_result(result)
            elif isinstance(failure, sqlite3.Error):
                change.future.set_exception(self._file.away(failure))
            else:
                change.future.set_exception(failure)
        self._tidy()

    def _batch(self) -> list[_Change]:
        """Return the first waiting changes.

        Either all of them are durable or none is, because durability is chosen before a transaction begins.
        """
        durable = self._queue[0].durable
        batch: list[_Change] = []
        while self._queue and self._queue[0].durable == durable and len(batch) < _TOGETHER:
            batch.append(self._queue.popleft())
        return batch

    async def _locked(self) -> sqlite3.Connection:
        """Return the connection, with the write lock taken.

        Raises:
            StateUnavailable: The oldest change has waited too long for the lock, or the file is unusable.
        """
        pause_s = 0.0002
        while True:
            try:
                if self._connection is None:
                    self._connection = self._file.connect()
                    self._connection.execute("PRAGMA wal_autocheckpoint=0")
                self._connection.execute(
                    f"PRAGMA synchronous={'FULL' if self._queue[0].durable else 'NORMAL'}"
                )
                self._connection.execute("BEGIN IMMEDIATE")
            except sqlite3.Error as error:
                if not busy(error) or time.monotonic() > self._queue[0].deadline_s:
                    raise self._file.away(error) from error
            else:
                return self._connection
            await asyncio.sleep(random.uniform(0, pause_s))
            pause_s = min(pause_s * 1.5, _LONGEST_PAUSE_S)
            if not self._queue:
                raise StateUnavailable("closed")

    def _tidy(self) -> None:
        """Write the log back into the file at intervals, in a thread, so that no request waits for it."""
        self._commits += 1
        if self._commits >= _CHECKPOINT_EVERY and (self._checkpoint is None or self._checkpoint.done()):
            self._commits = 0
            self._checkpoint = self._loop.run_in_executor(None, self._write_back)

    def _write_back(self) -> None:
        try:
            connection = self._file.connect()
            try:
                connection.execute("PRAGMA wal_checkpoint(PASSIVE)")
            finally:
                connection.close()
        except (sqlite3.Error, StateUnavailable):
            pass  # the next checkpoint will do it

    def _fail(self, changes: list[_Change], reason: str) -> None:
        for change in changes:
            if not change.future.done():
                change.future.set_exception(StateUnavailable(reason))


_CHECKPOINT_EVERY = 256
"""The number of transactions between two checkpoints by one process."""


def _outcome(
    connection: sqlite3.Connection, work: Callable[[sqlite3.Connection], Any]
) -> tuple[Any, Exception | None]:
    """Return the result of a piece of work, or its error. The changes of work that failed are undone.

    Raises:
        sqlite3.Error: The whole transaction is lost, as after a full disk.
    """
    connection.execute("SAVEPOINT one")
    try:
        result = work(connection)
    except Exception as error:
        if not connection.in_transaction:
            if isinstance(error, sqlite3.Error):
                raise
            raise sqlite3.OperationalError("the transaction has ended") from error
        connection.execute("ROLLBACK TO one")
        connection.execute("RELEASE one")
        return None, error
    connection.execute("RELEASE one")
    return result, None


def busy(error: sqlite3.Error) -> bool:
    """Return whether another connection has the lock."""
    # the low byte is SQLite's primary error code; the higher bytes give details
    return getattr(error, "sqlite_errorcode", 0) & 0xFF in {sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED}
