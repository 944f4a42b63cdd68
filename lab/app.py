"""The lab's HTTP face: a request in, one kernel call, a reply out.

Handlers are async and await nothing between their store steps but the kernel's own call: upstream's limiter
has no lock and its budget belongs to one event loop, so they must not run in threads. A principal is who its
headers say: the lab authenticates nobody. A handle is never taken from a client, only its id: upstream's
`expand` believes whatever `Handle` it is given.

``lab.app:app`` is what a server runs. It opens the kernel when the server starts the worker; importing this
module opens nothing.
"""

from __future__ import annotations

from contextlib import asynccontextmanager
from dataclasses import dataclass, fields
from typing import TYPE_CHECKING, Any

import msgspec
import weaver_kernel
from fastapi import FastAPI, Request
from starlette.exceptions import HTTPException
from starlette.responses import Response, StreamingResponse
from weaver_kernel import (
    AgentKernelError,
    CapabilityManifest,
    CapabilityRequest,
    Frame,
    Kernel,
    TraceQuery,
    export_action_trace,
)

from lab.capabilities import ImportedDriver
from lab.endpoints import ENDPOINTS
from lab.kernel import KernelView, load_kernel
from lab.messages import (
    AuditReply,
    BudgetReply,
    CapabilitiesReply,
    CapabilityReply,
    ExpandRequest,
    FrameReply,
    GrantReply,
    GrantRequest,
    HealthReply,
    ImportReply,
    InvokeRequest,
    PrincipalRevoked,
    StatsReply,
    StreamRequest,
    TokenRevoked,
    TraceFilter,
    TraceReply,
    TracesReply,
    WorkerReply,
)
from lab.openapi import document
from lab.problems import REASONS, CapabilityExists, TraceNotFound, problem_of, problem_response
from lab.requests import body, principal, query
from lab.worker import Worker, WorkerName, describe

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, AsyncIterator
    from contextlib import AbstractAsyncContextManager

    from starlette.types import ASGIApp

    from lab.settings import Settings

_encode = msgspec.json.Encoder(enc_hook=str).encode  # a driver may answer with anything
_grant = msgspec.json.Decoder(GrantRequest)
_invoke = msgspec.json.Decoder(InvokeRequest)
_stream = msgspec.json.Decoder(StreamRequest)
_expand = msgspec.json.Decoder(ExpandRequest)
_manifest = msgspec.json.Decoder(CapabilityManifest)


def _reply(value: msgspec.Struct, status: int = 200) -> Response:
    return Response(_encode(value), status_code=status, media_type="application/json")


