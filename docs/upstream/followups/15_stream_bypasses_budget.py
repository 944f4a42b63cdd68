"""invoke_stream neither reserves nor spends budget, so an exhausted budget does not stop it.

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
from weaver_kernel.drivers.base import ExecutionContext
from weaver_kernel.models import CapabilityRequest

ALICE = Principal(principal_id="alice")
STREAMS = 5


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
    executed: list[str] = []

    def list_tickets(ctx: ExecutionContext) -> list[dict[str, int]]:
        executed.append(ctx.action_id)
        return [{"id": 1}]

    driver = InMemoryDriver()
    driver.register_handler("tickets.list", list_tickets)
    budget = BudgetManager(total_budget=1_000)
    kernel = Kernel(
        registry, token_provider=HMACTokenProvider("one-process"), budget_manager=budget
    )
    kernel.register_driver(driver)
    request = CapabilityRequest(capability_id="tickets.list", goal="list tickets")
    token = kernel.get_token(request, ALICE, justification="")

    async def stream() -> int:
        try:
            return len([f async for f in kernel.invoke_stream(token, principal=ALICE, args={})])
        except BudgetExhausted:
            return 0

    fresh = [await stream() for _ in range(STREAMS)]
    used = budget.used
    await kernel.invoke(token, principal=ALICE, args={})
    used_by_invoke = budget.used

    await budget.record_usage(budget.remaining)
    try:
        await kernel.invoke(token, principal=ALICE, args={})
        invoke = "ok"
    except BudgetExhausted:
        invoke = "BudgetExhausted"
    before = len(executed)
    await stream()
    return {
        f"{STREAMS} streams execute and spend {used}": all(fresh) and used == 0,
        f"one invoke of the same capability spends {used_by_invoke}": used_by_invoke > 0,
        "with nothing left invoke is refused": invoke == "BudgetExhausted",
        "and a stream executes": len(executed) == before + 1,
    }


def main() -> int:
    claims = asyncio.run(measure())
    for claim, holds in claims.items():
        print(f"{'as described' if holds else 'NO LONGER   '}  {claim}")
    return 0 if all(claims.values()) else 1


if __name__ == "__main__":
    sys.exit(main())
