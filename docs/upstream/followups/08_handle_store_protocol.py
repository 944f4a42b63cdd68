"""HandleStoreProtocol describes no handle store: what satisfies it fails after the driver ran.

Exits 0 while weaver-kernel behaves as described, 1 once it no longer does.
"""

from __future__ import annotations

import asyncio
import sys
from typing import Any

from weaver_kernel import (
    Capability,
    CapabilityRegistry,
    HandleNotFound,
    HMACTokenProvider,
    InMemoryDriver,
    Kernel,
    Principal,
    SafetyClass,
)
from weaver_kernel.drivers.base import ExecutionContext
from weaver_kernel.models import CapabilityRequest
from weaver_kernel.stores import HandleStoreProtocol

SECRET = "shared-by-every-worker"
ALICE = Principal(principal_id="alice")


class ConformingStore:
    """Everything the protocol asks of a handle store."""

    def evict_expired(self) -> int:
        return 0


def worker(executed: list[str], **stores: Any) -> Kernel:
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

    def list_tickets(ctx: ExecutionContext) -> list[dict[str, int]]:
        executed.append(ctx.action_id)
        return [{"id": n} for n in range(3)]

    driver.register_handler("tickets.list", list_tickets)
    kernel = Kernel(registry, token_provider=HMACTokenProvider(SECRET), **stores)
    kernel.register_driver(driver)
    return kernel


def main() -> int:
    request = CapabilityRequest(capability_id="tickets.list", goal="list tickets")
    executed: list[str] = []

    a, b = worker(executed), worker(executed)
    token = a.get_token(request, ALICE, justification="")
    handle = asyncio.run(a.invoke(token, principal=ALICE, args={})).handle
    assert handle is not None
    a.expand(handle, query={}, principal=ALICE)
    try:
        b.expand(handle, query={}, principal=ALICE)
        in_b = "expanded"
    except HandleNotFound:
        in_b = "HandleNotFound"

    executed.clear()
    c = worker(executed, handle_store=ConformingStore())
    token = c.get_token(request, ALICE, justification="")
    try:
        asyncio.run(c.invoke(token, principal=ALICE, args={}))
        raised = "nothing"
    except Exception as error:
        raised = type(error).__name__

    claims = {
        "A expands its handle and B does not find it": in_b == "HandleNotFound",
        "an object with evict_expired alone satisfies the protocol": isinstance(
            ConformingStore(), HandleStoreProtocol
        ),
        f"given to a Kernel, invoke raises {raised}": raised == "AttributeError",
        "and it does so after the driver executed": len(executed) == 1,
    }
    for claim, holds in claims.items():
        print(f"{'as described' if holds else 'NO LONGER   '}  {claim}")
    return 0 if all(claims.values()) else 1


if __name__ == "__main__":
    sys.exit(main())
