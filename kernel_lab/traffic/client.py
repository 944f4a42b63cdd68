"""RecordingClient: one HTTP call, one operation in the history."""

from __future__ import annotations

import asyncio
import itertools
import time
from collections.abc import Awaitable, Callable, Iterator, Mapping
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass, field, replace
from types import MappingProxyType
from typing import Any, Protocol

import httpx
import msgspec
import orjson

from kernel_lab.judge.history import HistoryWriter, Outcome
from kernel_lab.traffic import call
from kernel_lab.traffic.address import WORKER_HEADER
from kernel_lab.traffic.between import Between
from kernel_lab.traffic.bounded import DEADLINE, worker_of
from kernel_lab.traffic.call import Call, Reply
from kernel_lab.traffic.journal import Entry, Journal

STREAM_DEADLINE_S = 30.0
"""The most seconds that a streamed call may take. It is longer than for other calls, because other calls are
made while its frames come."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Principal:
    """A caller, as an authenticating proxy would describe it in headers."""

    name: str
    roles: tuple[str, ...] = ("reader", "writer")
    tenant: str | None = "acme"
    extra: dict[str, str] = field(default_factory=dict)
    """Further headers that every call of this principal carries."""

    def headers(self) -> dict[str, str]:
        """``X-Principal-Id`` and ``-Roles``, ``-Tenant`` where there is one, and the further headers."""
        headers = {**self.extra, "X-Principal-Id": self.name, "X-Principal-Roles": ",".join(self.roles)}
        if self.tenant is not None:
            headers["X-Principal-Tenant"] = self.tenant
        return headers


@dataclass(slots=True)
class Connection:
    """One HTTP/1.1 connection at a time; a reconnect gets a name of its own."""

    http: httpx.AsyncClient
    names: Iterator[str]
    kept: bool = True
    worker: str | None = None
    home: str | None = None
    """The worker it is pinned to."""
    closing: bool = False
    """Its last reply said that the server closes it."""
    _address: object = None
    _name: str = ""

    @property
    def strayed(self) -> bool:
        """Its next call would not meet the worker that it is pinned to, or its last one did not."""
        return self.home is not None and (self.closing or self.worker != self.home)

    def name(self, response: httpx.Response) -> str:
        """The history's name of the socket this response came over."""
        if not self.kept:
            return next(self.names)
        try:
            address = response.extensions["network_stream"].get_extra_info("client_addr")
        except OSError:  # closed by the other side with its reply
            address = None
        # an idle pinned connection whose worker died reconnects silently: the local port tells
        if address is None or address != self._address:
            self._address, self._name = address, next(self.names)
        return self._name


class Connector(Protocol):
    """Chooses the connection of the next call: one of the policies of ``kernel_lab.traffic.connections``."""

    def borrow(self, principal: str, lane: int | None) -> AbstractAsyncContextManager[Connection]:
        """A connection for one call of `principal`; `lane` asks for a worker where the policy can choose."""
        ...


@dataclass(slots=True)
class Recorder:
    """The recorder of the calls of one cell: its history and its names."""

    writer: HistoryWriter
    journal: Journal = field(default_factory=Journal)
    """The deployment's journal, in which every recorder notes its calls."""
    between: Between | None = None
    """The proxy between the instrument and a deployment that somebody else runs."""
    _clients: Iterator[int] = field(default_factory=itertools.count)

    def client_name(self) -> str:
        """A fresh client name: an ``info`` retires the old one."""
        return f"c{next(self._clients)}"


