"""``GET /traces``, ``/traces/{action_id}`` and ``/audit``: the records of actions."""

from __future__ import annotations

from typing import Annotated, Any, Literal, NotRequired, cast

from fastapi import Path, Query
from typing_extensions import TypedDict
from weaver_kernel import ActionTrace, AgentKernelError, export_action_trace

from lab.older import UNTRACED, TraceQuery, queried
from lab.problems import TraceNotFound, refusals
from lab.routes.parts import Asked, Count, KernelInUse, ServedHere
from lab.routes.route import KernelRoute

router = KernelRoute.router()


class TraceFilter(Asked):
    """The query of a listing: the traces that it asks for, and the parts of each trace."""

    principal_id: str | None = None
    capability_id: str | None = None
    event_type: Literal["invoke", "expand", "deny"] | None = None
    limit: Count | None = None
    offset: Count = 0
    fields: Literal["ids", "all"] = "all"


class TraceReply(TypedDict):
    """One trace, in the fields that upstream exports (``weaver_kernel.export_action_trace``)."""

    action_id: str
    capability_id: str
    principal_id: str
    token_id: str
    invoked_at: str
    response_mode: str
    driver_id: str
    handle_id: str | None
    sensitivity: str
    status: str
    event_type: str
    reason_code: str | None
    error: str | None
    args: dict[str, Any]
    result_summary: dict[str, Any] | None
    correction: dict[str, Any] | None


class TracesReply(TypedDict):
    """Traces in upstream's order. ``traces`` is left out where only ids were asked for."""

    action_ids: list[str]
    traces: NotRequired[list[TraceReply]]


class AuditReply(TypedDict):
    """The result of verifying the audit chain. ``valid`` is null if the store keeps no chain."""

    valid: bool | None
    records: int
    detail: str


@router.get("/traces/{action_id}", summary="The trace of one action", responses=refusals(404, 422, 503))
async def explain(action_id: Annotated[str, Path(min_length=1)], kernel: KernelInUse) -> TraceReply:
    """Return the record of the action."""
    try:
        trace = kernel.explain(action_id)
    except AgentKernelError as error:  # this is upstream's base error; upstream raises no narrower one here
        raise TraceNotFound(str(error)) from None
    return _trace_reply(trace)


@router.get("/traces", summary="List traces", responses=refusals(422, 503))
async def list_traces(asked: Annotated[TraceFilter, Query()], kernel: KernelInUse) -> TracesReply:
    """Return the traces that the filter names, whole or as ids."""
    traces = queried(
        kernel,
        TraceQuery(
            principal_id=asked.principal_id,
            capability_id=asked.capability_id,
            event_type=asked.event_type,
            limit=asked.limit,
            offset=asked.offset,
        ),
    )
    ids = [trace.action_id for trace in traces]
    if asked.fields == "ids":
        return TracesReply(action_ids=ids)
    return TracesReply(action_ids=ids, traces=[_trace_reply(trace) for trace in traces])


@router.get("/audit", summary="Does the audit chain verify?", responses=refusals(503))
async def audit(served: ServedHere) -> AuditReply:
    """Let the trace store verify its own chain. The in-memory store keeps none."""
    verify = getattr(served.view.traces, "verify_chain", None)
    if verify is None:
        kept = len(served.kernel.list_traces())
        return AuditReply(valid=None, records=kept, detail="this store keeps no chain")
    result = verify()
    return AuditReply(valid=result.ok, records=result.records_checked, detail=result.detail)


def _trace_reply(trace: ActionTrace) -> TraceReply:
    return cast("TraceReply", {**UNTRACED, **export_action_trace(trace)})
