"""SQLiteRevocationStore: while one worker writes, no other worker can verify or issue.

Exits 0 while weaver-kernel behaves as described, 1 once it no longer does.
"""

from __future__ import annotations

import sqlite3
import sys
import tempfile
from pathlib import Path

from weaver_kernel import HMACTokenProvider
from weaver_kernel.stores import SQLiteRevocationStore

SECRET = "shared-by-every-worker"


def main() -> int:
    with tempfile.TemporaryDirectory() as folder:
        database = Path(folder, "r.db")
        store = SQLiteRevocationStore(database)
        provider = HMACTokenProvider(SECRET, revocation_store=store)
        token = provider.issue("tickets.list", "alice")
        (journal,) = store._conn.execute("PRAGMA journal_mode").fetchone()
        (patience_ms,) = store._conn.execute("PRAGMA busy_timeout").fetchone()
        (synchronous,) = store._conn.execute("PRAGMA synchronous").fetchone()
        store._conn.execute("PRAGMA busy_timeout = 100")  # only to be quick here

        def verify() -> str:
            try:
                provider.verify(
                    token, expected_principal_id="alice", expected_capability_id="tickets.list"
                )
            except Exception as error:
                return type(error).__name__
            return "accepted"

        free = verify()
        # another worker in the commit of its write
        writer = sqlite3.connect(database, isolation_level=None)
        writer.execute("BEGIN EXCLUSIVE")
        during = verify()
        writer.execute("ROLLBACK")
        writer.close()
        store.close()

    claims = {
        "nobody writes: the token verifies": free == "accepted",
        f"another worker commits: verify raises {during}": during == "OperationalError",
        f"journal_mode is {journal}, synchronous is {synchronous}": (journal, synchronous)
        == ("delete", 2),
        f"a call waits up to {patience_ms} ms, and no argument changes that": patience_ms == 5000,
    }
    for claim, holds in claims.items():
        print(f"{'as described' if holds else 'NO LONGER   '}  {claim}")
    return 0 if all(claims.values()) else 1


if __name__ == "__main__":
    sys.exit(main())