@dataclass(frozen=True, slots=True)
class Api:
    """The handlers, over one kernel. Which route each answers is in `lab.endpoints`."""

    kernel: Kernel
    view: KernelView
    worker: WorkerReply

    async def grant(self, request: Request) -> Response:
        """``POST /grants``."""
        asked = await body(request, _grant)
        granted = self.kernel.grant_capability(
            CapabilityRequest(asked.capability_id, asked.goal, asked.constraints, asked.intent, asked.scope),
            principal(request),
            justification=asked.justification,
        )
        token = granted.token
        return _reply(
            GrantReply(
                token_id=token.token_id,
                token=token.to_dict(),
                capability_id=token.capability_id,
                principal_id=token.principal_id,
                audit_id=granted.audit_id,
                constraints=token.constraints,
                reason_code=granted.decision.reason_code,
            ),
            201,
        )

    async def invoke(self, request: Request) -> Response:
        """``POST /invocations``."""
        asked = await body(request, _invoke)
        token = asked.token.token()
        who = principal(request)
        if asked.dry_run:
            dry = await self.kernel.invoke(
                token, principal=who, args=asked.args, response_mode=asked.response_mode, dry_run=True
            )
            return _reply(FrameReply.planned(dry))
        frame = await self.kernel.invoke(
            token, principal=who, args=asked.args, response_mode=asked.response_mode
        )
        return _reply(FrameReply.of(frame, tokens=self._charged(frame)))

    async def invoke_stream(self, request: Request) -> Response:
        """``POST /invocations/stream``: the first frame is awaited, so a refusal still has its status."""
        asked = await body(request, _stream)
        frames = self.kernel.invoke_stream(
            asked.token.token(),
            principal=principal(request),
            args=asked.args,
            response_mode=asked.response_mode,
        )
        first = await anext(frames)
        # upstream annotates an iterator; it is a generator, and closing it is what records a cut-off stream
        return StreamingResponse(_lines(first, frames), media_type="application/x-ndjson")  # type: ignore[arg-type]

    async def expand(self, request: Request) -> Response:
        """``POST /handles/{handle_id}/expansions``."""
        asked = await body(request, _expand, empty=ExpandRequest())
        handle = self.view.handles.get_meta(request.path_params["handle_id"])
        frame = self.kernel.expand(handle, query=msgspec.to_builtins(asked), principal=principal(request))
        return _reply(FrameReply.of(frame, rows=len(frame.table_preview)))

    async def explain(self, request: Request) -> Response:
        """``GET /traces/{action_id}``."""
        try:
            trace = self.kernel.explain(request.path_params["action_id"])
        except AgentKernelError as error:  # upstream's base error: nothing narrower is raised
            raise TraceNotFound(str(error)) from None
        return _reply(TraceReply(**export_action_trace(trace)))

    async def list_traces(self, request: Request) -> Response:
        """``GET /traces``."""
        asked = query(request, TraceFilter)
        traces = self.kernel.query_traces(
            TraceQuery(
                principal_id=asked.principal_id,
                capability_id=asked.capability_id,
                event_type=asked.event_type,
                limit=asked.limit,
                offset=asked.offset,
            )
        )
        ids = [trace.action_id for trace in traces]
        if asked.fields == "ids":
            return _reply(TracesReply(action_ids=ids))
        return _reply(
            TracesReply(action_ids=ids, traces=[TraceReply(**export_action_trace(trace)) for trace in traces])
        )

    async def audit(self, _request: Request) -> Response:
        """``GET /audit``."""
        verify = getattr(self.view.traces, "verify_chain", None)
        if verify is None:
            kept = len(self.kernel.list_traces())
            return _reply(AuditReply(valid=None, records=kept, detail="this store keeps no chain"))
        result = verify()
        return _reply(AuditReply(valid=result.ok, records=result.records_checked, detail=result.detail))

    async def revoke(self, request: Request) -> Response:
        """``POST /tokens/{token_id}/revocation``."""
        token_id = request.path_params["token_id"]
        self.view.tokens.revoke(token_id)
        return _reply(TokenRevoked(token_id=token_id))

    async def revoke_all(self, request: Request) -> Response:
        """``POST /principals/{principal_id}/revocation``."""
        principal_id = request.path_params["principal_id"]
        return _reply(
            PrincipalRevoked(principal_id=principal_id, revoked=self.view.tokens.revoke_all(principal_id))
        )

    async def budget(self, _request: Request) -> Response:
        """``GET /budget``."""
        budget = self.kernel.budget
        if budget is None:
            return _reply(BudgetReply())
        return _reply(BudgetReply(total=budget.total_budget, used=budget.used, remaining=budget.remaining))

    async def stats(self, _request: Request) -> Response:
        """``GET /stats``."""
        counted = self.kernel.stats
        return _reply(
            StatsReply(
                **{
                    **{field.name: getattr(counted, field.name) for field in fields(counted)},
                    "denials_by_reason": dict(counted.denials_by_reason),
                }
            )
        )

    async def list_capabilities(self, _request: Request) -> Response:
        """``GET /capabilities``."""
        return _reply(
            CapabilitiesReply(
                capabilities=[
                    CapabilityReply(
                        capability_id=capability.capability_id,
                        name=capability.name,
                        description=capability.description,
                        safety_class=capability.safety_class.value,
                        sensitivity=capability.sensitivity.value,
                        tags=capability.tags,
                    )
                    for capability in self.kernel.list_capabilities()
                ]
            )
        )

    async def import_capabilities(self, request: Request) -> Response:
        """``POST /capabilities``."""
        manifest = await body(request, _manifest)
        known = {capability.capability_id for capability in self.kernel.list_capabilities()}
        for descriptor in manifest.capabilities:
            if descriptor.capability_id in known:
                raise CapabilityExists(f"{descriptor.capability_id!r} is known to this worker already")
        imported = self.kernel.import_remote(manifest, driver=ImportedDriver())
        return _reply(ImportReply(capability_ids=[capability.capability_id for capability in imported]), 201)

    async def describe(self, _request: Request) -> Response:
        """``GET /worker``."""
        return _reply(self.worker)

    async def health(self, _request: Request) -> Response:
        """``GET /healthz``: touches no store."""
        return _reply(HealthReply())

    def _charged(self, frame: Frame) -> int | None:
        """What the budget was charged for `frame`: upstream counts what its mode shows, once more here."""
        if self.kernel.budget is None:
            return None
        shown = {
            "raw": frame.raw_data,
            "table": frame.table_preview,
            "handle_only": None,
            "summary": frame.facts,
        }
        return self.kernel.budget.count_tokens(shown[frame.response_mode])


