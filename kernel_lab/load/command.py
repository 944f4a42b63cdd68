"""kernel-lab load: what each deployment costs, and whether the claims hold under it.

All deployments stand side by side, and one generator goes round them in short slots, in a new order each
round: first a closed loop (throughput, CPU per call), then a constant rate (latency from the start that was
meant). Every call is recorded, and the recorded histories are judged. `kernel_lab.load` makes the figures.
"""

from __future__ import annotations

import asyncio
import dataclasses
import os
import random
import sys
from collections.abc import Collection, Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from rich.console import Console

from kernel_lab.bad_input import BadInput
from kernel_lab.deployments.deployment import Deployment
from kernel_lab.judge.verdict import Verdict
from kernel_lab.load import curves
from kernel_lab.load.bench import Bench, Effort, by_name, slot_of
from kernel_lab.load.costs import frontier, table
from kernel_lab.load.costs import screen as cost_screen
from kernel_lab.load.generator.agent import MIXES
from kernel_lab.load.judged import cell_under_load, columns, judge_load, merge_histories
from kernel_lab.load.live import Lives, Subject, open_all
from kernel_lab.load.measure import slot_files
from kernel_lab.load.own import REFERENCES, Own, fits
from kernel_lab.load.plan import Slot
from kernel_lab.load.walk import GeneratorFailed, Sample
from kernel_lab.run import environment, registry
from kernel_lab.run.folder import RunFolder
from kernel_lab.run.results import write_rows
from kernel_lab.run.schedule import look_at
from kernel_lab.traffic.connections import Policy

PARTS = ("deployments", "distance", "callers", "workers", "size", "app")
"""The parts of a load run. The first three run by default, because a ratio belongs to the distance that it holds at."""
ALL_MIXES = ("read-heavy", "grant-heavy")
"""Mixes that every deployment is asked, and that are judged."""
PURE_MIXES = ("invoke-200", "invoke-10", "grant")
"""One operation alone, where what a shared state adds is looked at closely."""
STEADY_MIX = "grant-heavy"
"""Asked at a constant rate: its sessions ask for most calls, so a slot has a 99th percentile."""
CLOSE_LOOK = (
    "memory-4", "memory-4-again", "single", "sqlite", "redis", "redis-blocking", "redis-authz",
    "redis-cached", "sidecar", "remote",
)  # fmt: skip
RATE_SHARE = 0.3
"""The constant rate, as a share of what memory-4 answered in a closed loop: low enough for the slowest."""

EFFORTS: Mapping[str, Effort] = {
    # other work on the machine spoils a round or two, so many short rounds are better than few long ones
    "closed": Effort(rounds=12, warm_s=0.08, measured_s=0.3, gap_s=0.04),
    "pure": Effort(rounds=12, warm_s=0.07, measured_s=0.22, gap_s=0.03),
    "curve": Effort(rounds=8, warm_s=0.08, measured_s=0.3, gap_s=0.04),
    # a percentile takes many calls of one slot, and its interval many slots
    "rate": Effort(rounds=14, warm_s=0.1, measured_s=0.5, gap_s=0.04),
    # each caller has a call in flight at the end of a slot, which takes time to come back
    "distance": Effort(rounds=8, warm_s=0.12, measured_s=0.3, gap_s=0.15, users=64),
    "callers": Effort(rounds=6, warm_s=0.12, measured_s=0.3, gap_s=0.2),
}
"""Sessions in a closed loop, one operation alone, a curve, a constant rate, distance, numbers of callers."""
QUICK: Mapping[str, Any] = {"rounds": 2, "warm_s": 0.2, "measured_s": 0.5}

Benches = Mapping[str, Bench]
"""The benches, by the names of `EFFORTS`."""

ENV = {
    # a window that binds for one capability, and one that never does for the others
    "LAB_RATE_LIMITS": "READ=1000000/60,WRITE=4/2,DESTRUCTIVE=4/2",
    # no deployment should be slower because of handles from earlier slots
    "LAB_HANDLE_TTL_S": "120",
    # a connection waits for its deployment's next turn
    "LAB_KEEPALIVE_S": "900",
}


