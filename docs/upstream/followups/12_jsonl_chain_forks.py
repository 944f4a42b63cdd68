"""Two workers appending to one JSONL file fork its chain: every row is there, none can be vouched for.

Exits 0 while weaver-kernel behaves as described, 1 once it no longer does.
"""

from __future__ import annotations

import datetime
import sys
import tempfile
from pathlib import Path

from weaver_kernel.models import ActionTrace
from weaver_kernel.stores import JsonlTraceStore


def trace(action_id: str) -> ActionTrace:
    return ActionTrace(
        action_id=action_id,
        capability_id="tickets.list",
        principal_id="alice",
        token_id="t",
        invoked_at=datetime.datetime(2026, 1, 1, tzinfo=datetime.timezone.utc),
        args={},
        response_mode="summary",
        driver_id="memory",
    )


def main() -> int:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "audit.jsonl")
        a, b = (JsonlTraceStore(path, secret="shared") for _ in "AB")
        a.record(trace("one"))
        b.record(trace("two"))
        a.record(trace("three"))
        rows = [record.trace["action_id"] for record in a.list_records()]
        positions = [record.seq for record in a.list_records()]
        chain = a.verify_chain()

        # a third worker, recycled: it continues from the last line, whoever wrote it
        JsonlTraceStore(path, secret="shared").record(trace("four"))
        afterwards = a.verify_chain()

    claims = {
        "all three rows are there": rows == ["one", "two", "three"],
        f"their positions are {positions}": positions == [0, 0, 1],
        f"the chain does not verify: {chain.detail}": not chain.ok,
        "it stays so: an honest fork reads like tampering": not afterwards.ok,
    }
    for claim, holds in claims.items():
        print(f"{'as described' if holds else 'NO LONGER   '}  {claim}")
    return 0 if all(claims.values()) else 1


if __name__ == "__main__":
    sys.exit(main())