async def _lines(first: Frame, frames: AsyncGenerator[Frame]) -> AsyncIterator[bytes]:
    """The frames as lines. What fails from here on has no status left: it is the last line."""
    try:
        yield _line(first)
        async for frame in frames:
            yield _line(frame)
    except Exception as error:  # noqa: BLE001 - whatever it is, the client is told
        yield _encode({"error": problem_of(error)}) + b"\n"
    finally:
        await frames.aclose()


def _line(frame: Frame) -> bytes:
    return _encode(FrameReply.of(frame, is_final=frame.is_final)) + b"\n"


async def _problem(_request: Request, error: Exception) -> Response:
    return problem_response(problem_of(error), getattr(error, "headers", None))


def build_api(kernel: Kernel, worker: WorkerReply) -> FastAPI:
    """The FastAPI application over `kernel`, in the worker that `worker` describes."""
    api = Api(kernel, KernelView.of(kernel), worker)
    handled: dict[int | type[Exception], Any] = dict.fromkeys((HTTPException, Exception, *REASONS), _problem)
    # no documentation pages: they would load scripts from elsewhere
    app = FastAPI(title="kernel-lab", docs_url=None, redoc_url=None, exception_handlers=handled)
    for point in ENDPOINTS:
        app.add_route(point.path, getattr(api, point.handler), methods=[point.method])
    described = document("kernel-lab", weaver_kernel.__version__, ENDPOINTS)
    app.openapi = lambda: described  # type: ignore[method-assign] # FastAPI's own way to replace it
    return app


@asynccontextmanager
async def open_api(settings: Settings, name: WorkerName) -> AsyncIterator[ASGIApp]:
    """What a worker with a kernel of its own answers with.

    Raises:
        BadSettings: ``LAB_KERNEL`` names no factory.
        BadStateURL: The state cannot be opened as asked.
    """
    kernel = load_kernel(settings)
    chained = hasattr(KernelView.of(kernel).traces, "verify_chain")
    yield build_api(kernel, describe(settings, name, chained_audit=chained))


def open_worker(settings: Settings, name: WorkerName) -> AbstractAsyncContextManager[ASGIApp]:
    """What this worker answers with: a kernel of its own, or (``LAB_SIDECAR=1``) its sidecar's."""
    if settings.sidecar:
        from lab.sidecar import open_forwarder  # noqa: PLC0415 - a worker with a kernel needs no client

        return open_forwarder(settings, name)
    return open_api(settings, name)


app = Worker(open_worker)
