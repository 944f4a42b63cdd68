"""Measure how a cost grows: with the distance of the store, the number of workers, and the size of the state.

Each curve has stacks of its own and is measured like every figure: in short slots, interleaved, in rounds.
"""

from __future__ import annotations

import dataclasses
import random
from collections.abc import Callable, Coroutine, Mapping, Sequence
from typing import Any

import msgspec

from kernel_lab.deployments.deployment import Deployment
from kernel_lab.load import distance
from kernel_lab.load.bench import Bench, slot_of
from kernel_lab.load.costs.rows import MEMORY, TOLD, compared, grouped, held, interval, told
from kernel_lab.load.costs.table import cpu, throughput
from kernel_lab.load.live import Lives, Subject, open_all
from kernel_lab.load.plan import Slot

COUNTS = (1, 2, 4, 8, 16)
COUNTED = ("memory-4", "sqlite", "redis")
CALLERS = (8, 64, 256)
CALLED = ("memory-4", "redis", "redis-cached", "redis-blocking", "sqlite", "sidecar")
SIZED = ("memory-4", "sqlite", "redis", "redis-cached", "redis-cluster", "sidecar")
HELD = 100_000
"""Live handles, and tokens tracked, of the full state."""
WINDOWS = (0, 1_000, 10_000)
WINDOWED = ("single", "sqlite", "redis")

WORKERS = (
    "deployment", "state", "workers", "mix", *TOLD, *MEMORY, *interval("throughput_vs_one"), "reason",
)  # fmt: skip
BY_CALLERS = (
    "deployment", "mix", "callers", *interval("cpu_vs_memory"), *interval("throughput_vs_memory"), *TOLD, "reason",
)  # fmt: skip
SIZE = (
    "deployment", "state", "workers", "handles", "tokens", "window_entries", "mix", *TOLD,
    *MEMORY, *interval("throughput_vs_empty"), *interval("cpu_vs_empty"), "reason",
)  # fmt: skip
APP = (
    "app", "mix", *TOLD, *interval("throughput_vs_bare"), *interval("cpu_vs_bare"),
)  # fmt: skip


@dataclasses.dataclass(frozen=True, slots=True)
class Curve:
    """The steps of one curve, and the columns of its ``cost_<name>.csv``."""

    measure: Callable[
        [Bench, Mapping[str, Deployment], Mapping[str, str]], Coroutine[None, None, list[dict[str, Any]]]
    ]
    columns: tuple[str, ...]


async def workers(
    bench: Bench, known: Mapping[str, Deployment], env: Mapping[str, str]
) -> list[dict[str, Any]]:
    """Cost against the number of workers, on the cores of this machine: it does not say how to size a deployment."""
    subjects = [
        Subject(
            name=f"{name.removesuffix('-4')}x{count}",
            deployment=msgspec.structs.replace(known[name], workers=count),
            env=env,
        )
        for name in COUNTED
        if name in known
        for count in COUNTS
    ]
    # a worker without a caller has nothing to do
    bench = dataclasses.replace(bench, effort=dataclasses.replace(bench.effort, users=max(COUNTS)))
    async with open_all(subjects, bench.folder / "stacks" / "workers", root=bench.root) as lives:
        bench.tell_skipped(lives)
        samples = await bench.go("workers", _each(bench, lives, ("read-heavy", "grant-heavy")), lives)
    found = grouped(samples, lambda slot: (slot.subject, slot.mix))
    rows = []
    for subject in subjects:
        for mix in ("read-heavy", "grant-heavy"):
            series = found.get((subject.name, mix))
            if series is not None:
                one = f"{subject.name.rpartition('x')[0]}x1"
                rows.append(
                    _place(subject, mix)
                    | told(series)
                    | held(series)
                    | compared(
                        "throughput_vs_one", throughput, series, found.get((one, mix)), subject.name == one
                    )
                )
    return [*rows, *(_place(one, "") | {"reason": why} for one, why in _skipped(subjects, lives))]


async def callers(
    bench: Bench, known: Mapping[str, Deployment], env: Mapping[str, str]
) -> list[dict[str, Any]]:
    """Cost against the number of callers, each with one call in flight."""
    mixes = ("grant", "invoke-10")
    subjects = [Subject(name=name, deployment=known[name], env=env) for name in CALLED if name in known]
    rows = []
    async with open_all(subjects, bench.folder / "stacks" / "callers", root=bench.root) as lives:
        bench.tell_skipped(lives)
        for count in CALLERS:
            some = dataclasses.replace(bench, effort=dataclasses.replace(bench.effort, users=count))
            samples = await some.go(f"callers-{count}", _each(some, lives, mixes), lives)
            found = grouped(samples, lambda slot: (slot.mix, slot.subject))
            for (mix, name), series in sorted(found.items()):
                memory = found.get((mix, "memory-4"))
                rows.append(
                    {"deployment": name, "mix": mix, "callers": count}
                    | told(series)
                    | compared("throughput_vs_memory", throughput, series, memory, name == "memory-4")
                    | compared("cpu_vs_memory", cpu, series, memory, name == "memory-4")
                )
    return [*rows, *({"deployment": one.name, "reason": why} for one, why in _skipped(subjects, lives))]


