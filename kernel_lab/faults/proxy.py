"""A TCP proxy that puts distance, or a partition, between workers and their store.

`Proxy` is the harness's side of the proxy. The proxy itself is this same file, run as a program of its own
(standard library only), so that its work never waits for the harness's. The proxy passes each chunk on half a
round trip after it came, in the same order. It ends when its standard input is closed, so it does not outlive
the harness.

A partition is one of two things. ``hold``: connections stay, new ones are accepted, and no byte passes until
it is healed; a client sees a store that does not answer. ``reset``: every connection is broken, and each new
one as soon as it is made.
"""

from __future__ import annotations

import asyncio
import contextlib
import ctypes
import json
import selectors
import sys
from collections import deque
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, Literal, Self

LOOPBACK = "127.0.0.1"
Partition = Literal["", "hold", "reset"]
_PR_SET_TIMERSLACK = 29


@dataclass(frozen=True, slots=True, kw_only=True)
class Counts:
    """The traffic through the proxy since it started."""

    connections: int
    requests: int
    """Round trips: bytes towards the store that came after an answer, or first."""


class Proxy:
    """A running proxy. A connection to `LOOPBACK`:`port` leads to the target."""

    def __init__(self, host: str, port: int) -> None:
        self._target = (host, str(port))
        self._program: asyncio.subprocess.Process | None = None
        self.port = 0

    async def __aenter__(self) -> Self:
        """Start the proxy, which listens and adds no distance."""
        self._program = await asyncio.create_subprocess_exec(
            sys.executable, "-I", "-S", str(Path(__file__)), *self._target,
            stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE,
        )  # fmt: skip
        self.port = (await self._told())["port"]
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """End the proxy and all of its connections."""
        assert self._program is not None  # noqa: S101 - it was entered
        assert self._program.stdin is not None  # noqa: S101 - a pipe
        self._program.stdin.close()
        await self._program.wait()

    @property
    def pid(self) -> int:
        """The program's."""
        assert self._program is not None  # noqa: S101 - it was entered
        return self._program.pid

    async def set_rtt(self, rtt_ms: float) -> None:
        """From now on every round trip takes `rtt_ms` longer: half of it on each way."""
        await self._order(rtt_ms=rtt_ms)

    async def partition(self, how: Literal["hold", "reset"]) -> None:
        """Cut workers and store apart."""
        await self._order(partition=how)

    async def heal(self) -> None:
        """Pass on the bytes that were held, and make new connections again."""
        await self._order(partition="")

    async def lead_to(self, port: int) -> None:
        """From now on new connections go to another port, as an address does that has moved to another server."""
        await self._order(target=port)

    async def counts(self) -> Counts:
        """Return the traffic through the proxy so far."""
        return Counts(**await self._order())

    async def _order(self, **order: object) -> dict[str, Any]:
        assert self._program is not None  # noqa: S101 - it was entered
        assert self._program.stdin is not None  # noqa: S101 - a pipe
        self._program.stdin.write(json.dumps(order).encode() + b"\n")
        return await self._told()

    async def _told(self) -> dict[str, Any]:
        assert self._program is not None  # noqa: S101 - it was entered
        assert self._program.stdout is not None  # noqa: S101 - a pipe
        line = await self._program.stdout.readline()
        if not line:
            raise ConnectionError(f"the proxy to {':'.join(self._target)} has ended")
        told: dict[str, Any] = json.loads(line)
        return told


class _Line:
    """The state that all pipes share: the target, the distance, and whether both sides are cut apart."""

    def __init__(self, host: str, port: int) -> None:
        self.host, self.port = host, port
        self.delay_s = 0.0
        self.partition: Partition = ""
        self.pipes: set[_Pipe] = set()
        self.connections = 0
        self.requests = 0


