"""A worker whose clock is ahead sweeps revocations of tokens that still verify elsewhere.

Exits 0 while weaver-kernel behaves as described, 1 once it no longer does.
"""

from __future__ import annotations

import datetime
import sys
import tempfile
from pathlib import Path

from weaver_kernel import AgentKernelError, CapabilityToken, HMACTokenProvider
from weaver_kernel.stores import SQLiteRevocationStore

SECRET = "shared-by-every-worker"
TTL_S = 20
AHEAD_S = 30


def accepts(provider: HMACTokenProvider, token: CapabilityToken) -> bool:
    try:
        provider.verify(
            token, expected_principal_id="alice", expected_capability_id="tickets.list"
        )
    except AgentKernelError:
        return False
    return True


def main() -> int:
    with tempfile.TemporaryDirectory() as folder:
        stores = [SQLiteRevocationStore(Path(folder, "r.db")) for _ in "AB"]
        a, b = (HMACTokenProvider(SECRET, revocation_store=store) for store in stores)
        token = b.issue("tickets.list", "alice", ttl_seconds=TTL_S)
        b.revoke(token.token_id)
        before = accepts(b, token)

        # what sweep_revocations() does on a host whose clock is ahead
        clock_of_a = datetime.datetime.now(tz=datetime.timezone.utc)
        clock_of_a += datetime.timedelta(seconds=AHEAD_S)
        swept = a.sweep_revocations(now=clock_of_a)
        after = accepts(b, token)
        again = b.revoke_all("alice")
        for store in stores:
            store.close()

    claims = {
        "B refuses the token it revoked": not before,
        f"A's sweep, {AHEAD_S} s ahead, drops the revocation of a live token": swept == 1,
        "B accepts the revoked token": after,
        "revoke_all no longer finds the token": again == 0,
    }
    for claim, holds in claims.items():
        print(f"{'as described' if holds else 'NO LONGER   '}  {claim}")
    return 0 if all(claims.values()) else 1


if __name__ == "__main__":
    sys.exit(main())
