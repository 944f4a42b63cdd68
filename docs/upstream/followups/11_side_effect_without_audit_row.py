"""Two workers on one SQLiteTraceStore: an action executes, its audit row is lost, the chain verifies.

Exits 0 while weaver-kernel behaves as described, 1 once it no longer does.

The collision is scheduled, so one trial is enough: worker B records between worker A's read of the chain head
and A's insert.
"""

from __future__ import annotations

import asyncio
import sys
import tempfile
from pathlib import Path

from weaver_kernel import (
    AgentKernelError,
    Capability,
    CapabilityRegistry,
    HMACTokenProvider,
    InMemoryDriver,
    Kernel,
    Principal,
    SafetyClass,
)
from weaver_kernel.drivers.base import ExecutionContext
from weaver_kernel.models import CapabilityRequest
from weaver_kernel.stores import SQLiteTraceStore

SECRET = "shared-by-every-worker"
ALICE = Principal(principal_id="alice", roles=["writer"])
REQUEST = CapabilityRequest(capability_id="tickets.close", goal="close a ticket")


def worker(traces: SQLiteTraceStore, executed: list[str]) -> Kernel:
    registry = CapabilityRegistry()
    registry.register(
        Capability(
            capability_id="tickets.close",
            name="Close",
            description="Close a ticket",
            safety_class=SafetyClass.WRITE,
        )
    )
    driver = InMemoryDriver()

    def close(ctx: ExecutionContext) -> None:
        executed.append(ctx.action_id)

    driver.register_handler("tickets.close", close)
    kernel = Kernel(registry, token_provider=HMACTokenProvider(SECRET), trace_store=traces)
    kernel.register_driver(driver)
    return kernel


def close_one(kernel: Kernel) -> None:
    token = kernel.get_token(REQUEST, ALICE, justification="the customer has confirmed it")
    asyncio.run(kernel.invoke(token, principal=ALICE, args={}))


def main() -> int:
    executed: list[str] = []
    with tempfile.TemporaryDirectory() as folder:
        traces_a, traces_b = (SQLiteTraceStore(Path(folder, "t.db"), secret=SECRET) for _ in "AB")
        a, b = worker(traces_a, executed), worker(traces_b, executed)
        close_one(a)
        other = b.list_traces()[0]

        def record_in_b(statement: str) -> None:
            # scheduling only: sqlite3 opens A's transaction after A has read the chain head
            if statement.startswith("BEGIN"):
                traces_a._conn.set_trace_callback(None)
                other.action_id = "recorded-by-worker-b"
                traces_b.record(other)

        traces_a._conn.set_trace_callback(record_in_b)
        try:
            close_one(a)
            raised = "nothing"
        except AgentKernelError as error:
            raised = f"{type(error).__name__}: {error}"
        traces_a._conn.set_trace_callback(None)

        audited = {trace.action_id for trace in traces_b.list_all()}
        lost = [action for action in executed if action not in audited]
        chain = traces_b.verify_chain()
        traces_a.close()
        traces_b.close()

    claims = {
        "the driver executed twice": len(executed) == 2,
        "the second invoke raised": raised.startswith("AgentKernelError: Cannot record trace"),
        "its action has no audit row, not even a failed one": lost == executed[1:],
        "the error does not say that the action was carried out": "executed" not in raised,
        f"the chain verifies: {chain.detail}": chain.ok,
    }
    for claim, holds in claims.items():
        print(f"{'as described' if holds else 'NO LONGER   '}  {claim}")
    return 0 if all(claims.values()) else 1


if __name__ == "__main__":
    sys.exit(main())
