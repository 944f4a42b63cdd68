"""A handle outlives its token: after the revocation invoke is refused and expand still serves.

Exits 0 while weaver-kernel behaves as described, 1 once it no longer does.
"""

from __future__ import annotations

import asyncio
import sys

from weaver_kernel import (
    AgentKernelError,
    Capability,
    CapabilityRegistry,
    HMACTokenProvider,
    InMemoryDriver,
    Kernel,
    Principal,
    SafetyClass,
    TokenRevoked,
)
from weaver_kernel.models import CapabilityRequest

ALICE = Principal(principal_id="alice")


def main() -> int:
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
    driver.register_handler("tickets.list", lambda ctx: [{"id": n} for n in range(3)])
    tokens = HMACTokenProvider("one-process")
    kernel = Kernel(registry, token_provider=tokens)
    kernel.register_driver(driver)
    request = CapabilityRequest(capability_id="tickets.list", goal="list tickets")
    token = kernel.get_token(request, ALICE, justification="")
    handle = asyncio.run(kernel.invoke(token, principal=ALICE, args={})).handle
    assert handle is not None

    tokens.revoke_all("alice")
    try:
        asyncio.run(kernel.invoke(token, principal=ALICE, args={}))
        invoke = "ok"
    except TokenRevoked:
        invoke = "TokenRevoked"
    try:
        served = len(kernel.expand(handle, query={}, principal=ALICE).table_preview)
    except AgentKernelError:
        served = 0

    claims = {
        "after revoke_all invoke is refused": invoke == "TokenRevoked",
        f"and expand serves {served} rows of the same grant": served == 3,
    }
    print(f"the handle lives until {handle.expires_at - handle.created_at} after the invoke")
    for claim, holds in claims.items():
        print(f"{'as described' if holds else 'NO LONGER   '}  {claim}")
    return 0 if all(claims.values()) else 1


if __name__ == "__main__":
    sys.exit(main())
