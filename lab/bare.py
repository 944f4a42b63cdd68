"""The baseline for the overhead of our own app: the smallest ASGI application that makes the same kernel calls.

It grants and invokes, and nothing else: no routing beyond two paths, no validation, no refusal (an error of
the kernel is a 500). The difference between `lab.app` and this application is the cost of validation, documentation and
error replies.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import orjson
from weaver_kernel import CapabilityRequest, CapabilityToken, Kernel, Principal

from lab.bridge import bridged, bridged_await
from lab.in_force import describe
from lab.kernel import load_kernel
from lab.settings import read_settings
from lab.state import waits
from lab.worker import WorkerName

if TYPE_CHECKING:
    from starlette.types import Receive, Scope, Send

_JSON = (b"content-type", b"application/json")


class Bare:
    """An application that serves two kernel calls, and the routes that a stack asks of every worker."""

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one ASGI scope."""
        if scope["type"] == "lifespan":
            await self._live(receive, send)
            return
        path = scope["path"]
        if path == "/grants":
            asked = await _body(receive)
            reply = await bridged(self._grant, scope, asked) if waits() else self._grant(scope, asked)
        elif path == "/invocations":
            asked = await _body(receive)
            invoked = bridged_await(self._invoke, scope, asked) if waits() else self._invoke(scope, asked)
            reply = await invoked
        else:
            reply = self._described
        headers = [(b"content-length", b"%d" % len(reply)), _JSON, self._name]
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        await send({"type": "http.response.body", "body": reply})

    async def _live(self, receive: Receive, send: Send) -> None:
        await receive()
        settings = read_settings()
        name = WorkerName.new(settings.replica)
        self._kernel: Kernel = load_kernel(settings)
        self._name = (b"x-lab-worker", str(name).encode())
        facts = describe(settings, name, chained_audit=None)
        self._described = orjson.dumps({"rate_limits": facts["rate_limits"]})
        await send({"type": "lifespan.startup.complete"})
        await receive()
        await send({"type": "lifespan.shutdown.complete"})

    def _grant(self, scope: Scope, asked: dict[str, Any]) -> bytes:
        request = CapabilityRequest(asked["capability_id"], asked["goal"])
        granted = self._kernel.grant_capability(
            request, _principal(scope), justification=asked["justification"]
        )
        return orjson.dumps({"token": granted.token.to_dict()})

    async def _invoke(self, scope: Scope, asked: dict[str, Any]) -> bytes:
        frame = await self._kernel.invoke(
            CapabilityToken.from_dict(asked["token"]), principal=_principal(scope), args=asked["args"]
        )
        return orjson.dumps(
            {
                "action_id": frame.action_id,
                "handle_id": frame.handle.handle_id if frame.handle else None,
                "response_mode": frame.response_mode,
                "facts": frame.facts,
                "tokens": None,
            }
        )


async def _body(receive: Receive) -> dict[str, Any]:
    body = b""
    while True:
        message = await receive()
        body += message["body"]
        if not message.get("more_body"):
            asked: dict[str, Any] = orjson.loads(body)
            return asked


def _principal(scope: Scope) -> Principal:
    headers = dict(scope["headers"])
    return Principal(
        headers[b"x-principal-id"].decode(),
        headers[b"x-principal-roles"].decode().split(","),
        {"tenant": headers[b"x-principal-tenant"].decode()},
    )


app = Bare()
