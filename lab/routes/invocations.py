"""``POST /invocations`` and ``/invocations/stream``: a client presents a token, and the kernel runs its capability."""

from __future__ import annotations

import datetime as dt
from collections.abc import AsyncGenerator, AsyncIterator
from typing import Annotated, Any, Literal

import msgspec
from fastapi import Body
from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, TypeAdapter
from starlette.responses import StreamingResponse
from typing_extensions import TypedDict
from weaver_kernel import CapabilityToken, DryRunResult, Frame, Kernel

from lab.bridge import bridged_await
from lab.problems import Problem, problem_of, refusals
from lab.routes.parts import (
    Asked,
    Caller,
    FrameReply,
    KernelInUse,
    RawFrameReply,
    ResponseMode,
    frame_reply,
)
from lab.routes.route import KernelRoute, encode

router = KernelRoute.router()

NDJSON = "application/x-ndjson"

_Instant = Annotated[dt.datetime, msgspec.Meta(tz=True)]


def _instant(value: object) -> dt.datetime:
    """Check that a text is an RFC 3339 time with its offset. Pydantic itself would also accept numbers and dates."""
    try:
        return msgspec.convert(value, _Instant)
    except msgspec.ValidationError as error:
        raise ValueError(str(error)) from None


Instant = Annotated[dt.datetime, BeforeValidator(_instant)]


class PresentedToken(BaseModel):
    """A `CapabilityToken` as its holder presents it. Its fields have types, so only its signature can be wrong."""

    model_config = ConfigDict(frozen=True, strict=True)

    token_id: str
    capability_id: str
    principal_id: str
    issued_at: Instant
    expires_at: Instant
    constraints: dict[str, Any] = Field(default_factory=dict)
    audit_id: str = ""
    # upstream compares signatures with hmac.compare_digest, which raises on text beyond ASCII
    signature: Annotated[str, Field(pattern="^[ -~]*$")] = ""

    def token(self) -> CapabilityToken:
        """Return the token in upstream's own type."""
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


class StreamRequest(Asked):
    """The body of a request to stream a capability. It presents a token. Upstream has no dry run of a stream."""

    token: PresentedToken
    args: dict[str, Any] = Field(default_factory=dict)
    response_mode: ResponseMode = "summary"


class InvokeRequest(StreamRequest):
    """The body of a request to run a capability, or in a dry run to ask what would happen. It presents a token."""

    dry_run: bool = False


class DryRunReply(FrameReply):
    """The reply to a dry run: it has no action, no handle and no rows."""

    dry_run: Literal[True]
    driver_id: str
    operation: str
    resolved_args: dict[str, Any]
    estimated_cost: str
    budget_remaining: int | None


class StreamLine(FrameReply):
    """One line of a stream."""

    is_final: bool
    """Whether this is the last frame."""


class StreamError(TypedDict):
    """The last line of a stream that failed after its first frame."""

    error: Problem


@router.post(
    "/invocations",
    summary="Present a token and have its capability carried out",
    responses=refusals(401, 403, 404, 413, 422, 429, 502, 503),
)
async def invoke(
    asked: Annotated[InvokeRequest, Body()], caller: Caller, kernel: KernelInUse
) -> FrameReply | RawFrameReply | DryRunReply:
    """Verify the token and run its capability, as upstream does."""
    token = asked.token.token()
    if asked.dry_run:
        return _dry_run_reply(
            await kernel.invoke(
                token, principal=caller, args=asked.args, response_mode=asked.response_mode, dry_run=True
            )
        )
    frame = await kernel.invoke(token, principal=caller, args=asked.args, response_mode=asked.response_mode)
    return frame_reply(frame, tokens=_charged(kernel, frame))


def _line_schema() -> dict[str, Any]:
    """Return the schema of a line of a stream, for the OpenAPI document."""
    lines: TypeAdapter[StreamLine | StreamError] = TypeAdapter(StreamLine | StreamError)
    schema = lines.json_schema(mode="serialization", ref_template="#/components/schemas/{model}")
    named = schema.pop("$defs")
    return {"anyOf": [named["StreamLine"], named["StreamError"]]}


@router.post(
    "/invocations/stream",
    summary="Present a token and have its capability carried out, one frame a line",
    response_model=None,
    response_class=StreamingResponse,
    responses={
        200: {"content": {NDJSON: {"schema": {"type": "string"}, "itemSchema": _line_schema()}}},
        **refusals(401, 403, 404, 413, 422, 502, 503),
    },
)
async def invoke_stream(
    asked: Annotated[StreamRequest, Body()], caller: Caller, kernel: KernelInUse
) -> StreamingResponse:
    """Stream a capability. The first frame is awaited before the reply begins, so a refusal still has its status."""
    frames = kernel.invoke_stream(
        asked.token.token(), principal=caller, args=asked.args, response_mode=asked.response_mode
    )
    first = await anext(frames)
    # upstream annotates an iterator, but it returns a generator; closing the generator records a stream that was cut
    # off
    return StreamingResponse(_lines(first, frames), media_type=NDJSON)  # type: ignore[arg-type]


async def _lines(first: Frame, frames: AsyncGenerator[Frame]) -> AsyncIterator[bytes]:
    """Yield the frames as lines. The status has been sent by now, so a failure becomes the last line."""
    try:
        yield _line(first)
        while True:  # run each step inside the bridge, because a step may ask a store
            yield _line(await bridged_await(frames.__anext__))
    except StopAsyncIteration:
        pass
    except Exception as error:  # noqa: BLE001 - whatever it is, the client is told
        yield encode(StreamError(error=problem_of(error))) + b"\n"
    finally:
        await bridged_await(frames.aclose)


def _line(frame: Frame) -> bytes:
    return encode(StreamLine(**frame_reply(frame), is_final=frame.is_final)) + b"\n"


def _dry_run_reply(dry: DryRunResult) -> DryRunReply:
    return DryRunReply(
        action_id=None,
        capability_id=dry.capability_id,
        response_mode=dry.response_mode,
        facts=[],
        table_preview=[],
        handle_id=None,
        handle=None,
        warnings=[],
        tokens=None,
        dry_run=True,
        driver_id=dry.driver_id,
        operation=dry.operation,
        resolved_args=dry.resolved_args,
        estimated_cost=dry.estimated_cost,
        budget_remaining=dry.budget_remaining,
    )


def _charged(kernel: Kernel, frame: Frame) -> int | None:
    """Return the number of tokens that the budget was charged for `frame`.

    Upstream counts the data that the frame's mode shows. This function counts the same data again.
    """
    if kernel.budget is None:
        return None
    shown = {
        "raw": frame.raw_data,
        "table": frame.table_preview,
        "handle_only": None,
        "summary": frame.facts,
    }
    return kernel.budget.count_tokens(shown[frame.response_mode])