def main(
    *,
    parts: Sequence[str],
    deployments: Sequence[str],
    mixes: Sequence[str],
    rounds: int | None,
    quick: bool,
    seed: int,
    out: Path | None,
    kernel: str | None = None,
    own: Own | None = None,
) -> int:
    """Measure, judge, write the files, and print the tables. Return the exit code of ``kernel-lab load``."""
    for part in parts:
        _known("--part", part, PARTS)
    for mix in mixes:
        _known("--mix", mix, MIXES)
    known, names = (own or Own()).known(deployments)
    chosen = [known[name] for name in names]
    env = dict(ENV)
    if kernel is not None:
        fits(kernel, env)
        env["LAB_KERNEL"] = kernel
    if rounds is not None and rounds < 2:
        raise BadInput(f"--rounds {rounds}: an interval takes 2 or more")
    said = {} if rounds is None else {"rounds": rounds}
    efforts = {
        name: dataclasses.replace(one, **{"seed": seed, **(QUICK if quick else {}), **said})
        for name, one in EFFORTS.items()
    }
    run = RunFolder(_new_folder(out))
    folder = run.path
    console = Console(stderr=True, highlight=False)
    benches = {
        name: Bench(root=registry.root(), folder=folder, effort=effort, tell=console.print)
        for name, effort in efforts.items()
    }
    about = environment.describe(registry.checkout())
    about |= {"arguments": sys.argv[1:], "settings": env, "kernel": kernel or "lab", "quick": quick}
    about |= {"effort": {name: dataclasses.asdict(effort) for name, effort in efforts.items()}}
    try:
        for part in parts or PARTS[:3]:
            _measure(part, folder, benches, subjects(chosen, known, env), tuple(mixes), known, env)
    except KeyboardInterrupt:
        console.print(f"interrupted; what was measured until then is in {folder}")
        return 130
    except GeneratorFailed as error:
        console.print(f"kernel-lab load: {error}", markup=False)
        return 2
    about["finished"] = datetime.now(tz=UTC).isoformat(timespec="seconds")
    about["load_average_after"] = os.getloadavg()[0]
    run.write_environment(about)
    console.print(f"everything is in {folder}")
    return 0


def _measure(
    part: str,
    folder: Path,
    benches: Benches,
    measured: Sequence[Subject],
    mixes: tuple[str, ...],
    known: Mapping[str, Deployment],
    env: Mapping[str, str],
) -> None:
    """One part, its CSVs and its tables."""
    if part == "deployments":
        rows = asyncio.run(campaign(folder, benches, measured, mixes))
        write_rows(RunFolder(folder).table("cost"), table.COLUMNS, rows)
        picture = frontier.frontier(rows, memory=REFERENCES.memory, control=REFERENCES.control)
        write_rows(RunFolder(folder).table("frontier"), frontier.COLUMNS, picture)
        cost_screen.show(rows)
    else:
        curve = curves.CURVES[part]
        rows = asyncio.run(curve.measure(benches.get(part, benches["curve"]), known, env))
        write_rows(RunFolder(folder).table(f"cost_{part}"), curve.columns, rows)
        cost_screen.show_curve(rows, curve.columns)


def subjects(
    chosen: Sequence[Deployment], known: Mapping[str, Deployment], env: Mapping[str, str] = ENV
) -> list[Subject]:
    """Return the chosen deployments and the references that they are compared with, one of them twice."""
    names = dict.fromkeys([REFERENCES.memory, REFERENCES.single, *(one.name for one in chosen)])
    named = [Subject(name=name, deployment=known[name], env=dict(env)) for name in names]
    return [*named, Subject(name=REFERENCES.control, deployment=known[REFERENCES.memory], env=dict(env))]


