"""The rate limit counts grants: one token is invoked without limit.

Exits 0 while weaver-kernel behaves as described, 1 once it no longer does.
"""

from __future__ import annotations

import asyncio
import contextlib
import sys

from weaver_kernel import (
    Capability,
    CapabilityRegistry,
    DefaultPolicyEngine,
    HMACTokenProvider,
    InMemoryDriver,
    Kernel,
    PolicyDenied,
    Principal,
    SafetyClass,
)
from weaver_kernel.models import CapabilityRequest

ALICE = Principal(principal_id="alice", roles=["admin"])
REQUEST = CapabilityRequest(capability_id="tickets.purge", goal="purge closed tickets")
WHY = "closed for more than a year"
INVOKES = 500


def main() -> int:
    registry = CapabilityRegistry()
    registry.register(
        Capability(
            capability_id="tickets.purge",
            name="Purge",
            description="Purge closed tickets",
            safety_class=SafetyClass.DESTRUCTIVE,
        )
    )
    executed: list[str] = []
    driver = InMemoryDriver()
    driver.register_handler("tickets.purge", lambda ctx: executed.append(ctx.action_id))
    kernel = Kernel(
        registry,
        policy=DefaultPolicyEngine(
            rate_limits={SafetyClass.DESTRUCTIVE: (1, 60.0)}, clock=lambda: 0.0
        ),
        token_provider=HMACTokenProvider("one-process"),
    )
    kernel.register_driver(driver)

    async def invoke(times: int) -> None:
        for _ in range(times):
            await kernel.invoke(token, principal=ALICE, args={})

    token = kernel.get_token(REQUEST, ALICE, justification=WHY)
    try:
        kernel.get_token(REQUEST, ALICE, justification=WHY)
        second = "granted"
    except PolicyDenied as denial:
        second = str(denial.reason_code)
    with contextlib.suppress(PolicyDenied):
        asyncio.run(invoke(INVOKES))

    claims = {
        "limit 1: the second grant is denied": second == "rate_limited",
        f"limit 1: the driver executed {len(executed)} times": len(executed) == INVOKES,
    }
    for claim, holds in claims.items():
        print(f"{'as described' if holds else 'NO LONGER   '}  {claim}")
    return 0 if all(claims.values()) else 1


if __name__ == "__main__":
    sys.exit(main())
