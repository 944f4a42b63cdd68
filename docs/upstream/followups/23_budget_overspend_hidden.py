"""An overspent budget reads as exactly spent: `used` is clamped to the total.

Exits 0 while weaver-kernel behaves as described, 1 once it no longer does.
"""

from __future__ import annotations

import asyncio
import sys

from weaver_kernel import (
    BudgetExhausted,
    BudgetManager,
    Capability,
    CapabilityRegistry,
    HMACTokenProvider,
    InMemoryDriver,
    Kernel,
    Principal,
    SafetyClass,
)
from weaver_kernel.firewall.token_counting import default_token_counter
from weaver_kernel.models import CapabilityRequest

ALICE = Principal(principal_id="alice")
TOTAL = 1_000


async def measure() -> dict[str, bool]:
    registry = CapabilityRegistry()
    registry.register(
        Capability(
            capability_id="tickets.list",
            name="List",
            description="List",
            safety_class=SafetyClass.READ,
        )
    )
    driver = InMemoryDriver()
    rows = [
        {"id": n, "title": f"ticket {n}: the printer on the second floor is on fire"}
        for n in range(40)
    ]
    driver.register_handler("tickets.list", lambda ctx: rows)
    budget = BudgetManager(total_budget=TOTAL)
    kernel = Kernel(
        registry, token_provider=HMACTokenProvider("one-process"), budget_manager=budget
    )
    kernel.register_driver(driver)
    request = CapabilityRequest(capability_id="tickets.list", goal="list tickets")
    token = kernel.get_token(request, ALICE, justification="")

    costs: list[int] = []
    for _ in range(10):
        try:
            frame = await kernel.invoke(token, principal=ALICE, args={}, response_mode="table")
        except BudgetExhausted:
            break
        costs.append(default_token_counter(frame.table_preview))
    return {
        f"a total of {TOTAL}, one caller at a time: {costs} spent": sum(costs) > TOTAL,
        f"the manager says that {budget.used} were used": budget.used == TOTAL,
    }


def main() -> int:
    claims = asyncio.run(measure())
    for claim, holds in claims.items():
        print(f"{'as described' if holds else 'NO LONGER   '}  {claim}")
    return 0 if all(claims.values()) else 1


if __name__ == "__main__":
    sys.exit(main())
