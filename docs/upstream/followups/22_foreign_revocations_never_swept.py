"""A revoked token that this store did not track is kept for ever: no sweep removes it.

Exits 0 while weaver-kernel behaves as described, 1 once it no longer does.
"""

from __future__ import annotations

import datetime
import sys
import tempfile
from pathlib import Path

from weaver_kernel import HMACTokenProvider
from weaver_kernel.stores import InMemoryRevocationStore, SQLiteRevocationStore

SECRET = "shared-by-every-worker"
TOKENS = 100


def main() -> int:
    b = HMACTokenProvider(SECRET)
    foreign = [b.issue("tickets.list", "alice", ttl_seconds=1) for _ in range(TOKENS)]
    long_after = datetime.datetime.now(tz=datetime.timezone.utc) + datetime.timedelta(days=365)

    claims = {}
    with tempfile.TemporaryDirectory() as folder:
        durable = SQLiteRevocationStore(Path(folder, "r.db"))
        for store in (InMemoryRevocationStore(), durable):
            a = HMACTokenProvider(SECRET, revocation_store=store)
            own = a.issue("tickets.list", "alice", ttl_seconds=1)
            for token in (own, *foreign):
                a.revoke(token.token_id)
            swept = a.sweep_revocations(now=long_after)
            kept = sum(store.is_revoked(token.token_id) for token in foreign)
            name = type(store).__name__
            claims[f"{name}: A's own revoked token is swept a year later"] = swept == 1
            claims[f"{name}: {kept} of {TOKENS} issued by B are not"] = kept == TOKENS
        durable.close()
    for claim, holds in claims.items():
        print(f"{'as described' if holds else 'NO LONGER   '}  {claim}")
    return 0 if all(claims.values()) else 1


if __name__ == "__main__":
    sys.exit(main())
