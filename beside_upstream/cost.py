"""What a state costs, in process: each store call, a grant and an invoke, beside upstream's memory.

``make bench-state``. States take turns within each round, so a busy machine is busy for all of them. A figure
is the median over the rounds of the mean of a batch; the ratio is the median over the rounds of "this state,
divided by memory in the same round", with the smallest and the largest of the middle 80 % beside it; a
cached state is held against the one behind it, too. CPU is this process's own: a server's is not in it.
``--out FOLDER`` keeps ``state.csv`` and the environment, for ``kernel-lab pack --beside``.
"""

import argparse
import asyncio
import contextlib
import datetime as dt
import itertools
import json
import logging
import os
import statistics
import sys
import tempfile
import time
import uuid
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from weaver_kernel import CapabilityRequest, Principal

from beside_upstream.servers import SECRET, server, three_nodes, trace
from kernel_lab.run import environment, results
from lab import kernel, one_trip
from lab.settings import read_settings
from lab.state import State, StateOptions, open_state

SOON = dt.datetime.now(dt.UTC) + dt.timedelta(hours=1)
ALICE = Principal(principal_id="alice", roles=["writer"])
OPTIONS = StateOptions(secret=SECRET, budget_total=10**12, timeout_ms=10_000)
ROWS = [
    {
        "id": i,
        "customer": f"Customer {i}",
        "amount": i * 1.25,
        "currency": "EUR",
        "status": "open",
        "note": "x" * 20,
    }
    for i in range(200)
]
Call = Callable[[], Any]
ROOT = Path(__file__).resolve().parents[1]
COLUMNS = (
    "state", "call", "payload_bytes", "wall_us", "cpu_us", "times_memory", "times_memory_from",
    "times_memory_to", "times_behind", "calls",
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Place:
    """A state, and the kernel that lives on it."""

    name: str
    state: State
    kernel: Any
    loop: asyncio.AbstractEventLoop


def calls_of(place: Place) -> dict[str, Call]:
    """What is timed, by name. Each call is one that is made over and over in a deployment."""
    state, numbers = place.state, itertools.count()
    budget: Any = state.budget
    state.revocations.track("alice", "known", SOON)
    kept = state.handles.store("c", ROWS).handle_id
    recorded = trace("recorded")
    state.traces.record(recorded)
    state.limiter.check("full", 1, 3600)
    state.limiter.record("full")

    def admitted() -> None:
        key = f"k{next(numbers)}"
        assert state.limiter.check(key, 60, 60)
        state.limiter.record(key)

    def revoke_ten() -> None:
        principal = f"p{next(numbers)}"
        for _ in range(10):
            state.revocations.track(principal, str(uuid.uuid4()), SOON)
        state.revocations.revoke_principal(principal)

    async def spend() -> None:
        reserved = await budget.allocate(100)
        await budget.record_usage(50, reserved=reserved)

    request = CapabilityRequest(capability_id="billing.get_invoice", goal="look")
    listing = CapabilityRequest(capability_id="billing.list_invoices", goal="look")
    token = place.kernel.get_token(listing, ALICE, justification="")

    def invoke(rows: int) -> None:
        place.loop.run_until_complete(place.kernel.invoke(token, principal=ALICE, args={"rows": rows}))

    return {
        "is_revoked": lambda: state.revocations.is_revoked("known"),
        "track": lambda: state.revocations.track("alice", str(uuid.uuid4()), SOON),
        "revoke": lambda: state.revocations.revoke(str(uuid.uuid4())),
        "ten_tracks_revoke_principal": revoke_ten,
        "limiter_admitted": admitted,
        "limiter_refused": lambda: state.limiter.check("full", 1, 3600),
        "handle_store_200_rows": lambda: state.handles.store("c", ROWS),
        "handle_get_200_rows": lambda: state.handles.get(kept),
        "trace_record": lambda: state.traces.record(trace(str(uuid.uuid4()))),
        "trace_get": lambda: state.traces.get("recorded"),
        "budget_allocate_record": lambda: place.loop.run_until_complete(spend()),
        "grant": lambda: place.kernel.get_token(request, ALICE, justification=""),
        "invoke_1_row": lambda: invoke(1),
        "invoke_200_rows": lambda: invoke(200),
    }


@contextlib.contextmanager
def places(names: list[str]) -> Iterator[list[Place]]:
    """Every state, open, on servers of their own."""
    with contextlib.ExitStack() as stack:
        folder = stack.enter_context(tempfile.TemporaryDirectory(prefix="lab-"))
        redis = f"redis://127.0.0.1:{stack.enter_context(server()).port}"
        nodes = stack.enter_context(three_nodes()) if "redis-cluster" in names else []
        urls = {
            "memory": "memory://",
            "sqlite-stock": f"stock+sqlite:///{folder}/stock.db",
            "sqlite": f"sqlite:///{folder}/ours.db",
            "redis": f"{redis}/0",
            "redis-one-trip": f"{redis}/1",
            "redis-cached": f"cached+{redis}/2?max_stale_ms=60000",
            "redis-cluster": "redis+cluster://" + ",".join(f"127.0.0.1:{node.port}" for node in nodes),
        }
        os.environ |= {"WEAVER_KERNEL_SECRET": SECRET, "LAB_RATE_LIMITS": "READ=1000000/0.1"}
        os.environ |= {"LAB_STORE_TIMEOUT_MS": "10000"}
        loop = asyncio.new_event_loop()
        stack.callback(loop.close)
        opened = []
        for name in names:
            state = open_state(urls[name], OPTIONS)
            stack.callback(state.close)
            build = one_trip.build_kernel if name == "redis-one-trip" else kernel.build_kernel
            opened.append(Place(name, state, build(read_settings(state=urls[name])), loop))
        yield opened


def timed(call: Call, batch: int) -> tuple[float, float]:
    """Mean wall time and CPU time of a call in microseconds."""
    start_ns, cpu_ns = time.perf_counter_ns(), time.process_time_ns()
    for _ in range(batch):
        call()
    return (time.perf_counter_ns() - start_ns) / batch / 1e3, (time.process_time_ns() - cpu_ns) / batch / 1e3


def measure(names: list[str], rounds: int, batch: int) -> list[dict[str, Any]]:
    """A row per state and call."""
    with places(names) as opened:
        calls = {place.name: calls_of(place) for place in opened}
        taken: dict[tuple[str, str], list[tuple[float, float]]] = {}
        for what in calls["memory"]:
            for place in opened:
                timed(calls[place.name][what], 5)  # connected, scripts known, caches warm
            for _ in range(rounds):
                for place in opened:
                    sample = timed(calls[place.name][what], batch)
                    taken.setdefault((what, place.name), []).append(sample)
    rows = []
    for (what, name), samples in taken.items():
        ratios = _ratios(samples, taken[what, "memory"])
        behind = taken.get((what, "redis")) if name == "redis-cached" else None
        tenth = len(ratios) // 10
        rows.append(
            {
                "state": name,
                "call": what,
                "payload_bytes": len(json.dumps(ROWS)) if "200_rows" in what else None,
                "wall_us": round(statistics.median(wall for wall, _ in samples), 1),
                "cpu_us": round(statistics.median(cpu for _, cpu in samples), 1),
                "times_memory": round(statistics.median(ratios), 2),
                "times_memory_from": round(ratios[tenth], 2),
                "times_memory_to": round(ratios[-1 - tenth], 2),
                "times_behind": round(statistics.median(_ratios(samples, behind)), 3) if behind else None,
                "calls": rounds * batch,
            }
        )
    return rows


def _ratios(ours: list[tuple[float, float]], theirs: list[tuple[float, float]]) -> list[float]:
    """Of wall times, round by round, in order of size."""
    return sorted(mine[0] / other[0] for mine, other in zip(ours, theirs, strict=True))


def main() -> None:
    """Measure, print a table, and keep it."""
    states = ["memory", "sqlite-stock", "sqlite", "redis", "redis-one-trip", "redis-cached", "redis-cluster"]
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--rounds", type=int, default=30)
    parser.add_argument(
        "--batch", type=int, default=20, help="calls of one state before the next has its turn"
    )
    parser.add_argument(
        "--state", action="append", choices=states[1:], help="default: all; memory is always there"
    )
    parser.add_argument("--out", type=Path, help="also keep state.csv, in a new folder")
    arguments = parser.parse_args()
    logging.disable(logging.CRITICAL)
    about = environment.describe(ROOT) | {"rounds": arguments.rounds, "batch": arguments.batch}
    rows = measure(["memory", *(arguments.state or states[1:])], arguments.rounds, arguments.batch)
    size = len(json.dumps(ROWS))
    print(f"200 rows are {size} bytes of JSON. {arguments.rounds} rounds of {arguments.batch} calls, in µs")
    for what, group in itertools.groupby(rows, key=lambda row: row["call"]):
        print(f"\n{what:30} {'wall':>9} {'CPU':>9}   times memory")
        for row in group:
            spread = f"{row['times_memory']:7.2f}  ({row['times_memory_from']} to {row['times_memory_to']})"
            print(f"  {row['state']:28} {row['wall_us']:9.1f} {row['cpu_us']:9.1f} {spread}")
    if arguments.out:
        arguments.out.mkdir(parents=True)
        results.write_rows(arguments.out / "state.csv", COLUMNS, rows)
        (arguments.out / "environment.json").write_text(json.dumps(about, indent=2) + "\n", "utf-8")


if __name__ == "__main__":
    sys.exit(main())
