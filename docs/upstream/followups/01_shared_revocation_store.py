"""Revocation stays in the worker that was asked: three ways to see it.

Exits 0 while weaver-kernel behaves as described, 1 once it no longer does.
"""

from __future__ import annotations

import sys

from weaver_kernel import AgentKernelError, CapabilityToken, HMACTokenProvider
from weaver_kernel.stores import InMemoryRevocationStore, SQLiteRevocationStore

SECRET = "shared-by-every-worker"


def worker() -> HMACTokenProvider:
    return HMACTokenProvider(SECRET)


def accepts(provider: HMACTokenProvider, token: CapabilityToken) -> bool:
    try:
        provider.verify(
            token, expected_principal_id="alice", expected_capability_id="tickets.list"
        )
    except AgentKernelError:
        return False
    return True


def main() -> int:
    a, b = worker(), worker()
    token = a.issue("tickets.list", "alice")
    a.revoke(token.token_id)

    of_a = [a.issue("tickets.list", "alice") for _ in range(5)]
    of_b = [b.issue("tickets.list", "alice") for _ in range(5)]
    revoked = a.revoke_all("alice")

    claims = {
        "A refuses the token it revoked": not accepts(a, token),
        "B accepts the token A revoked": accepts(b, token),
        "A, recycled, accepts the token it revoked before": accepts(worker(), token),
        "revoke_all on A finds the 5 tokens A issued, of 10": revoked == 5,
        "A accepts, after its revoke_all, the 5 tokens B issued": all(
            accepts(a, token) for token in of_b
        ),
        "B accepts, after A's revoke_all, all 10": all(accepts(b, token) for token in of_a + of_b),
        "no store says how far it reaches": not any(
            hasattr(store, "scope") for store in (InMemoryRevocationStore, SQLiteRevocationStore)
        ),
    }
    for claim, holds in claims.items():
        print(f"{'as described' if holds else 'NO LONGER   '}  {claim}")
    return 0 if all(claims.values()) else 1


if __name__ == "__main__":
    sys.exit(main())
