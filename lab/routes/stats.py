"""``GET /stats``: the counters of one worker."""

from __future__ import annotations

from dataclasses import fields
from typing import cast

from fastapi import HTTPException
from typing_extensions import TypedDict

from lab.routes.parts import KernelInUse
from lab.routes.route import KernelRoute

router = KernelRoute.router()


class StatsReply(TypedDict):
    """The counters, in the fields of upstream's `StatsSnapshot`."""

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


@router.get("/stats", summary="This worker's counters")
async def stats(kernel: KernelInUse) -> StatsReply:
    """Return the counters of the kernel that this worker serves. Upstream does not share them with other processes."""
    counted = getattr(kernel, "stats", None)  # taken once: each reading of it takes a new snapshot
    if counted is None:
        raise HTTPException(501, "this version of weaver-kernel counts nothing")
    values = {field.name: getattr(counted, field.name) for field in fields(counted)}
    return cast("StatsReply", {**values, "denials_by_reason": dict(counted.denials_by_reason)})
