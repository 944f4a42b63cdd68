"""The parts that several handlers share: the caller, the kernel that is asked, and the types of a frame."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Any, Literal

from fastapi import Depends, Header, Request
from pydantic import BaseModel, ConfigDict, Field
from typing_extensions import TypedDict
from weaver_kernel import Frame, Handle, Kernel, Principal

from lab.in_force import WorkerReply
from lab.kernel import KernelView
from lab.problems import Malformed

ResponseMode = Literal["summary", "table", "handle_only", "raw"]
Count = Annotated[int, Field(ge=0, le=2**53)]


class Asked(BaseModel):
    """The base of every request body. It refuses an unknown field, because such a field is probably misspelt."""

    model_config = ConfigDict(frozen=True, strict=True, extra="forbid")


@dataclass(frozen=True, slots=True)
class Served:
    """The values that the handlers of one worker share."""

    kernel: Kernel
    view: KernelView
    worker: WorkerReply


def _served(request: Request) -> Served:
    served: Served = request.app.state.served
    return served


def _kernel(request: Request) -> Kernel:
    return _served(request).kernel


def _caller(
    x_principal_id: Annotated[
        str, Header(description="who asks, as an authenticating proxy would say", min_length=1)
    ],
    x_principal_roles: Annotated[str, Header(description="roles, separated by commas")] = "",
    x_principal_tenant: Annotated[str, Header(description="the tenant, where there is one")] = "",
) -> Principal:
    """Return the caller, as the headers of an authenticating proxy describe it.

    Raises:
        Malformed: ``X-Principal-Id`` is empty.
    """
    if not x_principal_id:
        raise Malformed("x-principal-id: the header is empty; it must name the principal who asks")
    return Principal(
        x_principal_id,
        [role.strip() for role in x_principal_roles.split(",") if role.strip()],
        {"tenant": x_principal_tenant} if x_principal_tenant else {},
    )


Caller = Annotated[Principal, Depends(_caller)]
"""The principal that makes the request."""
KernelInUse = Annotated[Kernel, Depends(_kernel)]
"""The kernel that this worker serves."""
ServedHere = Annotated[Served, Depends(_served)]
"""The kernel, its private parts and the worker's description."""


class FrameReply(TypedDict):
    """Upstream's `Frame`, with the id of its handle and the number of tokens that the budget was charged."""

    action_id: str | None
    capability_id: str
    response_mode: ResponseMode
    facts: list[str]
    table_preview: list[Any]
    handle_id: str | None
    handle: Handle | None
    warnings: list[str]
    tokens: int | None
    """The number of tokens that the budget was charged; null without a budget."""


class RawFrameReply(FrameReply):
    """A frame in raw mode."""

    raw_data: Any


def frame_reply(frame: Frame, *, tokens: int | None = None) -> FrameReply:
    """Return `frame` as a reply; in raw mode with its raw data."""
    reply = FrameReply(
        action_id=frame.action_id,
        capability_id=frame.capability_id,
        response_mode=frame.response_mode,
        facts=frame.facts,
        table_preview=frame.table_preview,
        handle_id=frame.handle.handle_id if frame.handle else None,
        handle=frame.handle,
        warnings=frame.warnings,
        tokens=tokens,
    )
    if frame.response_mode == "raw":
        return RawFrameReply(**reply, raw_data=frame.raw_data)
    return reply