async def size(bench: Bench, known: Mapping[str, Deployment], env: Mapping[str, str]) -> list[dict[str, Any]]:
    """Cost against what the state holds when it starts: handles and tokens, and entries of one window."""
    # no entry from the past may expire or be evicted
    wide = {
        **env,
        "LAB_HANDLE_TTL_S": "3600",
        "LAB_HANDLE_CAP": "1000000",
        # four workers fill one file at once
        "LAB_STORE_TIMEOUT_MS": "10000",
        "LAB_KERNEL": "lab.fill:build_filled",
    }
    pasts: dict[str, dict[str, int]] = {}
    subjects = []
    for name in SIZED:
        for number in (0, HELD) if name in known else ():
            pasts[f"{name}-{number}"] = {"handles": number, "tokens": number}
            subjects.append(_with_past(f"{name}-{number}", known[name], wide, handles=number, tokens=number))
    for name in WINDOWED:
        for entries in WINDOWS if name in known else ():
            one = msgspec.structs.replace(known[name], workers=1)
            pasts[f"{name}-window-{entries}"] = {"window_entries": entries}
            subjects.append(_with_past(f"{name}-window-{entries}", one, wide, window=entries))
    asked = {
        name: ("grant-one",) if "window_entries" in past else ("invoke-10", "grant")
        for name, past in pasts.items()
    }
    async with open_all(subjects, bench.folder / "stacks" / "size", root=bench.root) as lives:
        bench.tell_skipped(lives)
        samples = await bench.go(
            "size", _each(bench, lives, ("invoke-10", "grant", "grant-one"), asked), lives
        )
    found = grouped(samples, lambda slot: (slot.subject, slot.mix))
    rows = []
    for (name, mix), series in found.items():
        empty = f"{name.rpartition('-')[0]}-0"
        subject = next(subject for subject in subjects if subject.name == name)
        rows.append(
            _place(subject, mix)
            | {"deployment": subject.deployment.name}
            | pasts[name]
            | told(series)
            | held(series)
            | compared("throughput_vs_empty", throughput, series, found.get((empty, mix)), name == empty)
            | compared("cpu_vs_empty", cpu, series, found.get((empty, mix)), name == empty)
        )
    rows += [
        _place(one, "") | pasts[one.name] | {"deployment": one.deployment.name, "reason": why}
        for one, why in _skipped(subjects, lives)
    ]
    return sorted(rows, key=lambda row: (row["mix"] == "grant-one", row["deployment"], row["mix"]))


async def app(bench: Bench, known: Mapping[str, Deployment], env: Mapping[str, str]) -> list[dict[str, Any]]:
    """Our own overhead: the app beside the smallest handler that makes the same kernel calls; one worker."""
    served = {"app": "lab.app:app", "bare": "lab.bare:app"}
    subjects = [
        Subject(name=name, deployment=known["single"], env=env, app=path) for name, path in served.items()
    ]
    mixes = ("invoke-200", "invoke-10", "grant")
    async with open_all(subjects, bench.folder / "stacks" / "app", root=bench.root) as lives:
        samples = await bench.go("app", _each(bench, lives, mixes), lives)
    found = grouped(samples, lambda slot: (slot.subject, slot.mix))
    return [
        {"app": name, "mix": mix}
        | told(found[name, mix])
        | compared("throughput_vs_bare", throughput, found[name, mix], found["bare", mix], name == "bare")
        | compared("cpu_vs_bare", cpu, found[name, mix], found["bare", mix], name == "bare")
        for mix in mixes
        for name in served
    ]


CURVES = {
    "app": Curve(app, APP),
    "distance": Curve(distance.measure, distance.COLUMNS),
    "callers": Curve(callers, BY_CALLERS),
    "workers": Curve(workers, WORKERS),
    "size": Curve(size, SIZE),
}


def _with_past(
    name: str,
    deployment: Deployment,
    env: Mapping[str, str],
    *,
    handles: int = 0,
    tokens: int = 0,
    window: int = 0,
) -> Subject:
    """A deployment whose kernels together start with this many handles, tokens and entries of a window."""
    past = {"LAB_FILL_HANDLES": handles, "LAB_FILL_TOKENS": tokens, "LAB_FILL_WINDOW": window}
    return Subject(
        name=name,
        deployment=deployment,
        env={**env, **{variable: str(number // deployment.kernels) for variable, number in past.items()}},
    )


def _each(
    bench: Bench, lives: Lives, mixes: Sequence[str], asked: Mapping[str, Sequence[str]] | None = None
) -> list[Slot]:
    """Every stack, every mix it is asked, in each round; in an order of the round's own."""
    slots = []
    for number in range(bench.effort.rounds):
        for mix in mixes:
            stacks = [live for name, live in lives.running.items() if asked is None or mix in asked[name]]
            slots += _shuffled([slot_of(live, mix, number) for live in stacks], bench, number)
    return slots


def _shuffled(slots: list[Slot], bench: Bench, number: int) -> list[Slot]:
    return random.Random(bench.effort.seed * 1000 + number).sample(slots, len(slots))


def _skipped(subjects: Sequence[Subject], lives: Lives) -> list[tuple[Subject, str]]:
    """The subjects that could not be started, each with the reason."""
    return [(one, lives.skipped[one.name]) for one in subjects if one.name in lives.skipped]


def _place(subject: Subject, mix: str) -> dict[str, Any]:
    deployment = subject.deployment
    return {
        "deployment": deployment.name,
        "state": deployment.state_name,
        "workers": deployment.workers,
        "mix": mix,
    }
