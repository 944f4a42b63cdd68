"""A host that has a Kernel cannot revoke, and cannot rehydrate a handle from its id.

Exits 0 while weaver-kernel behaves as described, 1 once it no longer does.
"""

from __future__ import annotations

import inspect
import sys

from weaver_kernel import CapabilityRegistry, Kernel


def main() -> int:
    public = {name for name, _ in inspect.getmembers(Kernel) if not name.startswith("_")}
    kernel = Kernel(CapabilityRegistry())
    private = {name for name in vars(kernel) if name in ("_token_provider", "_handle_store")}
    claims = {
        "Kernel has no revoke_token (the changelog of 0.2.0 announces it)": not any(
            "revoke" in name for name in public
        ),
        "Kernel has no way from a handle id to a Handle": not any(
            "handle" in name for name in public
        ),
        "Kernel.expand takes a Handle, not an id": "handle"
        in inspect.signature(Kernel.expand).parameters,
        "both are reached through private attributes only": len(private) == 2,
    }
    for claim, holds in claims.items():
        print(f"{'as described' if holds else 'NO LONGER   '}  {claim}")
    return 0 if all(claims.values()) else 1


if __name__ == "__main__":
    sys.exit(main())
