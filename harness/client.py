"""RecordingClient: one HTTP call, one operation in the history."""

from __future__ import annotations

import asyncio
import itertools
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass, field
from typing import Any, Protocol

import httpx
import orjson

from harness.history import HistoryWriter, Outcome

WORKER_HEADER = "x-lab-worker"


@dataclass(frozen=True, slots=True, kw_only=True)
class Principal:
    """Who calls, as an authenticating proxy would say it in headers."""

    name: str
    roles: tuple[str, ...] = ("reader", "writer")
    tenant: str | None = "acme"

    def headers(self) -> dict[str, str]:
        """``X-Principal-Id`` and ``-Roles``, and ``-Tenant`` where there is one."""
        headers = {"X-Principal-Id": self.name, "X-Principal-Roles": ",".join(self.roles)}
        if self.tenant is not None:
            headers["X-Principal-Tenant"] = self.tenant
        return headers


@dataclass(frozen=True, slots=True, kw_only=True)
class Reply:
    """What came back from one call; `body` is the parsed JSON, or None where there was none."""

    outcome: Outcome
    worker: str | None
    error: str | None
    body: Any = None

    @property
    def ok(self) -> bool:
        """The call did what was asked."""
        return self.outcome is Outcome.OK


@dataclass(slots=True)
class Connection:
    """One HTTP/1.1 connection at a time; a reconnect gets a name of its own."""

    http: httpx.AsyncClient
    names: Iterator[str]
    kept: bool = True
    worker: str | None = None
    _address: object = None
    _name: str = ""

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
    """Chooses the connection of the next call: one of the policies of ``harness.traffic``."""

    def borrow(self, principal: str, lane: int | None) -> AbstractAsyncContextManager[Connection]:
        """A connection for one call of `principal`; `lane` asks for a worker where the policy can choose."""
        ...


@dataclass(slots=True)
class Recorder:
    """Where the calls of one cell go: its history, its names."""

    writer: HistoryWriter
    _clients: Iterator[int] = field(default_factory=itertools.count)

    def client_name(self) -> str:
        """A fresh client name: an ``info`` retires the old one."""
        return f"c{next(self._clients)}"


