"""N workers spend N budgets: a budget is an object, and there is no seam for a shared one.

Exits 0 while weaver-kernel behaves as described, 1 once it no longer does.
"""

from __future__ import annotations

import asyncio
import sys
import typing

import weaver_kernel
from weaver_kernel import BudgetExhausted, BudgetManager, Kernel

TOTAL = 1_000


async def spend(manager: BudgetManager) -> int:
    """Spend until the budget says no; how much was let through."""
    spent = 0
    while True:
        try:
            reserved = await manager.allocate(100)
        except BudgetExhausted:
            return spent
        await manager.record_usage(reserved, reserved=reserved)
        spent += reserved


def main() -> int:
    workers = [BudgetManager(TOTAL) for _ in range(4)]
    spent = [asyncio.run(spend(manager)) for manager in workers]
    recycled = asyncio.run(spend(BudgetManager(TOTAL)))

    scope = {**vars(weaver_kernel.kernel), "BudgetManager": BudgetManager}
    accepted = typing.get_type_hints(Kernel.__init__, scope)["budget_manager"]
    claims = {
        f"a total of {TOTAL}, 4 workers: {sum(spent)} spent": spent == [TOTAL] * 4,
        f"a recycled worker spends {recycled} more": recycled == TOTAL,
        "Kernel takes the concrete BudgetManager, no protocol": accepted == BudgetManager | None,
        "weaver_kernel.stores offers no budget protocol": not any(
            "Budget" in name for name in weaver_kernel.stores.__all__
        ),
    }
    for claim, holds in claims.items():
        print(f"{'as described' if holds else 'NO LONGER   '}  {claim}")
    return 0 if all(claims.values()) else 1


if __name__ == "__main__":
    sys.exit(main())
