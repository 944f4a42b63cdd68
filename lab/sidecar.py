"""A worker without a kernel: it forwards every call to one process that has one.

The process is a sidecar behind a Unix socket (`lab.sidecar_process` keeps it), or a remote kernel that listens
on TCP for the workers of all hosts (``LAB_REMOTE_KERNEL``). It runs the same app, so a call, its principal and
its refusal pass through unchanged. Only the names differ: ``X-Lab-Worker`` is the worker that forwarded,
``X-Lab-Sidecar`` the process that answered. The worker itself answers ``/healthz`` and ``/worker``.

A kernel process that cannot be reached is treated like a store that cannot be reached: 503 ``state_unavailable``. After
one failed call the next calls are refused at once, until the process answers a probe. A stopped process accepts
connections but does not answer. So every worker asks the process at intervals, and ends the calls in flight when
there was no answer for `SILENT_S`. This time is longer than a busy process needs, because a late answer is not a
failure.
"""

from __future__ import annotations

import asyncio
import contextlib
from contextlib import asynccontextmanager
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any, Self

import aiohttp
import msgspec
from yarl import URL

from lab.in_force import describe
from lab.problems import Malformed, TooLarge, problem_of, problem_response
from lab.settings import BadSettings
from lab.state import StateUnavailable
from lab.worker import Worker, WorkerName

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable

    from starlette.types import ASGIApp, Receive, Scope, Send

    from lab.settings import Settings

PROBE_EVERY_S = 0.1
"""Seconds between two probes of a process that does not answer."""
ASK_EVERY_S = 1.0
"""Seconds between two questions to a process that answers."""
SILENT_S = 2.0

_NOT_PASSED_ON = frozenset(
    (
        # headers that belong to one connection (RFC 9110, 7.6.1)
        *(
            b"connection",
            b"keep-alive",
            b"proxy-connection",
            b"te",
            b"trailer",
            b"transfer-encoding",
            b"upgrade",
        ),
        # headers that every sender writes anew
        *(b"host", b"expect", b"date", b"server"),
    )
)


@dataclass(frozen=True, slots=True, kw_only=True)
class KernelProcess:
    """The process that a worker forwards to."""

    named: str
    """The name of the process in error messages."""
    url: str
    """The URL of the process, without a path."""
    connector: Callable[[], aiohttp.BaseConnector]
    """A function that makes connections to the process."""

    @classmethod
    def of(cls, settings: Settings) -> KernelProcess:
        """Return the process that `settings` name.

        Raises:
            BadSettings: The settings name no process.
        """
        # every call in flight has a connection, and connections are kept: the process closes none of them
        kept: dict[str, Any] = {"limit": 0, "keepalive_timeout": 3600}
        if settings.remote_kernel is not None:
            return cls(
                named=f"the remote kernel at {settings.remote_kernel}",
                url=f"http://{settings.remote_kernel}",
                connector=partial(aiohttp.TCPConnector, **kept),
            )
        if settings.sidecar_socket is None:
            raise BadSettings(
                "LAB_SIDECAR_SOCKET is unset: gunicorn sets it when it starts a sidecar (lab/gunicorn.conf.py)"
            )
        return cls(
            named="the sidecar",
            url="http://sidecar",
            connector=partial(aiohttp.UnixConnector, settings.sidecar_socket, **kept),
        )


