"""SQLiteRevocationStore.revoke_principal forgets a token that is issued while it runs.

Exits 0 while weaver-kernel behaves as described, 1 once it no longer does.

The interleaving is scheduled, so one trial is enough: worker B issues at the moment worker A's transaction
begins, which is after A has read the principal's tokens. With --unscheduled CALLS three processes issue every
5 ms while a fourth calls revoke_all, and the calls that lost a token are counted.
"""

from __future__ import annotations

import multiprocessing
import sys
import tempfile
import time
from pathlib import Path

from weaver_kernel import AgentKernelError, CapabilityToken, HMACTokenProvider
from weaver_kernel.stores import SQLiteRevocationStore

SECRET = "shared-by-every-worker"


def worker(database: Path) -> tuple[HMACTokenProvider, SQLiteRevocationStore]:
    store = SQLiteRevocationStore(database)
    return HMACTokenProvider(SECRET, revocation_store=store), store


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
        (a, of_a), (b, of_b) = worker(Path(folder, "r.db")), worker(Path(folder, "r.db"))
        a.issue("tickets.list", "alice")
        issued: list[CapabilityToken] = []

        def issue_in_b(statement: str) -> None:
            # scheduling only: sqlite3 opens A's transaction before its first write, after its reads
            if statement.startswith("BEGIN") and not issued:
                issued.append(b.issue("tickets.list", "alice"))

        of_a._conn.set_trace_callback(issue_in_b)
        first = a.revoke_all("alice")
        of_a._conn.set_trace_callback(None)
        second = a.revoke_all("alice")
        token = issued[0] if issued else b.issue("tickets.list", "alice")
        claims = {
            "B issues between A's read and A's transaction": bool(issued),
            "A's revoke_all counts one of the two tokens": first == 1,
            "the other verifies in A and in B": accepts(a, token) and accepts(b, token),
            "a second revoke_all does not know it: it can only be revoked by its id": second == 0,
        }
        of_a.close()
        of_b.close()
    for claim, holds in claims.items():
        print(f"{'as described' if holds else 'NO LONGER   '}  {claim}")
    return 0 if all(claims.values()) else 1


# ── Unscheduled ───────────────────────────────────────────────────────────────

LOST = (
    "SELECT count(*) FROM token_expiry WHERE token_id NOT IN (SELECT token_id FROM revoked) "
    "AND token_id NOT IN (SELECT token_id FROM principal_tokens)"
)


def issue_forever(database: Path) -> None:
    provider, _ = worker(database)
    while True:
        provider.issue("tickets.list", "alice")
        time.sleep(0.005)


def unscheduled(calls: int) -> int:
    """Issue in three processes, call revoke_all in a fourth, and count what the index lost."""
    with tempfile.TemporaryDirectory() as folder:
        database = Path(folder, "r.db")
        provider, store = worker(database)
        spawn = multiprocessing.get_context("spawn")
        issuers = [spawn.Process(target=issue_forever, args=(database,)) for _ in range(3)]
        for issuer in issuers:
            issuer.start()
        lost = [0]
        try:
            while provider.revoke_all("alice") < 10:  # until the issuers are under way
                time.sleep(0.1)
            for _ in range(calls):
                time.sleep(0.1)
                provider.revoke_all("alice")
                lost.append(store._conn.execute(LOST).fetchone()[0])
        finally:
            for issuer in issuers:
                issuer.kill()
                issuer.join()
            store.close()
    losing = sum(after > before for before, after in zip(lost, lost[1:], strict=False))
    print(f"{losing} of {calls} revoke_all calls lost a token; {lost[-1]} tokens lost in all")
    return 0 if losing else 1


if __name__ == "__main__":
    if sys.argv[1:2] == ["--unscheduled"]:
        sys.exit(unscheduled(int(sys.argv[2])))
    sys.exit(main())
