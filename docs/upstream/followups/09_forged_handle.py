"""expand() enforces the principal and constraints of the Handle it is given, not of the one it stored.

Exits 0 while weaver-kernel behaves as described, 1 once it no longer does.
"""

from __future__ import annotations

import asyncio
import sys
from dataclasses import replace

from weaver_kernel import (
    Capability,
    CapabilityRegistry,
    HandleConstraintViolation,
    HMACTokenProvider,
    InMemoryDriver,
    Kernel,
    Principal,
    SafetyClass,
    SensitivityTag,
)
from weaver_kernel.models import CapabilityRequest

ALICE = Principal(principal_id="alice", attributes={"tenant": "acme"})
MALLORY = Principal(principal_id="mallory")


def main() -> int:
    registry = CapabilityRegistry()
    registry.register(
        Capability(
            capability_id="customers.list",
            name="List",
            description="List customers",
            safety_class=SafetyClass.READ,
            sensitivity=SensitivityTag.PII,
            allowed_fields=["id"],
        )
    )
    driver = InMemoryDriver()
    driver.register_handler(
        "customers.list", lambda ctx: [{"id": n, "notes": f"n{n}"} for n in range(100)]
    )
    kernel = Kernel(registry, token_provider=HMACTokenProvider("one-process"))
    kernel.register_driver(driver)
    request = CapabilityRequest(capability_id="customers.list", goal="list customers")
    token = kernel.get_token(request, ALICE, justification="")
    handle = asyncio.run(kernel.invoke(token, principal=ALICE, args={})).handle
    assert handle is not None

    honest = kernel.expand(handle, query={}, principal=ALICE).table_preview
    try:
        kernel.expand(handle, query={}, principal=MALLORY)
        as_issued = "expanded"
    except HandleConstraintViolation as refusal:
        as_issued = str(refusal.reason_code)

    forged = replace(
        handle, principal_id="mallory", constraints={}, capability_id="harmless.lookup"
    )
    try:
        frame = kernel.expand(forged, query={}, principal=MALLORY)
        rows, audited = frame.table_preview, kernel.explain(frame.action_id).capability_id
    except HandleConstraintViolation:
        rows, audited = [], ""

    claims = {
        "alice gets 50 rows of one field": (len(honest), set(honest[0])) == (50, {"id"}),
        "mallory is refused the handle as issued": as_issued == "handle_principal_mismatch",
        f"mallory, with the same id in a Handle of her own, gets {len(rows)} rows": len(rows)
        == 100,
        "with the field that alice's grant excludes": bool(rows) and "notes" in rows[0],
        "and the audit names the capability she wrote": audited == "harmless.lookup",
    }
    for claim, holds in claims.items():
        print(f"{'as described' if holds else 'NO LONGER   '}  {claim}")
    return 0 if all(claims.values()) else 1


if __name__ == "__main__":
    sys.exit(main())
