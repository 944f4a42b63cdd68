"""Measure how fast a history is read and judged: ``python -m kernel_lab.judge.bench_check [OPERATIONS]``.

For each claim a simulated right deployment makes a legal history of the chosen number of operations, and of a
tenth of them, in several shapes: more calls in flight, one key, many keys, keys that are asked for unevenly,
many denials, and listings that are narrowed. Each history is read and judged in a process of its own. The
output has the CPU time of each part, the elapsed time of both, and the peak memory. The bounds: a million
operations read and judged in under 5 s of CPU time and 1 GB; ten times the work in at most twelve times the
time. Other work on the machine changes the elapsed time more than the CPU time.

The time counts from the opening of the history to the verdict. It includes everything that ``kernel-lab check`` does
with a history except for finding the installed scenarios and writing the verdict.
"""

from __future__ import annotations

import argparse
import json
import random
import resource
import subprocess
import sys
import tempfile
import time
from collections import defaultdict, deque
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import msgspec

from kernel_lab.judge.checkers import CHECKERS
from kernel_lab.judge.completeness import judge_history
from kernel_lab.judge.history import collector_paused, cut_line, read_history
from kernel_lab.judge.verdict import Cell, DeploymentFacts

BOUND_S, BOUND_MB, BOUND_RATIO = 5.0, 1000.0, 12.0
STEP_NS, REACH_NS, FAR_NS = 3_000, 100_000, 213_000
"""The average time between two effects, and the longest time from a call to its effect or from the effect to
its return: 30 in flight, or 64 where it is far."""


class Effect(NamedTuple):
    """The effect of one operation, at one instant."""

    at_ns: int
    f: str
    asked: dict[str, Any]
    answer: dict[str, Any] | None = None
    error: str | None = None


class World:
    """A clock and names, seeded."""

    def __init__(self) -> None:
        self.rng = random.Random(1)
        self.now_ns = 0

    def tick(self) -> int:
        """The next instant."""
        self.now_ns += self.rng.randrange(2 * STEP_NS)
        return self.now_ns

    def later(self) -> int:
        """An instant at which every operation under way has ended."""
        self.now_ns += 3 * FAR_NS
        return self.now_ns

    def name(self) -> str:
        """A fresh identifier, as long as a UUID."""
        return f"{self.rng.getrandbits(144):036x}"

    def grant(self, principal: str, capability: str = "billing.get_invoice") -> tuple[Effect, str]:
        """A token for somebody."""
        token = self.name()
        return Effect(self.tick(), "grant", _scope(principal, capability), {"token_id": token}), token

    def invoke(self, token: str, principal: str, *, error: str | None = None, **asked: object) -> Effect:
        """One more action, or a refusal."""
        answer = {
            "action_id": self.name(),
            "handle_id": self.name(),
            "tokens": 12,
            "response_mode": "summary",
        }
        asked = {"token_id": token, **_scope(principal, "billing.get_invoice"), "tampered": False, **asked}
        return Effect(self.tick(), "invoke", asked, None if error else answer, error)


def _scope(principal: str, capability: str) -> dict[str, Any]:
    return {"principal": principal, "capability": capability}


def tokens(world: World) -> Iterator[Effect]:
    """Make a token, present it four times, and present an altered copy once."""
    while True:
        effect, token = world.grant("p")
        yield effect
        world.later()
        for _ in range(4):
            yield world.invoke(token, "p")
        yield world.invoke(token, "p", tampered=True, error="token_invalid")


RATE = {"limit": 70, "window_s": 0.01}


def rate_limit_by(pick: Callable[[World], int], limit: int) -> Callable[[World], Iterator[Effect]]:
    """A right window log of principals that are picked one by one."""

    def make(world: World) -> Iterator[Effect]:
        logs: dict[int, deque[int]] = defaultdict(deque)
        while True:
            number, now_ns = pick(world), world.tick()
            log = logs[number]
            while log and log[0] <= now_ns - RATE["window_s"] * 1e9:
                log.popleft()
            asked = _scope(f"p{number}", "c")
            if len(log) < limit:
                log.append(now_ns)
                yield Effect(now_ns, "grant", asked, {"token_id": world.name()})
            else:
                yield Effect(now_ns, "grant", asked, None, "rate_limited")

    return make


def _one(world: World) -> int:
    """Return the same principal each time."""
    del world
    return 0


