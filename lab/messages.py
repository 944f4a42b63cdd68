"""What goes over the wire: request bodies, decoded and validated in one step, and replies.

The same types give the OpenAPI document its schemas, so it cannot drift from what is read and written.
"""

from __future__ import annotations

import datetime as dt
from typing import Annotated, Any, Literal

import msgspec
from msgspec import UNSET, Meta, Struct, UnsetType
from weaver_kernel import CapabilityToken, DryRunResult, Frame, Handle

ResponseMode = Literal["summary", "table", "handle_only", "raw"]
Count = Annotated[int, Meta(ge=0, le=2**53)]
Name = Annotated[str, Meta(min_length=1)]
Moment = Annotated[dt.datetime, Meta(tz=True)]


class Request(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A body. A field nobody reads is refused: it is a misspelt one."""


class Constraints(Struct, frozen=True, kw_only=True):
    """What upstream reads of a grant's constraints; other keys are a policy's own business.

    Upstream signs constraints without looking at their types and fails on them at the invoke (``list(5)``),
    after the driver ran. So they are checked before the grant. It checks ``max_rows`` itself.
    """

    allowed_fields: list[str] | UnsetType = UNSET
    scope: dict[str, Any] | UnsetType | None = UNSET
    invoke_timeout_s: Annotated[float, Meta(gt=0)] | UnsetType | None = UNSET


class GrantRequest(Request, frozen=True, kw_only=True):
    """Asks for a token."""

    capability_id: str
    goal: str = ""
    justification: str = ""
    constraints: dict[str, Any] = {}
    intent: str | None = None
    scope: dict[str, Any] = {}

    def __post_init__(self) -> None:
        msgspec.convert(self.constraints, Constraints)


class PresentedToken(Struct, frozen=True, kw_only=True):
    """A `CapabilityToken` as its holder presents it: typed, so that only its signature can be wrong."""

    token_id: str
    capability_id: str
    principal_id: str
    issued_at: Moment
    expires_at: Moment
    constraints: dict[str, Any] = {}
    audit_id: str = ""
    # upstream compares signatures with hmac.compare_digest, which raises on text beyond ASCII
    signature: Annotated[str, Meta(pattern="^[ -~]*$")] = ""

    def token(self) -> CapabilityToken:
        """Upstream's own type."""
        return CapabilityToken(
            self.token_id,
            self.capability_id,
            self.principal_id,
            self.issued_at,
            self.expires_at,
            self.constraints,
            self.audit_id,
            self.signature,
        )


class InvokeRequest(Request, frozen=True, kw_only=True):
    """Presents a token and asks for its capability."""

    token: PresentedToken
    args: dict[str, Any] = {}
    response_mode: ResponseMode = "summary"
    dry_run: bool = False


class StreamRequest(Request, frozen=True, kw_only=True):
    """As `InvokeRequest`; upstream has no dry run of a stream."""

    token: PresentedToken
    args: dict[str, Any] = {}
    response_mode: ResponseMode = "summary"


class ExpandRequest(Request, frozen=True, kw_only=True):
    """Asks for rows behind a handle; what is left out is the grant's to decide."""

    offset: Count | UnsetType = UNSET
    limit: Count | UnsetType = UNSET
    fields: list[str] | UnsetType = UNSET
    filter: dict[str, Any] | UnsetType = UNSET


class TraceFilter(Request, frozen=True, kw_only=True):
    """The query of ``GET /traces``."""

    principal_id: str | None = None
    capability_id: str | None = None
    event_type: Literal["invoke", "expand", "deny"] | None = None
    limit: Count | None = None
    offset: Count = 0
    fields: Literal["ids", "all"] = "all"


class GrantReply(Struct, frozen=True, kw_only=True):
    """A token, to be presented whole."""

    token_id: str
    token: dict[str, Any]
    capability_id: str
    principal_id: str
    audit_id: str
    constraints: dict[str, Any]
    reason_code: str | None


class FrameReply(Struct, frozen=True, kw_only=True):
    """Upstream's `Frame`, with the handle's id and what the budget was charged beside it."""

    action_id: str | None
    capability_id: str
    response_mode: ResponseMode
    facts: list[str] = []
    table_preview: list[Any] = []
    handle_id: str | None = None
    handle: Handle | None = None
    warnings: list[str] = []
    tokens: int | None = None
    """Tokens the budget was charged; null without a budget."""
    raw_data: Any = UNSET
    """Only in raw mode."""
    rows: int | UnsetType = UNSET
    """How many rows an expansion holds."""
    is_final: bool | UnsetType = UNSET
    """Of a stream: is this the last frame?"""
    dry_run: bool | UnsetType = UNSET
    driver_id: str | UnsetType = UNSET
    operation: str | UnsetType = UNSET
    resolved_args: dict[str, Any] | UnsetType = UNSET
    estimated_cost: str | UnsetType = UNSET
    budget_remaining: int | UnsetType | None = UNSET

    @classmethod
    def of(cls, frame: Frame, **more: Any) -> FrameReply:
        """`frame`, with `more` of the fields upstream's has not."""
        if frame.response_mode == "raw":
            more["raw_data"] = frame.raw_data
        return cls(
            action_id=frame.action_id,
            capability_id=frame.capability_id,
            response_mode=frame.response_mode,
            facts=frame.facts,
            table_preview=frame.table_preview,
            handle_id=frame.handle.handle_id if frame.handle else None,
            handle=frame.handle,
            warnings=frame.warnings,
            **more,
        )

    @classmethod
    def planned(cls, dry: DryRunResult) -> FrameReply:
        """What a dry run says would happen: no action, no handle, no rows."""
        return cls(
            action_id=None,
            capability_id=dry.capability_id,
            response_mode=dry.response_mode,
            dry_run=True,
            driver_id=dry.driver_id,
            operation=dry.operation,
            resolved_args=dry.resolved_args,
            estimated_cost=dry.estimated_cost,
            budget_remaining=dry.budget_remaining,
        )


class TraceReply(Struct, frozen=True, kw_only=True):
    """The fields of upstream's exported trace (``weaver_kernel.export_action_trace``)."""

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


class TracesReply(Struct, frozen=True, kw_only=True):
    """Traces in upstream's order; ``traces`` is left out where only ids were asked for."""

    action_ids: list[str]
    traces: list[TraceReply] | UnsetType = UNSET


class AuditReply(Struct, frozen=True, kw_only=True):
    """Does the audit chain verify? ``valid`` is null where the store keeps none."""

    valid: bool | None
    records: int
    detail: str


class TokenRevoked(Struct, frozen=True, kw_only=True):
    """The token is refused from now on."""

    token_id: str
    revoked: Literal[True] = True


class PrincipalRevoked(Struct, frozen=True, kw_only=True):
    """How many of the principal's tokens were newly revoked."""

    principal_id: str
    revoked: int


class BudgetReply(Struct, frozen=True, kw_only=True):
    """Tokens; all null without a budget."""

    total: int | None = None
    used: int | None = None
    remaining: int | None = None


class StatsReply(Struct, frozen=True, kw_only=True):
    """The fields of upstream's `StatsSnapshot`."""

    grants: int
    denials: int
    invocations: int
    invocation_failures: int
    fallback_activations: int
    redaction_events: int
    budget_downgrades: int
    handle_stores: int
    expansions: int
    denials_by_reason: dict[str, int]


class CapabilityReply(Struct, frozen=True, kw_only=True):
    """One capability, as upstream describes it to others."""

    capability_id: str
    name: str
    description: str
    safety_class: str
    sensitivity: str
    tags: list[str]


class CapabilitiesReply(Struct, frozen=True, kw_only=True):
    """Every capability this worker knows."""

    capabilities: list[CapabilityReply]


class ImportReply(Struct, frozen=True, kw_only=True):
    """The capabilities that were imported."""

    capability_ids: list[str]


class RateLimit(Struct, frozen=True, kw_only=True):
    """At most `limit` grants in any `window_s` seconds, per principal and capability."""

    limit: int
    window_s: float


class WorkerReply(Struct, frozen=True, kw_only=True):
    """Who answers, and what its deployment promises: what a run must know of a service it did not start."""

    worker: str
    replica: str
    pid: int
    boot: str
    kernel_version: str
    state: str
    rate_limits: dict[str, RateLimit]
    """What the deployment is asked to keep; a worker applies it divided by `split_limit`."""
    split_limit: int
    token_ttl_s: int
    token_ttls: dict[str, int]
    handle_ttl_s: int
    handle_cap: int
    trace_cap: int
    budget_total: int | None
    chained_audit: bool | None
    """Null in a worker that forwards to a sidecar and was not told."""


class HealthReply(Struct, frozen=True, kw_only=True):
    """The process answers; no store was asked."""

    status: Literal["ok"] = "ok"
