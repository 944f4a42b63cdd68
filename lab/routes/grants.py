"""``POST /grants``: a principal asks for a token."""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import Body
from pydantic import ConfigDict, Field
from typing_extensions import TypedDict
from weaver_kernel import CapabilityRequest

from lab.problems import refusals
from lab.routes.parts import Asked, Caller, KernelInUse
from lab.routes.route import KernelRoute

router = KernelRoute.router()


class Constraints(TypedDict, total=False):
    """The constraints of a grant that upstream reads. Other keys are for the policy alone.

    Upstream signs constraints without looking at their types, and fails on them at the invoke (``list(5)``),
    after the driver ran. So the lab checks them before the grant. Upstream checks ``max_rows`` itself.
    """

    __pydantic_config__ = ConfigDict(strict=True, extra="allow")  # type: ignore[misc] # pydantic's own way

    allowed_fields: list[str]
    scope: dict[str, Any] | None
    invoke_timeout_s: Annotated[float, Field(gt=0)] | None


class GrantRequest(Asked):
    """The body of a request for a token."""

    capability_id: str
    goal: str = ""
    justification: str = ""
    constraints: Constraints = Field(default_factory=Constraints)
    intent: str | None = None
    scope: dict[str, Any] = Field(default_factory=dict)


class GrantReply(TypedDict):
    """A token. The client presents all of it with each invoke."""

    token_id: str
    token: dict[str, Any]
    capability_id: str
    principal_id: str
    audit_id: str
    constraints: dict[str, Any]
    reason_code: str | None


@router.post(
    "/grants",
    status_code=201,
    summary="Ask for a token",
    responses=refusals(403, 404, 413, 422, 429, 503),
)
async def grant(asked: Annotated[GrantRequest, Body()], caller: Caller, kernel: KernelInUse) -> GrantReply:
    """Grant the caller a token for the capability, if upstream's policy allows it."""
    granted = kernel.grant_capability(
        CapabilityRequest(
            asked.capability_id, asked.goal, dict(asked.constraints), asked.intent, asked.scope
        ),
        caller,
        justification=asked.justification,
    )
    token = granted.token
    return GrantReply(
        token_id=token.token_id,
        token=token.to_dict(),
        capability_id=token.capability_id,
        principal_id=token.principal_id,
        audit_id=granted.audit_id,
        constraints=token.constraints,
        reason_code=granted.decision.reason_code,
    )
