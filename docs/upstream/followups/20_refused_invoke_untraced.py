"""An invoke that is refused leaves no trace: of five refusals the audit knows only the one at grant time.

Exits 0 while weaver-kernel behaves as described, 1 once it no longer does.
"""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Callable
from dataclasses import replace

from weaver_kernel import (
    AgentKernelError,
    Capability,
    CapabilityRegistry,
    CapabilityToken,
    HMACTokenProvider,
    InMemoryDriver,
    Kernel,
    Principal,
    SafetyClass,
)
from weaver_kernel.models import CapabilityRequest

ALICE = Principal(principal_id="alice", roles=["writer"])
MALLORY = Principal(principal_id="mallory")


def main() -> int:
    registry = CapabilityRegistry()
    registry.register(
        Capability(
            capability_id="tickets.close",
            name="Close",
            description="Close a ticket",
            safety_class=SafetyClass.WRITE,
        )
    )
    driver = InMemoryDriver()
    driver.register_handler("tickets.close", lambda ctx: [{"id": 1}])
    tokens = HMACTokenProvider("one-process")
    kernel = Kernel(registry, token_provider=tokens)
    kernel.register_driver(driver)
    request = CapabilityRequest(capability_id="tickets.close", goal="close a ticket")

    def answer(call: Callable[[], object]) -> str:
        try:
            call()
        except AgentKernelError as refusal:
            return type(refusal).__name__
        return "ok"

    def invoke(token: CapabilityToken, principal: Principal) -> str:
        return answer(lambda: asyncio.run(kernel.invoke(token, principal=principal, args={})))

    token = kernel.get_token(request, ALICE, justification="the customer has confirmed it")
    handle = asyncio.run(kernel.invoke(token, principal=ALICE, args={})).handle
    assert handle is not None
    already = len(kernel.list_traces())

    refusals = [
        answer(lambda: kernel.get_token(request, MALLORY, justification="")),
        invoke(token, MALLORY),
        invoke(replace(token, constraints={}), ALICE),
        answer(lambda: kernel.expand(handle, query={}, principal=MALLORY)),
    ]
    tokens.revoke(token.token_id)
    refusals.append(invoke(token, ALICE))

    traced = [trace.event_type for trace in kernel.list_traces()[already:]]
    stats = kernel.stats
    claims = {
        f"refused: {', '.join(refusals)}": refusals
        == [
            "PolicyDenied",
            "TokenScopeError",
            "TokenInvalid",
            "HandleConstraintViolation",
            "TokenRevoked",
        ],
        f"traced: {', '.join(traced)}": traced == ["deny"],
        "counted in stats: one denial, no failed invocation": (
            sum(stats.denials_by_reason.values()),
            stats.invocation_failures,
        )
        == (1, 0),
    }
    for claim, holds in claims.items():
        print(f"{'as described' if holds else 'NO LONGER   '}  {claim}")
    return 0 if all(claims.values()) else 1


if __name__ == "__main__":
    sys.exit(main())
