"""The lab's app in this process, over a kernel that a test may look into."""

import asyncio
import json
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from typing import Any

import httpx
from weaver_kernel import Kernel

from lab.app import build_api
from lab.in_force import describe
from lab.settings import Settings
from lab.worker import WorkerName


class Lab:
    """The app over one kernel, asked as some principal."""

    def __init__(self, kernel: Kernel, settings: Settings) -> None:
        self.kernel = kernel
        self.api = build_api(kernel, describe(settings, WorkerName("r0", 1, "b"), chained_audit=False))
        self._client = httpx.AsyncClient(
            transport=httpx.ASGITransport(self.api, raise_app_exceptions=False), base_url="http://lab"
        )

    async def ask(
        self, method: str, path: str, body: Any = None, *, who: str = "alice", **headers: str
    ) -> httpx.Response:
        """One request, as `who` with the role in ``x_principal_roles`` and so on."""
        content = body if isinstance(body, bytes) or body is None else json.dumps(body).encode()
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        return await self._client.request(
            method, path, content=content, headers={"x-principal-id": who, **named}
        )

    async def grant(self, capability: str = "billing.get_invoice", **how: Any) -> dict[str, Any]:
        """A token, which must be granted."""
        body = {"capability_id": capability, "justification": "the auditors have asked for it"}
        reply = await self.ask("POST", "/grants", body, **how)
        assert reply.status_code == 201, reply.text
        token: dict[str, Any] = reply.json()["token"]
        return token

    async def invoke(self, token: Mapping[str, Any], *, who: str = "alice", **more: Any) -> httpx.Response:
        return await self.ask("POST", "/invocations", {"token": token, **more}, who=who)


MakeLab = Callable[..., Lab]


MakeLab = Callable[..., Lab]


@asynccontextmanager
async def started(app: Any) -> AsyncIterator[list[dict[str, Any]]]:
    """Run an ASGI application's lifespan, as a server would; yields what it has answered so far."""
    asked: asyncio.Queue[dict[str, Any]] = asyncio.Queue()
    answers: list[dict[str, Any]] = []
    answered = asyncio.Event()

    async def send(message: dict[str, Any]) -> None:
        answers.append(message)
        answered.set()

    asked.put_nowait({"type": "lifespan.startup"})
    life = asyncio.create_task(app({"type": "lifespan"}, asked.get, send))
    await answered.wait()
    yield answers
    asked.put_nowait({"type": "lifespan.shutdown"})
    await life


def problem(reply: httpx.Response) -> tuple[int, str]:
    """Status and reason code of a refusal, which must be a problem document."""
    assert reply.headers["content-type"] == "application/problem+json", reply.text
    document = reply.json()
    assert document["status"] == reply.status_code
    assert set(document) == {"type", "title", "status", "detail", "reason_code"}
    assert "\n" not in document["detail"]
    return reply.status_code, document["reason_code"]
