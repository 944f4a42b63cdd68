"""A revocation that failed on a locked database looks done in one worker, blocks the others, then vanishes.

Exits 0 while weaver-kernel behaves as described, 1 once it no longer does.
"""

from __future__ import annotations

import sqlite3
import sys
import tempfile
from pathlib import Path

from weaver_kernel import CapabilityToken, HMACTokenProvider
from weaver_kernel.stores import SQLiteRevocationStore

SECRET = "shared-by-every-worker"


def worker(database: Path) -> tuple[HMACTokenProvider, SQLiteRevocationStore]:
    store = SQLiteRevocationStore(database)
    store._conn.execute("PRAGMA busy_timeout = 100")  # 5000 ms as shipped: only to be quick here
    return HMACTokenProvider(SECRET, revocation_store=store), store


def answer(provider: HMACTokenProvider, token: CapabilityToken) -> str:
    try:
        provider.verify(
            token, expected_principal_id="alice", expected_capability_id="tickets.list"
        )
    except Exception as refusal:
        return type(refusal).__name__
    return "accepted"


def main() -> int:
    with tempfile.TemporaryDirectory() as folder:
        database = Path(folder, "r.db")
        (a, of_a), (b, of_b) = worker(database), worker(database)
        token = a.issue("tickets.list", "alice")

        # a reader in the middle of its transaction: a backup, a shell, another tool
        reader = sqlite3.connect(database, isolation_level=None)
        reader.execute("BEGIN")
        reader.execute("SELECT count(*) FROM revoked").fetchone()
        try:
            a.revoke(token.token_id)
            revoke = "returned"
        except Exception as error:
            revoke = type(error).__name__
        reader.execute("COMMIT")
        reader.close()

        open_in_a = of_a._conn.in_transaction
        in_a, in_b = answer(a, token), answer(b, token)
        try:
            b.issue("tickets.list", "alice")
            issue = "issued"
        except Exception as error:
            issue = type(error).__name__

        of_a.close()  # what the death of the worker does
        afterwards = answer(b, token)
        of_b.close()

    claims = {
        "the host sees a bare sqlite3.OperationalError": revoke == "OperationalError",
        "the reader is gone and A's transaction is still open": open_in_a,
        "A says: revoked": in_a == "TokenRevoked",
        "B cannot issue: A's transaction holds the write lock": issue == "OperationalError",
        "once A is gone, B accepts the token": afterwards == "accepted",
    }
    print(f"while A's transaction is open, B answers: {in_b}")
    for claim, holds in claims.items():
        print(f"{'as described' if holds else 'NO LONGER   '}  {claim}")
    return 0 if all(claims.values()) else 1


if __name__ == "__main__":
    sys.exit(main())
