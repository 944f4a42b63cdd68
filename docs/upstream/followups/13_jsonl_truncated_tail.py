"""One line cut off by a crash stops every read of a JSONL trace store, and every new worker's start.

Exits 0 while weaver-kernel behaves as described, 1 once it no longer does.
"""

from __future__ import annotations

import datetime
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

from weaver_kernel import AgentKernelError
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


def refused(call: Callable[[], Any]) -> bool:
    try:
        call()
    except AgentKernelError as error:
        return "Corrupted trace record" in str(error)
    return False


def main() -> int:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "audit.jsonl")
        running = JsonlTraceStore(path, secret="shared")
        for action_id in ("one", "two", "three"):
            running.record(trace(action_id))
        whole = path.read_bytes()
        path.write_bytes(whole[:-20])  # a full disk, a power loss, a killed writer

        claims = {
            "the two whole rows before it cannot be listed": refused(running.list_all),
            "nor can the first of them be explained": refused(lambda: running.get("one")),
            "verify_chain raises instead of answering": refused(running.verify_chain),
            "a new worker cannot start": refused(lambda: JsonlTraceStore(path, secret="shared")),
        }
        running.record(trace("four"))
        claims["the running worker appends to the cut-off line, and loses that row too"] = (
            path.read_bytes().count(b"\n") == 3
        )
    for claim, holds in claims.items():
        print(f"{'as described' if holds else 'NO LONGER   '}  {claim}")
    return 0 if all(claims.values()) else 1


if __name__ == "__main__":
    sys.exit(main())
