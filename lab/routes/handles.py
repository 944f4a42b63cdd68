"""``POST /handles/{handle_id}/expansions``: a principal reads rows behind a handle."""

from __future__ import annotations

from typing import Annotated, Any, cast

from fastapi import Body, Path
from pydantic import ConfigDict
from typing_extensions import TypedDict

from lab.problems import refusals
from lab.routes.parts import Caller, Count, FrameReply, ServedHere, frame_reply
from lab.routes.route import KernelRoute

router = KernelRoute.router()


class ExpandRequest(TypedDict, total=False):
    """The body of a request for rows behind a handle. The grant decides about every field that is left out."""

    __pydantic_config__ = ConfigDict(strict=True, extra="forbid")  # type: ignore[misc] # pydantic's own way

    offset: Count
    limit: Count
    fields: list[str]
    filter: dict[str, Any]


class ExpansionReply(FrameReply):
    """A frame of rows behind a handle."""

    rows: int
    """The number of rows in this frame."""


@router.post(
    "/handles/{handle_id}/expansions",
    summary="Read rows behind a handle",
    responses=refusals(403, 404, 410, 413, 422, 503),
)
async def expand(
    handle_id: Annotated[str, Path(min_length=1)],
    caller: Caller,
    served: ServedHere,
    asked: Annotated[ExpandRequest, Body()] = {},  # noqa: B006 - nobody changes it
) -> ExpansionReply:
    """Return rows behind a handle. A client names a handle by its id; the store has its principal and constraints."""
    handle = served.view.handles.get_meta(handle_id)
    frame = served.kernel.expand(handle, query=cast("dict[str, Any]", asked), principal=caller)
    return ExpansionReply(**frame_reply(frame), rows=len(frame.table_preview))