class RecordingClient:
    """A principal who calls, one call at a time, over the connections of one policy.

    Every call is written to the history when it ends, a cancelled one too, as ``info``: whatever the server
    may have done is not lost from the record.
    """

    def __init__(
        self,
        recorder: Recorder,
        connector: Connector,
        principal: Principal,
        *,
        arguments: Mapping[str, dict[str, Any]] = MappingProxyType({}),
    ) -> None:
        self.principal = principal
        self._arguments = arguments
        self._recorder = recorder
        self._connector = connector
        self._headers = principal.headers()
        self._name = recorder.client_name()
        self.answering: str | None = None
        """The worker that answers, or last answered, this client's call."""

    async def grant(self, capability: str, *, lane: int | None = None) -> Reply:
        """Ask for a token."""
        return await self.send(call.grant(self.principal.name, capability), lane)

    async def invoke(
        self,
        token: dict[str, Any],
        *,
        lane: int | None = None,
        args: dict[str, Any] | None = None,
        mode: str = "summary",
        tampered: bool = False,
    ) -> Reply:
        """Present a token; `tampered` says that the caller has altered it.

        Without `args`, an invoke has the arguments that its capability is known to need.
        """
        args = args or self._arguments.get(token["capability_id"])
        asked = call.invoke(self.principal.name, token, args, mode=mode, tampered=tampered)
        return await self.send(asked, lane)

    async def expand(self, handle_id: str, *, lane: int | None = None) -> Reply:
        """Ask for rows behind a handle."""
        return await self.send(call.expand(self.principal.name, handle_id), lane)

    async def revoke(self, token_id: str, *, lane: int | None = None) -> Reply:
        """Revoke one token."""
        return await self.send(call.revoke(self.principal.name, token_id), lane)

    async def revoke_all(self, principal: str, *, lane: int | None = None) -> Reply:
        """Revoke every token of a principal."""
        return await self.send(call.revoke_all(self.principal.name, principal), lane)

    async def explain(self, action_id: str, *, lane: int | None = None) -> Reply:
        """Ask for the trace of one action."""
        return await self.send(call.explain(action_id), lane)

    async def list_traces(
        self, principal: str, *, event_type: str | None = None, lane: int | None = None
    ) -> Reply:
        """List the traces of one principal, all of them or those of one type of event."""
        return await self.send(call.list_traces(principal, event_type), lane)

    async def audit(self, *, lane: int | None = None) -> Reply:
        """Ask the audit chain to verify itself."""
        return await self.send(call.audit(), lane)

    async def budget(self, *, lane: int | None = None) -> Reply:
        """Read the budget."""
        return await self.send(call.budget(), lane)

    async def stats(self, *, lane: int | None = None) -> Reply:
        """Read a worker's counters."""
        return await self.send(call.stats(), lane)

    async def import_capability(
        self, capability: str, manifest: dict[str, Any], *, lane: int | None = None
    ) -> Reply:
        """Import a remote capability through one worker."""
        return await self.send(call.import_capability(capability, manifest), lane)

    async def stream(
        self,
        token: dict[str, Any],
        *,
        lane: int | None = None,
        on_frame: Callable[[int], Awaitable[bool]] | None = None,
    ) -> Reply:
        """Present a token and read the frames; `on_frame(number)` says whether to go on reading."""
        args = self._arguments.get(token["capability_id"])
        return await self.send(call.stream(self.principal.name, token, args), lane, frames=Frames(on_frame))

    async def send(self, asked: Call, lane: int | None = None, *, frames: Frames | None = None) -> Reply:
        """Make one call, and write it down whatever becomes of it.

        Raises:
            InTheWay: Something in between changes or refuses the calls.
        """
        between = self._recorder.between
        if between is not None:
            await between.may_call()
        headers = dict(self._headers)
        content = None
        if asked.body is not None:
            content = orjson.dumps(asked.body)
            headers["Content-Type"] = "application/json"
        async with self._connector.borrow(self.principal.name, lane) as connection:
            if not connection.kept:
                headers["Connection"] = "close"
            index = self._recorder.writer.next_index()
            called_ns = time.monotonic_ns()
            entry = self._recorder.journal.begin(self._recorder, asked.f, called_ns)
            reply = Reply(outcome=Outcome.INFO, error="cancelled", call_ns=called_ns)
            name: str | None = None
            status, retry_after = 0, None
            more: dict[str, Any] = {} if frames is None else {"extensions": {DEADLINE: STREAM_DEADLINE_S}}
            try:
                async with connection.http.stream(
                    asked.method, asked.path, content=content, headers=headers, **more
                ) as response:
                    worker = self.answering = worker_of(response, WORKER_HEADER)
                    connection.closing = response.headers.get("Connection") == "close"
                    status, retry_after = response.status_code, response.headers.get("Retry-After")
                    name = connection.name(response)
                    if frames is None or not response.is_success:
                        body = await response.aread()
                    else:
                        asked = replace(asked, keep=frames.output)
                        body = await frames.read(response)
                reply = call.read(
                    asked,
                    response.status_code,
                    body,
                    call_ns=called_ns,
                    return_ns=time.monotonic_ns(),
                    worker=worker,
                )
                connection.worker = worker
            except (httpx.HTTPError, httpx.InvalidURL, OSError) as error:
                # indefinite by nature: the request may have been carried out before the connection failed
                came = frames.output(None) if frames is not None and frames.count else None
                reply = replace(reply, error=type(error).__name__, output=came)
            finally:
                self._write(index, asked, reply, name)
                if entry is not None:
                    _note_end(entry, reply)
        if between is not None:
            between.met(reply.worker, reply.call_ns, reply.return_ns)
            if asked.f == "grant":
                between.compare(self.principal.name, reply.body)
            between.answered(status, by_kernel=reply.outcome is not Outcome.INFO, retry_after=retry_after)
        return reply

    def _write(self, index: int, asked: Call, reply: Reply, connection: str | None) -> None:
        indefinite = reply.outcome is Outcome.INFO
        self._recorder.writer.write(
            {
                "index": index,
                "client": self._name,
                "f": asked.f,
                "input": asked.asked,
                "output": reply.output,
                "outcome": reply.outcome,
                "call_ns": reply.call_ns,
                "return_ns": None if indefinite else reply.return_ns,
                "worker": reply.worker,
                "connection": connection,
                "error": reply.error,
            }
        )
        if indefinite:
            self._name = self._recorder.client_name()


