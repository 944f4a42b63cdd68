"""`store or Default()` drops an injected store that is empty: the Kernel silently uses one of its own.

Exits 0 while weaver-kernel behaves as described, 1 once it no longer does.
"""

from __future__ import annotations

import asyncio
import sys
from typing import Any

from weaver_kernel import (
    Capability,
    CapabilityRegistry,
    HandleStore,
    HMACTokenProvider,
    InMemoryDriver,
    Kernel,
    Principal,
    SafetyClass,
    TraceStore,
)
from weaver_kernel.models import CapabilityRequest
from weaver_kernel.stores import InMemoryRevocationStore

ALICE = Principal(principal_id="alice")


class CountedRevocations(InMemoryRevocationStore):
    """A revocation store that can say how many tokens it knows to be revoked."""

    def __len__(self) -> int:
        return len(self._revoked)


class CountedTraces(TraceStore):
    """A trace store that can say how many traces it holds."""

    def __len__(self) -> int:
        return len(self.list_all())


class CountedHandles(HandleStore):
    """A handle store that can say how many handles it holds."""

    def __len__(self) -> int:
        return len(self._meta)


def main() -> int:
    revocations, traces, handles = CountedRevocations(), CountedTraces(), CountedHandles()
    tokens = HMACTokenProvider("one-process", revocation_store=revocations)
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
    driver.register_handler("tickets.list", lambda ctx: [{"id": 1}])
    stores: dict[str, Any] = {"trace_store": traces, "handle_store": handles}
    kernel = Kernel(registry, token_provider=tokens, **stores)
    kernel.register_driver(driver)

    request = CapabilityRequest(capability_id="tickets.list", goal="list tickets")
    token = kernel.get_token(request, ALICE, justification="")
    asyncio.run(kernel.invoke(token, principal=ALICE, args={}))
    tokens.revoke(token.token_id)

    claims = {
        "the injected revocation store never heard of the revocation": len(revocations) == 0,
        "the injected trace store holds no trace": len(traces) == 0,
        "the injected handle store holds no handle": len(handles) == 0,
        "the Kernel recorded the invoke somewhere": len(kernel.list_traces()) == 1,
    }
    for claim, holds in claims.items():
        print(f"{'as described' if holds else 'NO LONGER   '}  {claim}")
    return 0 if all(claims.values()) else 1


if __name__ == "__main__":
    sys.exit(main())