class _Pipe(asyncio.Protocol):
    """One direction of one connection: the bytes that come in here go out at `other`."""

    def __init__(self, line: _Line, asker: _Pipe | None = None) -> None:
        """`asker` is the pipe whose questions this one answers; None of a pipe towards the store."""
        self.other: asyncio.Transport | None = None
        self.transport: asyncio.Transport | None = None
        self._line = line
        self._asker = asker
        self.asking = False
        self._waiting: deque[bytes] = deque()
        self._held: deque[bytes] = deque()
        self._due_s = 0.0

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)  # noqa: S101 - TCP
        self.transport = transport
        self._line.pipes.add(self)

    def data_received(self, data: bytes) -> None:
        if self._asker is not None:
            self._asker.asking = False
        elif not self.asking:  # a large request comes in several chunks
            self.asking = True
            self._line.requests += 1
        if not self._line.delay_s and not self._waiting:
            self._pass_on(data)
            return
        # a distance that shrinks must not let a later chunk overtake an earlier one
        loop = asyncio.get_running_loop()
        self._due_s = max(self._due_s, loop.time() + self._line.delay_s)
        self._waiting.append(data)
        loop.call_at(self._due_s, self._arrive)

    def _arrive(self) -> None:
        self._pass_on(self._waiting.popleft())

    def _pass_on(self, data: bytes) -> None:
        if self._line.partition or self.other is None:
            self._held.append(data)
        else:
            self.other.write(data)

    def flow(self) -> None:
        """Send the bytes that were held."""
        while self._held and self.other is not None and not self._line.partition:
            self.other.write(self._held.popleft())

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002 - asyncio's seam
        self._line.pipes.discard(self)
        if self.other is not None:
            self.other.close()


async def _accept(line: _Line, client: _Pipe) -> None:
    """Join a client that was accepted with a connection of its own to the store."""
    assert client.transport is not None  # noqa: S101 - it was accepted
    line.connections += 1
    if line.partition == "reset":
        client.transport.abort()
        return
    loop = asyncio.get_running_loop()
    try:
        transport, store = await loop.create_connection(lambda: _Pipe(line, client), line.host, line.port)
    except OSError:
        client.transport.abort()
        return
    store.other, client.other = client.transport, transport
    client.flow()


async def _serve(host: str, port: int) -> None:
    """Proxy until standard input ends; each line of it is an order, answered by a line."""
    line = _Line(host, port)
    loop = asyncio.get_running_loop()
    joining: set[asyncio.Task[None]] = set()

    class Client(_Pipe):
        def connection_made(self, transport: asyncio.BaseTransport) -> None:
            super().connection_made(transport)
            task = loop.create_task(_accept(line, self))
            joining.add(task)
            task.add_done_callback(joining.discard)

    server = await loop.create_server(lambda: Client(line), LOOPBACK, 0)
    _tell(port=server.sockets[0].getsockname()[1])
    orders = asyncio.StreamReader()
    await loop.connect_read_pipe(lambda: asyncio.StreamReaderProtocol(orders), sys.stdin)
    while order := await orders.readline():
        asked = json.loads(order)
        if "rtt_ms" in asked:
            line.delay_s = asked["rtt_ms"] / 2000
        if "target" in asked:
            line.port = asked["target"]
        if "partition" in asked:
            line.partition = asked["partition"]
            for pipe in list(line.pipes):
                if line.partition == "reset" and pipe.transport is not None:
                    pipe.transport.abort()
                pipe.flow()
        _tell(connections=line.connections, requests=line.requests)
    server.close()


def _tell(**told: int) -> None:
    sys.stdout.write(json.dumps(told) + "\n")
    sys.stdout.flush()


def _main() -> None:
    if sys.platform == "linux":
        with contextlib.suppress(OSError):
            # timers may come 50 us late by default: a tenth of the smallest distance
            ctypes.CDLL(None).prctl(_PR_SET_TIMERSLACK, 1, 0, 0, 0)
    # epoll waits in whole milliseconds, select in microseconds: half of 0.5 ms is less than one
    loop = asyncio.SelectorEventLoop(selectors.SelectSelector())
    loop.run_until_complete(_serve(sys.argv[1], int(sys.argv[2])))


if __name__ == "__main__":
    _main()