def _note_end(entry: Entry, reply: Reply) -> None:
    """Note when a call ended. A stream that its caller closed may leave its trace at any later time."""
    if reply.outcome is not Outcome.INFO and not (reply.output and reply.output.get("closed")):
        entry.return_ns, entry.outcome = reply.return_ns, reply.outcome


class Frame(msgspec.Struct):
    """One line of a stream."""

    action_id: str | None = None
    is_final: bool = False
    error: Any = None
    """The stream failed, and this is its last line."""


_decode_frame = msgspec.json.Decoder(Frame).decode


@dataclass(slots=True)
class Frames:
    """The frames of a stream, counted while they came."""

    on_frame: Callable[[int], Awaitable[bool]] | None = None
    count: int = 0
    action_id: str | None = None
    final: bool = False
    closed: bool = False
    last_ns: int | None = None

    async def read(self, response: httpx.Response) -> bytes:
        """Read to the end, or until `on_frame` says that it is enough; an empty object as the body."""
        async for line in response.aiter_lines():
            try:
                frame = _decode_frame(line)
            except (ValueError, RecursionError):
                raise httpx.RemoteProtocolError("a frame of the stream cannot be read") from None
            if frame.error is not None:
                raise httpx.RemoteProtocolError("the stream failed")
            self.count += 1
            self.last_ns = time.monotonic_ns()
            self.action_id = frame.action_id
            self.final = frame.is_final
            # after the final frame there is nothing to hang up on: the end of the body is awaited
            if self.on_frame is not None and not await self.on_frame(self.count) and not self.final:
                self.closed = True
                break
        return b"{}"

    def output(self, _body: Any) -> dict[str, Any]:
        """The operation's output."""
        return {
            "action_id": self.action_id,
            "frames": self.count,
            "final": self.final,
            "closed": self.closed,
            "last_frame_ns": self.last_ns,
        }


async def close_all(clients: list[httpx.AsyncClient]) -> None:
    """Close many clients; one that fails to close does not keep the rest open."""
    await asyncio.gather(*(client.aclose() for client in clients), return_exceptions=True)