class RecordingClient:
    """A principal who calls, one call at a time, over the connections of one policy.

    Every call is written to the history when it ends, a cancelled one too, as ``info``: whatever the server
    may have done is not lost from the record.
    """

    def __init__(self, recorder: Recorder, connector: Connector, principal: Principal) -> None:
        self.principal = principal
        self._recorder = recorder
        self._connector = connector
        self._headers = principal.headers()
        self._name = recorder.client_name()

    async def grant(
        self, capability: str, *, lane: int | None = None, justification: str = "nightly reconciliation run"
    ) -> Reply:
        """Ask for a token."""
        return await self._call(
            "grant",
            "POST",
            "/grants",
            {"principal": self.principal.name, "capability": capability},
            lambda body: {"token_id": body["token"]["token_id"], "expires_at": body["token"]["expires_at"]},
            lane=lane,
            body={"capability_id": capability, "goal": "lab traffic", "justification": justification},
        )

    async def invoke(
        self,
        token: dict[str, Any],
        *,
        lane: int | None = None,
        args: dict[str, Any] | None = None,
        mode: str = "summary",
        tampered: bool = False,
    ) -> Reply:
        """Present a token; `tampered` says that the caller has altered it."""
        return await self._call(
            "invoke",
            "POST",
            "/invocations",
            {
                "token_id": token["token_id"],
                "principal": self.principal.name,
                "capability": token["capability_id"],
                "tampered": tampered,
            },
            lambda body: {
                key: body.get(key) for key in ("action_id", "handle_id", "tokens", "response_mode")
            },
            lane=lane,
            body={"token": token, "args": args or {}, "response_mode": mode},
        )

    async def expand(self, handle_id: str, *, lane: int | None = None, rows: int = 5) -> Reply:
        """Ask for rows behind a handle."""
        return await self._call(
            "expand",
            "POST",
            f"/handles/{handle_id}/expansions",
            {"handle_id": handle_id, "principal": self.principal.name},
            lambda body: {"rows": body["rows"]},
            lane=lane,
            body={"limit": rows},
        )

    async def revoke(self, token_id: str, *, lane: int | None = None) -> Reply:
        """Revoke one token."""
        return await self._call(
            "revoke",
            "POST",
            f"/tokens/{token_id}/revocation",
            {"token_id": token_id, "by": self.principal.name},
            lambda body: {"revoked": body["revoked"]},
            lane=lane,
        )

    async def revoke_all(self, principal: str, *, lane: int | None = None) -> Reply:
        """Revoke every token of a principal."""
        return await self._call(
            "revoke_all",
            "POST",
            f"/principals/{principal}/revocation",
            {"principal": principal, "by": self.principal.name},
            lambda body: {"revoked": body["revoked"]},
            lane=lane,
        )

    async def explain(self, action_id: str, *, lane: int | None = None) -> Reply:
        """Ask for the trace of one action."""
        return await self._call(
            "explain", "GET", f"/traces/{action_id}", {"action_id": action_id}, lambda _: {}, lane=lane
        )

    async def list_traces(self, principal: str, *, lane: int | None = None) -> Reply:
        """List the traces of one principal."""
        return await self._call(
            "list_traces",
            "GET",
            f"/traces?principal_id={principal}&fields=ids",
            {"principal": principal},
            lambda body: {"action_ids": body["action_ids"]},
            lane=lane,
        )

    async def audit(self, *, lane: int | None = None) -> Reply:
        """Ask the audit chain to verify itself."""
        return await self._call(
            "audit",
            "GET",
            "/audit",
            {},
            lambda body: {"valid": body["valid"], "records": body["records"]},
            lane=lane,
        )

    async def budget(self, *, lane: int | None = None) -> Reply:
        """Read the budget."""
        return await self._call(
            "budget",
            "GET",
            "/budget",
            {},
            lambda body: {"total": body["total"], "used": body["used"]},
            lane=lane,
        )

    async def stats(self, *, lane: int | None = None) -> Reply:
        """Read a worker's counters."""
        return await self._call("stats", "GET", "/stats", {}, dict, lane=lane)

    async def import_capability(
        self, capability: str, manifest: dict[str, Any], *, lane: int | None = None
    ) -> Reply:
        """Import a remote capability through one worker."""
        return await self._call(
            "import_capability",
            "POST",
            "/capabilities",
            {"capability": capability},
            lambda body: {"capability_ids": body["capability_ids"]},
            lane=lane,
            body=manifest,
        )

    async def _call(
        self,
        f: str,
        method: str,
        path: str,
        asked: dict[str, Any],
        read: Callable[[Any], dict[str, Any]],
        *,
        lane: int | None,
        body: dict[str, Any] | None = None,
    ) -> Reply:
        headers = dict(self._headers)
        content = None
        if body is not None:
            content = orjson.dumps(body)
            headers["Content-Type"] = "application/json"
        async with self._connector.borrow(self.principal.name, lane) as connection:
            if not connection.kept:
                headers["Connection"] = "close"
            index = self._recorder.writer.next_index()
            line: dict[str, Any] = {
                "index": index, "client": self._name, "f": f, "input": asked, "output": None,
                "outcome": Outcome.INFO, "call_ns": time.monotonic_ns(), "return_ns": None,
                "worker": None, "connection": None, "error": None,
            }  # fmt: skip
            reply = Reply(outcome=Outcome.INFO, worker=None, error="cancelled")
            try:
                response = await connection.http.request(method, path, content=content, headers=headers)
                returned_ns = time.monotonic_ns()
                reply = _read(response, read, line)
                if reply.outcome is not Outcome.INFO:
                    line["return_ns"] = returned_ns
                line["connection"] = connection.name(response)
                connection.worker = reply.worker
            except (httpx.HTTPError, OSError) as error:
                # indefinite by nature: the request may have been carried out before the connection failed
                reply = Reply(outcome=Outcome.INFO, worker=None, error=type(error).__name__)
            finally:
                line["outcome"], line["worker"], line["error"] = reply.outcome, reply.worker, reply.error
                self._recorder.writer.write(line)
                if reply.outcome is Outcome.INFO:
                    self._name = self._recorder.client_name()
            return reply


def _read(response: httpx.Response, read: Callable[[Any], dict[str, Any]], line: dict[str, Any]) -> Reply:
    """The one table from a response to an outcome: 2xx ok, 4xx fail with its reason code, the rest info."""
    worker = response.headers.get(WORKER_HEADER)
    try:
        body = orjson.loads(response.content) if response.content else None
    except orjson.JSONDecodeError:
        body = None
    reason = body.get("reason_code") if isinstance(body, dict) else None
    if response.is_success:
        try:
            line["output"] = read(body)
        except (KeyError, TypeError, AttributeError):
            return Reply(outcome=Outcome.INFO, worker=worker, error="unreadable_reply", body=body)
        return Reply(outcome=Outcome.OK, worker=worker, error=None, body=body)
    error = str(reason or f"http_{response.status_code}")
    # a 4xx without a reason code did not come from the kernel: what happened behind it is unknown
    if response.is_client_error and reason is not None:
        return Reply(outcome=Outcome.FAIL, worker=worker, error=error, body=body)
    return Reply(outcome=Outcome.INFO, worker=worker, error=error, body=body)


def open_http(base_url: str, *, kept: bool, timeout_s: float) -> httpx.AsyncClient:
    """An httpx client that keeps one connection for ever, or none at all."""
    limits = (
        httpx.Limits(max_connections=1, max_keepalive_connections=1, keepalive_expiry=None)
        if kept
        else httpx.Limits(max_connections=None, max_keepalive_connections=0)
    )
    # trust_env off: an HTTP_PROXY of the caller must not stand between us and loopback.
    # verify off: it is plain HTTP, and a TLS context per client costs 20 ms.
    return httpx.AsyncClient(
        base_url=base_url,
        limits=limits,
        timeout=timeout_s,
        trust_env=False,
        verify=False,  # noqa: S501
    )


async def close_all(clients: list[httpx.AsyncClient]) -> None:
    """Close many clients; one that fails to close does not keep the rest open."""
    await asyncio.gather(*(client.aclose() for client in clients), return_exceptions=True)