class Forwarder:
    """The ASGI application of a worker without a kernel.

    It is an async context manager, because it keeps connections.
    """

    def __init__(self, settings: Settings, name: WorkerName, process: KernelProcess) -> None:
        self._process = process
        self._connect_s = settings.store_timeout_ms / 1000
        self._local = {
            "/healthz": b'{"status":"ok"}',
            "/worker": msgspec.json.encode(describe(settings, name, chained_audit=None)),
        }
        self._away = ""
        """Why calls are refused at present; empty if they are not refused."""
        self._suspected = asyncio.Event()
        self._session = self._connected()

    async def __aenter__(self) -> Self:
        """Start to ask the kernel process whether it answers."""
        self._watcher = asyncio.create_task(self._watch())
        return self

    async def __aexit__(self, *_: object) -> None:
        """Stop asking, and close every connection."""
        self._watcher.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await self._watcher
        await self._session.close()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one HTTP request."""
        if scope["method"] == "GET" and scope["path"] in self._local:
            await _send(send, 200, [(b"content-type", b"application/json")], self._local[scope["path"]])
            return
        try:
            body = await _read(receive)
            if self._away:
                raise StateUnavailable(f"{self._process.named} is away ({self._away}); not asked again yet")
            await self._forward(scope, body, receive, send)
        except (Malformed, TooLarge, StateUnavailable) as error:
            await problem_response(problem_of(error))(scope, receive, send)

    async def _forward(self, scope: Scope, body: bytes, receive: Receive, send: Send) -> None:
        """Send one call to the kernel process, and its reply to the client.

        Raises:
            StateUnavailable: The process did not answer. It may have carried out the call.
        """
        try:
            async with self._session.request(
                scope["method"], self._url(scope), headers=_onward(scope), data=body, allow_redirects=False
            ) as reply:
                headers = _back(reply.raw_headers)
                if reply.content_length is None:
                    await self._send_stream(reply, headers, receive, send)
                else:
                    await _send(send, reply.status, headers, await reply.read())
        except (aiohttp.ClientError, OSError) as error:
            self._suspect(type(error).__name__)
            raise StateUnavailable(f"{self._process.named} did not answer ({type(error).__name__})") from None

    def _suspect(self, reason: str) -> None:
        self._away = self._away or reason
        self._suspected.set()

    async def _watch(self) -> None:
        """Ask whether the process answers: at intervals while it does, and at once when a call has failed."""
        while True:
            # not `wait_for`: before Python 3.12 it forgets that it was cancelled if a call fails at the same time
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(ASK_EVERY_S):
                    await self._suspected.wait()
            while failure := await self._ask():
                if not self._away:
                    self._away = failure
                    # without this, the calls in flight would wait for ever
                    silent, self._session = self._session, self._connected()
                    await silent.close()
                await asyncio.sleep(PROBE_EVERY_S)
            self._suspected.clear()
            self._away = ""

    async def _ask(self) -> str:
        """Return why the process cannot be used; an empty text if it answers."""
        try:
            async with asyncio.timeout(SILENT_S), self._session.get(f"{self._process.url}/healthz"):
                return ""
        except TimeoutError:
            return f"silent for {SILENT_S:g} s"
        except (aiohttp.ClientError, OSError) as error:
            return type(error).__name__

    def _connected(self) -> aiohttp.ClientSession:
        return aiohttp.ClientSession(
            connector=self._process.connector(),
            timeout=aiohttp.ClientTimeout(total=None, sock_connect=self._connect_s),
            cookie_jar=aiohttp.DummyCookieJar(),
            auto_decompress=False,
            skip_auto_headers=("Accept", "Accept-Encoding", "Content-Type", "User-Agent"),
        )

    def _url(self, scope: Scope) -> URL:
        query = scope["query_string"].decode("latin-1")
        target = scope["raw_path"].decode("latin-1") + (f"?{query}" if query else "")
        return URL(f"{self._process.url}{target}", encoded=True)

    async def _send_stream(
        self,
        reply: aiohttp.ClientResponse,
        headers: list[tuple[bytes, bytes]],
        receive: Receive,
        send: Send,
    ) -> None:
        """Send the reply chunk by chunk. If the client has left, close the connection to the process.

        If the process dies during the reply, the status has already been sent. Then the last line says that it died,
        as in `lab.app`.
        """
        await send({"type": "http.response.start", "status": reply.status, "headers": headers})
        left = asyncio.ensure_future(receive())
        try:
            async for chunk in reply.content.iter_any():
                if left.done():
                    return
                await send({"type": "http.response.body", "body": chunk, "more_body": True})
            last = b""
        except (aiohttp.ClientError, OSError):
            problem = problem_of(StateUnavailable(f"{self._process.named} died while it answered"))
            last = b"\n" + msgspec.json.encode({"error": problem}) + b"\n"
        finally:
            left.cancel()
        await send({"type": "http.response.body", "body": last})


def _onward(scope: Scope) -> list[tuple[str, str]]:
    """Return the headers of the request for the kernel process.

    Raises:
        Malformed: A header is not UTF-8, so it could not be passed on unchanged.
    """
    try:
        return [
            (key.decode(), value.decode())
            for key, value in scope["headers"]
            if key not in _NOT_PASSED_ON and key != b"content-length"
        ]
    except UnicodeDecodeError as error:
        raise Malformed(f"a header must be UTF-8 ({error.reason})") from None


def _back(raw: tuple[tuple[bytes, bytes], ...]) -> list[tuple[bytes, bytes]]:
    """Return the headers of the reply, with the kernel process's name under a header of its own."""
    headers = ((key.lower(), value) for key, value in raw)
    return [
        (b"x-lab-sidecar" if key == b"x-lab-worker" else key, value)
        for key, value in headers
        if key not in _NOT_PASSED_ON
    ]


async def _read(receive: Receive) -> bytes:
    body: bytes = b""
    while True:
        message = await receive()
        body += message.get("body", b"")
        if not message.get("more_body"):
            return body


async def _send(send: Send, status: int, headers: list[tuple[bytes, bytes]], body: bytes) -> None:
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": body})


@asynccontextmanager
async def open_forwarder(settings: Settings, name: WorkerName) -> AsyncIterator[ASGIApp]:
    """Open the ASGI application of a worker whose kernel is in another process.

    Raises:
        BadSettings: The settings do not say where that process is.
    """
    async with Forwarder(settings, name, KernelProcess.of(settings)) as forwarder:
        yield forwarder


app = Worker(open_forwarder)
