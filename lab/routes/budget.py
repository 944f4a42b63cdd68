"""``GET /budget``: the pool of tokens that invocations are charged to."""

from __future__ import annotations

from typing_extensions import TypedDict

from lab.problems import refusals
from lab.routes.parts import KernelInUse
from lab.routes.route import KernelRoute

router = KernelRoute.router()


class BudgetReply(TypedDict):
    """The state of the pool, in tokens. Every field is null without a budget."""

    total: int | None
    used: int | None
    remaining: int | None


@router.get("/budget", summary="The budget", responses=refusals(503))
async def budget(kernel: KernelInUse) -> BudgetReply:
    """Return the pool of the kernel that this worker serves."""
    pool = kernel.budget
    if pool is None:
        return BudgetReply(total=None, used=None, remaining=None)
    return BudgetReply(total=pool.total_budget, used=pool.used, remaining=pool.remaining)
