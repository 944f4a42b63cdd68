"""Name the worker that answered: copy this file into your app. It needs only the standard library.

ASGI (FastAPI, Starlette, Django under ASGI)::

    app.add_middleware(WorkerASGI)  # or: app = WorkerASGI(app)

WSGI (Flask, Django)::

    app.wsgi_app = WorkerWSGI(app.wsgi_app)  # or: application = WorkerWSGI(application)

Every reply then has the header ``X-Lab-Worker: r0/4711/9f3a01bc``: the replica (the environment variable
``LAB_REPLICA``, otherwise ``r0``), the process, and a random name for this start of the process. Pids are
used again within minutes, so a pid alone does not tell a worker from its successor.
"""

import os
import secrets
from collections.abc import Awaitable, Callable, Iterable, MutableMapping
from typing import Any

HEADER = "X-Lab-Worker"
Headers = list[tuple[str, str]]
_starts: dict[int, str] = {}


def worker() -> str:
    """The name of this process. A forked process gets a name of its own, with ``--preload`` too."""
    pid = os.getpid()
    return f"{os.environ.get('LAB_REPLICA') or 'r0'}/{pid}/{_starts.setdefault(pid, secrets.token_hex(4))}"


class WorkerASGI:
    """Adds the header to every HTTP reply of an ASGI app."""

    def __init__(self, app: Callable[..., Awaitable[None]]) -> None:
        self.app = app

    async def __call__(self, scope: MutableMapping[str, Any], receive: Any, send: Any) -> None:
        """Pass the call on; the reply's first message gets the header."""

        async def named(message: MutableMapping[str, Any]) -> None:
            if message["type"] == "http.response.start":
                header = (HEADER.lower().encode(), worker().encode())
                message = {**message, "headers": [*message.get("headers", ()), header]}
            await send(message)

        await self.app(scope, receive, named if scope["type"] == "http" else send)


class WorkerWSGI:
    """Adds the header to every reply of a WSGI app."""

    def __init__(self, app: Callable[..., Iterable[bytes]]) -> None:
        self.app = app

    def __call__(self, environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
        """Pass the call on; the reply's headers get one more."""

        def named(status: str, headers: Headers, *more: Any) -> Any:
            return start_response(status, [*headers, (HEADER, worker())], *more)

        return self.app(environ, named)