async def campaign(
    folder: Path, benches: Benches, measured: Sequence[Subject], mixes: tuple[str, ...]
) -> list[dict[str, Any]]:
    """Start all deployments, load each in closed loops and at a constant rate, judge: the rows of cost.csv."""
    bench = benches["closed"]
    bench.tell(f"starting {len(measured)} deployments")
    async with open_all(measured, folder / "stacks", root=registry.root()) as lives:
        bench.tell_skipped(lives)
        asked = {name: mixes or _mixes(name) for name in lives.running}

        async def go(walk: str, *those: str, rates: Mapping[str, float] | None = None) -> list[Sample]:
            some = {name: tuple(mix for mix in its if mix in those) for name, its in asked.items()}
            return await benches[walk].go(walk, _slots(benches[walk].effort, lives, some, rates), lives)

        closed, pure = await go("closed", *ALL_MIXES), await go("pure", *PURE_MIXES)
        rates = {mix: rate for mix, rate in _rates(closed).items() if mix == STEADY_MIX}
        steady = await go("rate", *rates, rates=rates)
        bench.tell("judging what was recorded")
        slots = [sample.slot for sample in (*closed, *steady)]
        verdicts = {name: await _judge(folder, lives, name, slots) for name in lives.running}
    found = table.series([*closed, *pure, *steady])
    order = [subject.name for subject in measured]
    by_name = {subject.name: subject.deployment for subject in measured}
    rows = [
        _identity(by_name[key[0]], key)
        | table.figures(found, key, REFERENCES)
        | columns(verdicts[key[0]], registry.scenarios())
        for key in sorted(found, key=lambda key: (order.index(key[0]), list(MIXES).index(key[1]), key[2]))
    ]
    for name, reason in lives.skipped.items():
        rows.append(_identity(by_name[name], (name, "", "")) | {"reading": "skipped", "reason": reason})
    return rows


def _known(option: str, name: str, known: Collection[str]) -> Any:
    """Return the meaning of a name, or the name itself."""
    if name not in known:
        raise BadInput(f"{option} {name}: not known; one of: {', '.join(known)}")
    return known[name] if isinstance(known, Mapping) else name


def _new_folder(out: Path | None) -> Path:
    folder = out or registry.results() / datetime.now(tz=UTC).strftime("load-%Y%m%dT%H%M%SZ")
    if folder.exists() and any(folder.iterdir()):
        raise BadInput(
            f"--out {folder}: already holds a run, and runs are never overwritten; name a new folder"
        )
    folder.mkdir(parents=True, exist_ok=True)
    return folder.absolute()


def _mixes(name: str) -> tuple[str, ...]:
    return (*ALL_MIXES, *PURE_MIXES) if name in CLOSE_LOOK else ALL_MIXES


def _slots(
    effort: Effort,
    lives: Lives,
    asked: Mapping[str, tuple[str, ...]],
    rates: Mapping[str, float] | None = None,
) -> list[Slot]:
    """Every round asks each deployment each of its mixes once, in an order of its own."""
    rng = random.Random(effort.seed)
    slots = []
    for number in range(effort.rounds):
        # one mix at a time, so that the figures that are compared are measured close together
        for mix in dict.fromkeys(mix for mixes in asked.values() for mix in mixes):
            stacks = by_name(lives, asked, mix)
            rate = (rates or {}).get(mix, 0.0)
            slots += [slot_of(one, mix, number, rate_per_s=rate) for one in rng.sample(stacks, len(stacks))]
    return slots


def _rates(closed: Sequence[Sample]) -> dict[str, float]:
    """The constant rate of each mix that all deployments are asked."""
    found = table.series(closed)
    return {
        mix: max(10.0, round(RATE_SHARE * found[key].pooled.per_s, -1))
        for mix in ALL_MIXES
        if (key := (REFERENCES.memory, mix, "closed")) in found
    }


async def _judge(folder: Path, lives: Lives, name: str, slots: Sequence[Slot]) -> dict[str, Verdict]:
    """Judge everything that was recorded of one deployment's agents, by every claim."""
    live = lives.running[name]
    deployment = live.subject.deployment
    target = await look_at(live.stack)
    parts = [
        path
        for slot in slots
        if slot.subject == name
        for path in slot_files(folder / "load" / ("rate" if slot.rate_per_s else "closed"), slot)
    ]
    if not parts:
        return {}
    history = folder / "load" / "histories" / f"{name}.jsonl"
    await asyncio.to_thread(merge_histories, parts, history)
    tested = [scenario for scenario in registry.scenarios().values() if scenario.under_load]
    cells = [cell_under_load(scenario, deployment, target) for scenario in tested]
    return await asyncio.to_thread(judge_load, RunFolder(folder), name, history, cells)


def _identity(deployment: Deployment, key: table.Key) -> dict[str, Any]:
    return {
        "deployment": key[0],
        "state": deployment.state_name,
        "workers": deployment.workers,
        "replicas": deployment.replicas,
        "routing": deployment.routing,
        "connections": Policy.ROUND_ROBIN.value,
        "mix": key[1],
        "step": key[2],
    }
