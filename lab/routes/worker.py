"""``GET /worker`` and ``/healthz``: who answers, and whether the process does."""

from __future__ import annotations

from typing import Literal

from typing_extensions import TypedDict

from lab.in_force import WorkerReply
from lab.routes.parts import ServedHere
from lab.routes.route import KernelRoute
from lab.state import warnings

router = KernelRoute.router()


class HealthReply(TypedDict):
    """The process answers; no store was asked."""

    status: Literal["ok"]


@router.get("/worker", summary="Who answers, and what its deployment promises")
async def describe(served: ServedHere) -> WorkerReply:
    """What a run must know about a service that it did not start."""
    return {**served.worker, "warnings": warnings()}


@router.get("/healthz", summary="Does the process answer?")
async def health() -> HealthReply:
    """The process answers; no store is asked."""
    return HealthReply(status="ok")