def _among(number: int) -> Callable[[World], int]:
    """One of `principals` principals, each as often as the others."""
    return lambda world: world.rng.randrange(number)


def _zipf(world: World) -> int:
    """One of 1,000 principals, of which the first asks most often: number k with a weight of 1 / k."""
    return int(1000 ** world.rng.random())


TRACES = {"trace_cap": 10_000}


def narrowed_listings(world: World) -> Iterator[Effect]:
    """A store of 10,000 traces; after nineteen calls somebody lists their own actions, or their own denials.

    A thousand principals call by chance, and one call of nineteen is a grant that is denied. So a listing
    holds about ten entries, which are the newest of a history that grows without end.
    """
    stored: deque[tuple[str, str]] = deque()
    listed: dict[tuple[str, str], deque[str]] = defaultdict(deque)

    def store(principal: str, event: str, action: str) -> None:
        stored.append((principal, event))
        listed[principal, event].append(action)
        if len(stored) > TRACES["trace_cap"]:
            listed[stored.popleft()].popleft()

    for number in range(1 << 62):
        for _ in range(18):
            principal = f"p{world.rng.randrange(1000)}"
            effect = world.invoke(world.name(), principal)
            action = (effect.answer or {})["action_id"]
            store(principal, "invoke", action)
            yield effect
        principal = f"p{world.rng.randrange(1000)}"
        asked = _scope(principal, "billing.get_invoice")
        yield Effect(world.tick(), "grant", asked, None, "rate_limited")
        store(principal, "deny", world.name())
        event = ("invoke", "deny")[number % 2]
        narrowed = {"principal": principal, "event_type": event}
        yield Effect(world.tick(), "list_traces", narrowed, {"action_ids": [*listed[principal, event]]})
        if number % 50 == 0:
            yield Effect(world.tick(), "explain", {"action_id": action}, {"status": "succeeded"})


def revocation(world: World) -> Iterator[Effect]:
    """Three tokens of a principal, each invoked twice, revoked singly or at once, and refused four times."""
    for number in range(1 << 62):
        principal, held = f"p{number}", []
        for _ in range(3):
            effect, token = world.grant(principal)
            held.append(token)
            yield effect
        world.later()
        for token in held * 2:
            yield world.invoke(token, principal)
        world.later()
        if number % 2:
            yield Effect(world.tick(), "revoke_all", {"principal": principal}, {"revoked": 3})
        else:
            for token in held:
                yield Effect(world.tick(), "revoke", {"token_id": token}, {"revoked": True})
        world.later()
        for token in held * 4:
            yield world.invoke(token, principal, error="token_revoked")


def handles(world: World) -> Iterator[Effect]:
    """Make a handle, expand it three times, and let another principal try once."""
    while True:
        made = world.invoke(world.name(), "p")
        yield made
        world.later()
        asked = {"handle_id": (made.answer or {})["handle_id"], "principal": "p"}
        for _ in range(3):
            yield Effect(world.tick(), "expand", asked, {"rows": 5})
        yield Effect(world.tick(), "expand", {**asked, "principal": "q"}, None, "handle_principal_mismatch")


def traces(world: World) -> Iterator[Effect]:
    """Make ten actions, explain each twice, list them once, and audit the chain."""
    actions = 0
    for number in range(1 << 62):
        principal, done = f"p{number}", []
        for _ in range(10):
            effect = world.invoke(world.name(), principal)
            done.append((effect.answer or {})["action_id"])
            yield effect
        actions += 10
        world.later()
        for action in done * 2:
            yield Effect(world.tick(), "explain", {"action_id": action}, {"status": "succeeded"})
        yield Effect(world.tick(), "list_traces", {"principal": principal}, {"action_ids": done})
        yield Effect(world.tick(), "audit", {}, {"valid": True, "records": actions})


