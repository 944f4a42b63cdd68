"""``GET /worker`` and ``/healthz``: the name and the promises of a worker, and whether its process answers."""

from __future__ import annotations

from typing import Literal

from typing_extensions import TypedDict

from lab.in_force import WorkerReply
from lab.routes.parts import ServedHere
from lab.routes.route import KernelRoute
from lab.state import warnings

router = KernelRoute.router()


class HealthReply(TypedDict):
    """The process answers. No store was asked."""

    status: Literal["ok"]


@router.get("/worker", summary="Who answers, and what its deployment promises")
async def describe(served: ServedHere) -> WorkerReply:
    """Return the name of this worker, and the promises that a run must know of a service that it did not start."""
    return {**served.worker, "warnings": warnings()}


@router.get("/healthz", summary="Does the process answer?")
async def health() -> HealthReply:
    """Answer that the process is alive. No store is asked."""
    return HealthReply(status="ok")
