"""One worker process as an ASGI application: it has a name, opens after the fork, and limits the body that it reads.

This is the outermost layer. The inner layer is the kernel's app, or the forwarder to a sidecar. The outer layer puts
``X-Lab-Worker`` on every reply, also on errors, and refuses bodies that are too large. It opens the inner application
when the server starts the worker, so nothing is opened before a fork, with or without preload. A worker that cannot be
opened ends with one line.
"""

from __future__ import annotations

import logging
import os
import secrets
from collections.abc import Callable
from contextlib import AbstractAsyncContextManager, AsyncExitStack, suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING

from starlette.requests import ClientDisconnect

from lab.problems import TooLarge, problem_of, problem_response
from lab.settings import BadSettings, Settings, read_settings
from lab.state import BadStateURL

if TYPE_CHECKING:
    from starlette.types import ASGIApp, Message, Receive, Scope, Send

# the one logger whose records appear whichever way the worker was started
logger = logging.getLogger("uvicorn.error")

CHATTY = ("weaver_kernel.policy", "weaver_kernel.tokens", "weaver_kernel.kernel")
"""Upstream's loggers that write a record for each refused call."""


@dataclass(frozen=True, slots=True)
class WorkerName:
    """The name of a worker process: ``<replica>/<pid>/<boot>``."""

    replica: str
    pid: int
    boot: str

    @classmethod
    def new(cls, replica: str) -> WorkerName:
        """Make the name of this process. `boot` is random, because the system uses a pid again within minutes."""
        return cls(replica, os.getpid(), secrets.token_hex(4))

    def __str__(self) -> str:
        return f"{self.replica}/{self.pid}/{self.boot}"


Opener = Callable[[Settings, WorkerName], AbstractAsyncContextManager["ASGIApp"]]


class Worker:
    """The ASGI application that a server runs.

    Args:
        opener: Opens the inner application, which stays open for as long as the worker lives.
    """

    def __init__(self, opener: Opener, read: Callable[[], Settings] = read_settings) -> None:
        self._opener = opener
        self._read = read
        self._inner: ASGIApp | None = None
        self._header = (b"x-lab-worker", b"")
        self._max_body_bytes = 0

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one ASGI scope."""
        if scope["type"] == "lifespan":
            await self._live(receive, send)
        elif scope["type"] == "http":
            await self._answer(scope, receive, send)
        else:
            await receive()
            await send({"type": "websocket.close"})

    async def _live(self, receive: Receive, send: Send) -> None:
        await receive()
        async with AsyncExitStack() as life:
            try:
                settings = self._read()
                quieten(settings)
                name = WorkerName.new(settings.replica)
                self._inner = await life.enter_async_context(self._opener(settings, name))
            except (BadSettings, BadStateURL) as error:
                await send({"type": "lifespan.startup.failed", "message": str(error)})
                return
            except Exception as error:  # an operator's factory may raise any error
                logger.exception("this worker cannot be opened")
                await send({"type": "lifespan.startup.failed", "message": f"{type(error).__name__}: {error}"})
                return
            self._header = (b"x-lab-worker", str(name).encode())
            self._max_body_bytes = settings.max_body_bytes
            await send({"type": "lifespan.startup.complete"})
            await receive()
        await send({"type": "lifespan.shutdown.complete"})

    async def _answer(self, scope: Scope, receive: Receive, send: Send) -> None:
        if self._inner is None:
            raise RuntimeError("this worker was never opened: the server must run the lifespan protocol")
        header = self._header

        async def named(message: Message) -> None:
            if message["type"] == "http.response.start":
                message["headers"] = [*message.get("headers", ()), header]
            await send(message)

        for key, value in scope["headers"]:
            if key == b"content-length" and int(value) > self._max_body_bytes:
                refusal = problem_response(problem_of(self._too_large()))
                await refusal(scope, receive, named)
                return
            if key == b"transfer-encoding":  # the request announced no length, so count the bytes
                receive = self._counted(receive)
        with suppress(ClientDisconnect):  # the client has gone, and a traceback would fill the log
            await self._inner(scope, receive, named)

    def _counted(self, receive: Receive) -> Receive:
        left = self._max_body_bytes

        async def counted() -> Message:
            nonlocal left
            message = await receive()
            left -= len(message.get("body", b""))
            if left < 0:
                raise self._too_large()
            return message

        return counted

    def _too_large(self) -> TooLarge:
        return TooLarge(f"the body is larger than {self._max_body_bytes} bytes (LAB_MAX_BODY_BYTES)")


def quieten(settings: Settings) -> None:
    """Keep upstream's record of each refused call out of the log, unless ``LAB_LOG_LEVEL`` asks for more.

    Upstream warns of every denial and every token that does not verify. The lab provokes thousands of refusals. A
    load run would spend its time on writing them, and the histories have them already.
    """
    chatty = logging.ERROR if settings.log_level == "warning" else settings.log_level.upper()
    for name in CHATTY:
        logging.getLogger(name).setLevel(chatty)