def budget(world: World) -> Iterator[Effect]:
    """Spend a budget by several calls at once, read it at times, and refuse the last calls."""
    used = 0
    while used < BUDGET["total"]:
        for _ in range(min(9, -(-(BUDGET["total"] - used) // 12))):
            used += 12
            yield world.invoke("t", "p")
        yield Effect(
            world.tick(), "budget", {}, {"total": BUDGET["total"], "used": min(used, BUDGET["total"])}
        )
    world.later()
    while True:
        yield world.invoke("t", "p", error="budget_exhausted")


BUDGET = {"total": 6_000_000, "request": 12}


def capabilities(world: World) -> Iterator[Effect]:
    """Ask for a capability without success, import it, and grant it from then on."""
    while True:
        capability = world.name()
        for _ in range(20):
            yield Effect(world.tick(), "grant", _scope("p", capability), None, "capability_not_found")
        yield Effect(
            world.tick(), "import_capability", {"capability": capability}, {"capability_ids": [capability]}
        )
        for _ in range(200):
            yield world.grant("p", capability)[0]


def stats(world: World) -> Iterator[Effect]:
    """Count all operations in one counter, with a report after every few operations."""
    counts = {"grants": 0, "invocations": 0, "expansions": 0}
    yield Effect(world.tick(), "stats", {}, dict(counts))
    world.later()
    while True:
        for _ in range(3):
            yield world.grant("p")[0]
            yield world.invoke("t", "p")
            yield Effect(world.tick(), "expand", {"handle_id": "h", "principal": "p"}, {"rows": 5})
        counts = {name: count + 3 for name, count in counts.items()}
        yield Effect(world.tick(), "stats", {}, {**counts, "denials": 0, "denials_by_reason": {}})


def streams(world: World) -> Iterator[Effect]:
    """Start a stream six times, revoke its token, refuse six more starts, and explain the streams."""
    while True:
        effect, token = world.grant("p")
        yield effect
        world.later()
        begun = [world.invoke(token, "p", stream=True) for _ in range(6)]
        for effect in begun:
            yield effect._replace(answer={**(effect.answer or {}), "frames": 20, "final": True})
        world.later()
        yield Effect(world.tick(), "revoke", {"token_id": token}, {"revoked": True})
        world.later()
        for effect in begun:
            yield world.invoke(token, "p", stream=True, error="token_revoked")
            action = (effect.answer or {})["action_id"]
            yield Effect(world.tick(), "explain", {"action_id": action}, {"status": "succeeded"})


HISTORIES: dict[str, tuple[Callable[[World], Iterator[Effect]], dict[str, Any]]] = {
    "tokens": (tokens, {"token_ttl_s": 3600}),
    "rate_limit": (rate_limit_by(_among(16), 70), RATE),
    "revocation": (revocation, {}),
    "handles": (handles, {"handle_ttl_s": 3600}),
    "traces": (traces, {}),
    "budget": (budget, BUDGET),
    "capabilities": (capabilities, {}),
    "stats": (stats, {}),
    "streams": (streams, {}),
}


class Shape(NamedTuple):
    """A kind of history that is judged."""

    claim: str
    make: Callable[[World], Iterator[Effect]]
    parameters: dict[str, Any]
    reach_ns: int = REACH_NS


SHAPES: dict[str, Shape] = {
    **{claim: Shape(claim, make, parameters) for claim, (make, parameters) in HISTORIES.items()},
    **{
        f"{claim}, 64 in flight": Shape(claim, make, parameters, FAR_NS)
        for claim, (make, parameters) in HISTORIES.items()
    },
    "rate_limit, one key": Shape("rate_limit", rate_limit_by(_one, 1000), {**RATE, "limit": 1000}),
    "rate_limit, 1,000 keys": Shape("rate_limit", rate_limit_by(_among(1000), 4), {**RATE, "limit": 4}),
    "rate_limit, Zipf": Shape("rate_limit", rate_limit_by(_zipf, 70), RATE),
    "rate_limit, 19 of 20 denied": Shape("rate_limit", rate_limit_by(_among(16), 10), {**RATE, "limit": 10}),
    "traces, narrowed listings": Shape("traces", narrowed_listings, TRACES),
}
"""Every kind of history, by its name."""


def write(name: str, operations: int, folder: Path) -> None:
    """A cell folder with a legal history of this many operations."""
    shape = SHAPES[name]
    make, parameters = shape.make, shape.parameters
    cell = Cell(scenario=shape.claim, deployment=DeploymentFacts(name="simulated"), parameters=parameters)
    (folder / "cell.json").write_bytes(msgspec.json.encode(cell))
    world = World()
    effects = make(world)
    reach = partial(random.Random(2).randrange, shape.reach_ns)
    encode = msgspec.json.encode
    with (folder / "history.jsonl").open("wb") as lines:
        for index, effect in zip(range(operations), effects, strict=False):
            line = {
                "index": index, "client": f"c{index % 64}", "f": effect.f, "input": effect.asked,
                "output": effect.answer, "outcome": "fail" if effect.error else "ok",
                "call_ns": 10**12 + effect.at_ns - reach(),
                "return_ns": 10**12 + effect.at_ns + reach(),
                "worker": f"r0/{4711 + index % 4}/ab12cd34", "connection": f"k{index % 64}",
                "error": effect.error,
            }  # fmt: skip
            lines.write(encode(line) + b"\n")


def measure(folder: Path) -> dict[str, Any]:
    """Judge a cell in a process of its own."""
    done = subprocess.run(
        [sys.executable, "-m", "kernel_lab.judge.bench_check", "--judge", str(folder)],
        check=True,
        capture_output=True,
        text=True,
    )
    measured: dict[str, Any] = json.loads(done.stdout)
    return measured


def judge_here(folder: Path) -> None:
    """Judge a cell in this process and print what it took."""
    cell = msgspec.json.decode((folder / "cell.json").read_bytes(), type=Cell)
    checker = CHECKERS[cell.scenario]
    path = folder / "history.jsonl"
    began_s, elapsed_s = time.process_time(), time.perf_counter()
    with collector_paused():
        history = read_history(path, lacks=checker.lacks)
        cut = cut_line(path)
        read_s = time.process_time() - began_s
        verdict = judge_history(history, cell, checker, damaged=cut)
    cpu_s = time.process_time() - began_s
    print(
        json.dumps(
            {
                "read_s": read_s,
                "judged_s": cpu_s - read_s,
                "cpu_s": cpu_s,
                "elapsed_s": time.perf_counter() - elapsed_s,
                "peak_mb": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024,
                "validity": verdict.validity,
            }
        )
    )


def bench(name: str, operations: int, tries: int) -> dict[str, Any]:
    """Return the best of several tries, because other work on the machine can only add time."""
    with tempfile.TemporaryDirectory() as temp:
        write(name, operations, Path(temp))
        best = min((measure(Path(temp)) for _ in range(tries)), key=lambda measured: measured["cpu_s"])
        return {**best, "file_mb": (Path(temp) / "history.jsonl").stat().st_size / 1e6}


def main(operations: int) -> int:
    """Print the table; 1 if a bound was broken."""
    print(f"{operations} operations: bounds {BOUND_S:g} s of CPU, {BOUND_MB:g} MB, ×{BOUND_RATIO:g} for ×10")
    print(
        f"{'history':28} {'file MB':>8} {'read s':>7} {'judged s':>9} {'CPU s':>7} {'elapsed s':>10} "
        f"{'peak MB':>8} {'for ×10':>8}  verdict"
    )
    broken = False
    for name in SHAPES:
        tenth, whole = bench(name, operations // 10, tries=3), bench(name, operations, tries=2)
        ratio = whole["cpu_s"] / tenth["cpu_s"]
        over = whole["cpu_s"] > BOUND_S or whole["peak_mb"] > BOUND_MB or ratio > BOUND_RATIO
        broken |= over or whole["validity"] != "valid"
        print(
            f"{name:28} {whole['file_mb']:8.0f} {whole['read_s']:7.2f} {whole['judged_s']:9.2f} "
            f"{whole['cpu_s']:7.2f} {whole['elapsed_s']:10.2f} {whole['peak_mb']:8.0f} "
            f"{f'×{ratio:.1f}':>8}  {whole['validity']}{'  OVER' * over}",
            flush=True,
        )
    return int(broken)


def _asked() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="make bench-check",
        description="How long reading and judging a legal history takes: each claim, and further shapes. "
        "Exit code 1 if a bound was broken.",
    )
    parser.add_argument(
        "operations", nargs="?", type=int, default=1_000_000, help="of each history [1000000, in 20 minutes]"
    )
    parser.add_argument("--judge", type=Path, help=argparse.SUPPRESS)
    asked = parser.parse_args()
    if asked.operations < 10:
        parser.error(f"{asked.operations} operations: a tenth of them is judged too, so it takes 10 or more")
    return asked


if __name__ == "__main__":
    asked = _asked()
    if asked.judge is None:
        sys.exit(main(asked.operations))
    judge_here(asked.judge)
