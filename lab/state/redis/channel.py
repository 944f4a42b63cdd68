"""One connection for many requests at the same time: commands leave together, and replies come in order."""

from __future__ import annotations

import asyncio
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, TypeAlias, cast

import hiredis

Argument: TypeAlias = str | bytes | int

QUEUED_AT_MOST = 2048
"""The number of commands that may be in flight on one connection. Any further command is refused at once."""
GRACE = 0.2
"""The extra wait for an overdue command, as a part of the time-out. It lets a late event loop read the reply."""
BYTES_AT_MOST = 64 * 2**20
"""The most bytes of commands that may wait for the server to read them."""

_NOTHING = object()


class ServerError(Exception):
    """An error that the server replied with. ``code`` is its first word."""

    @property
    def code(self) -> str:
        """The first word of the reply, such as ``OOM``."""
        return str(self).partition(" ")[0]


class ChannelClosed(Exception):  # noqa: N818 - it names a state
    """The connection has ended, or was never made. A command that was sent may have been carried out."""


class Full(Exception):  # noqa: N818 - it names a state
    """Too many commands are in flight; this one was not sent."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """The address and the credentials of a server."""

    host: str = ""
    port: int = 0
    path: str = ""
    """The path of a Unix socket, in place of host and port."""
    db: int = 0
    username: str | None = None
    password: str | None = None

    def greeting(self) -> list[tuple[Argument, ...]]:
        """Return the first commands on a new connection.

        The last reply, to ``INFO``, tells whether the server is fit.
        """
        said: list[tuple[Argument, ...]] = []
        if self.password is not None:
            login = (self.password,) if self.username is None else (self.username, self.password)
            said.append(("AUTH", *login))
        if self.db:
            said.append(("SELECT", self.db))
        return [*said, ("INFO",)]


def _packed(command: tuple[Argument, ...]) -> bytes:
    packed: bytes = hiredis.pack_command(command)  # type: ignore[arg-type] # annotated as a tuple of one
    return packed


class _Call:
    """One command in flight. Its place in the queue tells which reply belongs to it."""

    __slots__ = ("again", "asking", "due_s", "future")

    def __init__(
        self,
        future: asyncio.Future[Any] | None,
        due_s: float,
        again: tuple[Argument, ...] | None,
        *,
        asking: bool = False,
    ) -> None:
        self.future = future
        self.due_s = due_s
        self.again = again
        self.asking = asking


class Channel(asyncio.Protocol):
    """A connection to one server, used from one event loop.

    **Matching.** A server answers the commands of a connection in order, so the first reply belongs to the
    first command. A caller that is cancelled leaves its place in the queue. Its reply is dropped when
    it comes, and no reply is ever taken for another's.

    **Time-outs.** Only the oldest command is watched. Replies come in order, so when the oldest reply is late, all
    replies behind it are late too. Then the connection is ended, and the result of every command in flight is
    unknown. Keeping the connection would let commands pile up in front of a server that does not read them.

    **Writes.** Commands that are given in one turn of the event loop leave in one write.

    **Connecting.** Commands may be given at once. They leave when the server has reported that it is fit.
    """

    def __init__(
        self,
        place: Place,
        *,
        timeout_s: float,
        examine: Callable[[bytes], str | None],
        ended: Callable[[str], None],
    ) -> None:
        """Prepare a channel.

        `examine` reads a server's ``INFO`` and says what is wrong; `ended` is called at the end.
        """
        self.loop = asyncio.get_running_loop()
        self.closed = False
        self._place = place
        self._timeout_s = timeout_s
        self._examine = examine
        self._ended = ended
        self._calls: deque[_Call] = deque()
        self._out: list[bytes] = []
        self._out_bytes = 0
        self._greeting = 0
        self._ready = False
        self._flushing = False
        self._transport: asyncio.Transport | None = None
        self._reader = hiredis.Reader(replyError=ServerError, notEnoughData=_NOTHING)
        self._timer: asyncio.TimerHandle | None = None
        self._overdue: _Call | None = None
        self._connecting = self.loop.create_task(self._connect())

    def send(
        self,
        command: tuple[Argument, ...],
        *,
        again: tuple[Argument, ...] | None = None,
        asking: bool = False,
    ) -> asyncio.Future[Any]:
        """Return the reply to a command, as a future. `again` is sent if the server does not know the script.

        With `asking` the command is allowed on a cluster's node that is about to receive its slot.

        Raises:
            ChannelClosed: The connection has ended.
            Full: Too many commands are in flight.
        """
        if self.closed:
            raise ChannelClosed("the connection has ended")
        if len(self._calls) >= QUEUED_AT_MOST:
            raise Full(f"{QUEUED_AT_MOST} commands are in flight already")
        if self._out_bytes + self._unsent() > BYTES_AT_MOST:
            raise Full(f"{BYTES_AT_MOST} bytes of commands wait for the server already")
        # some event loops read their clock once a turn, so it would be late by the time that the turn has taken
        due_s = time.monotonic() + self._timeout_s
        future: asyncio.Future[Any] = self.loop.create_future()
        self._ask(_Call(future, due_s, again, asking=asking), command)
        return future

    def close(self, reason: str = "closed") -> None:
        """End the connection. Every command in flight fails with `ChannelClosed`."""
        if self.closed:
            return
        self.closed = True
        self._connecting.cancel()
        if self._timer is not None:
            self._timer.cancel()
        if self._transport is not None:
            self._transport.abort()
        self._out.clear()
        calls, self._calls = self._calls, deque()
        for call in calls:
            if call.future is not None and not call.future.done():
                call.future.set_exception(ChannelClosed(reason))
        if calls or not self._ready:
            self._ended(reason)  # the server may close an idle connection, and this is no failure

    @property
    def in_flight(self) -> int:
        """The number of commands that have no reply yet."""
        return len(self._calls)

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """See `asyncio.Protocol`."""
        # uvloop's transport is a WriteTransport, but does not declare it
        self._transport = cast("asyncio.Transport", transport)
        greeting = self._place.greeting()
        self._greeting = len(greeting)
        self._transport.write(b"".join(_packed(one) for one in greeting))

    def data_received(self, data: bytes) -> None:
        """See `asyncio.Protocol`."""
        try:
            self._reader.feed(data)
            while (reply := self._reader.gets()) is not _NOTHING:
                if self._greeting:
                    self._greeted(reply)
                elif self._calls:
                    self._answered(self._calls.popleft(), reply)
                else:
                    self.close(f"the server said something that nobody asked: {reply!r:.60}")
                if self.closed:
                    return
        except hiredis.HiredisError as error:
            self.close(f"not the Redis protocol: {error}")

    def connection_lost(self, exc: Exception | None) -> None:
        """See `asyncio.Protocol`."""
        self.close(str(exc) if exc else "the server closed the connection")

    async def _connect(self) -> None:
        place = self._place
        try:
            async with asyncio.timeout(self._timeout_s):
                if place.path:
                    await self.loop.create_unix_connection(lambda: self, place.path)
                else:
                    await self.loop.create_connection(lambda: self, place.host, place.port)
        except TimeoutError:
            self.close(f"no connection within {self._timeout_s:g} s")
        except OSError as error:
            self.close(str(error))

    def _greeted(self, reply: Any) -> None:
        self._greeting -= 1
        if isinstance(reply, ServerError):
            self.close(str(reply))
        elif not self._greeting:
            if reason := self._examine(reply):
                self.close(reason)
                return
            self._ready = True
            self._flush()

    def _ask(self, call: _Call, command: tuple[Argument, ...]) -> None:
        """Give a command. ``ASKING`` goes before each command that needs it, because it holds for one command only."""
        if call.asking:
            self._give(_Call(None, call.due_s, None), ("ASKING",))
        self._give(call, command)

    def _give(self, call: _Call, command: tuple[Argument, ...]) -> None:
        self._calls.append(call)
        packed = _packed(command)
        self._out.append(packed)
        self._out_bytes += len(packed)
        if self._timer is None:
            self._timer = self.loop.call_later(self._timeout_s, self._look)
        if not self._flushing:
            self._flushing = True
            self.loop.call_soon(self._flush)

    def _flush(self) -> None:
        self._flushing = False
        if self._ready and self._out and not self.closed and self._transport is not None:
            self._transport.write(self._out[0] if len(self._out) == 1 else b"".join(self._out))
            self._out.clear()
            self._out_bytes = 0

    def _unsent(self) -> int:
        return self._transport.get_write_buffer_size() if self._transport is not None else 0

    def _answered(self, call: _Call, reply: Any) -> None:
        if isinstance(reply, ServerError):
            if call.again is not None and reply.code == "NOSCRIPT":
                command, call.again = call.again, None
                self._ask(call, command)
                return
            if call.future is not None and not call.future.done():
                call.future.set_exception(reply)
        elif call.future is not None and not call.future.done():
            call.future.set_result(reply)

    def _look(self) -> None:
        """Watch the oldest command, and end the connection if it is overdue.

        A turn of the event loop may take long. Then the reply may have arrived without being read, or the command may
        not have left yet. So the connection ends only if the command is still overdue after the loop has turned
        for a while longer. A delay of 0 would be too short: uvloop runs such a call before it reads.
        """
        self._timer = None
        if self.closed or not self._calls:
            return
        oldest = self._calls[0]
        left_s = oldest.due_s - time.monotonic()
        if left_s > 0:
            self._overdue = None
            self._timer = self.loop.call_later(left_s, self._look)
        elif self._overdue is not oldest:
            self._overdue = oldest
            self._timer = self.loop.call_later(self._timeout_s * GRACE, self._look)
        else:
            self.close(f"no reply within {self._timeout_s:g} s")
