"""Many requests' changes of one SQLite file in one transaction, without holding the event loop."""

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
"""Changes in one transaction at most: it runs on the event loop, for some 2 ms at most."""
_LONGEST_PAUSE_S = 0.004

T = TypeVar("T")


class File(Protocol):
    """What is needed of the file."""

    def connect(self) -> sqlite3.Connection:
        """A connection of one's own."""

    def away(self, error: sqlite3.Error) -> StateUnavailable:
        """The error as callers are told it."""

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
    """The changes that one event loop makes.

    The first change asks for the write lock, and changes that come while it waits join it. With the lock all of them
    are done in one transaction, each in a savepoint of its own. If one fails, the others still count, and none is
    acknowledged before the whole transaction is committed.

    **What holds the loop, and what does not.** Waiting for the lock is ``asyncio.sleep``. The statements run
    on the loop: they take tens of microseconds. A thread would have to take the interpreter's lock back
    after each of them, for up to 5 ms each, while it holds the file's. What waits for the disk runs in a
    thread, where it needs no lock of the interpreter: the commit of a durable change, and the checkpoint,
    which is therefore taken out of the commits.
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
        """What `work` returns, once it is committed; `StateUnavailable` if it was not."""
        if len(self._queue) >= QUEUED_AT_MOST:
            raise StateUnavailable(f"{QUEUED_AT_MOST} changes wait for the file already")
        future: asyncio.Future[T] = self._loop.create_future()
        deadline_s = time.monotonic() + self._timeout_s
        self._queue.append(_Change(work, future, durable=durable, deadline_s=deadline_s))
        if self._leader is None:
            self._leader = self._loop.create_task(self._lead())
        return future

    def reopen(self) -> None:
        """Let go of the connection: the file is another."""
        if self._connection is not None:
            self._connection.close()
            self._connection = None

    def close(self) -> None:
        """Let go of the connection; what waits fails."""
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
        """The first waiting changes.

        All of them are durable or none is, because durability is chosen before a transaction begins.
        """
        durable = self._queue[0].durable
        batch: list[_Change] = []
        while self._queue and self._queue[0].durable == durable and len(batch) < _TOGETHER:
            batch.append(self._queue.popleft())
        return batch

    async def _locked(self) -> sqlite3.Connection:
        """The connection, with the write lock.

        Raises:
            StateUnavailable: When the oldest change has waited too long for it, or the file is unusable.
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
            pass  # the next one will do it

    def _fail(self, changes: list[_Change], reason: str) -> None:
        for change in changes:
            if not change.future.done():
                change.future.set_exception(StateUnavailable(reason))


_CHECKPOINT_EVERY = 256
"""Transactions between two checkpoints by one process."""


def _outcome(
    connection: sqlite3.Connection, work: Callable[[sqlite3.Connection], Any]
) -> tuple[Any, Exception | None]:
    """What a work returned, or why it failed. The changes of a work that failed are undone.

    Raises:
        sqlite3.Error: When the whole transaction is gone, as after a full disk.
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
    """Whether somebody else has the lock."""
    # the low byte is the code, the rest says why
    return getattr(error, "sqlite_errorcode", 0) & 0xFF in {sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED}
