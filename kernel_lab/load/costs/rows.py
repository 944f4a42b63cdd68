"""The rows of a curve's CSV: which repetitions belong together, what they measured, and what they are compared with."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable
from itertools import chain
from statistics import median
from typing import Any, TypeVar

from kernel_lab.intervals import percentile
from kernel_lab.load.costs.ratio import paired
from kernel_lab.load.costs.table import SERVERS, Figure, Series, cpu
from kernel_lab.load.plan import Slot
from kernel_lab.load.walk import Sample

TOLD = ("achieved_per_s", "cpu_ms_per_call", "p50_ms", "p99_ms", "rounds", "calls")
"""The columns of `told`."""
MEMORY = tuple(f"{part}_mb" for part in SERVERS)
"""The columns of `held`."""


def interval(name: str) -> tuple[str, str, str]:
    """The columns of `compared`."""
    return name, f"{name}_low", f"{name}_high"


Key = TypeVar("Key")


def grouped(samples: Iterable[Sample], key: Callable[[Slot], Key]) -> dict[Key, Series]:
    """The repetitions of each measurement."""
    found: dict[Key, Series] = defaultdict(Series)
    for sample in samples:
        found[key(sample.slot)].samples[sample.slot.round] = sample
    return dict(found)


def told(series: Series) -> dict[str, Any]:
    """Return the measurements of all rounds that count."""
    pool = series.pooled
    latencies = sorted(chain.from_iterable(pool.latencies_ms.values()))
    spent = [ms for ms in series.each(cpu, sorted(series.samples)) if ms is not None]
    return {
        "achieved_per_s": pool.per_s if pool.measured_s else None,
        "cpu_ms_per_call": median(spent) if spent else None,
        "p50_ms": percentile(latencies, 0.5),
        "p99_ms": percentile(latencies, 0.99),
        "rounds": len(spent),
        "calls": pool.outcomes.total(),
    }


def held(series: Series) -> dict[str, Any]:
    """Memory of each part, in MB."""
    memories = [sample.memory for sample in series.samples.values()]
    return {
        f"{part}_mb": median(memory[part] for memory in memories) / 1e6 if part in memories[0] else None
        for part in SERVERS
    }


def compared(name: str, figure: Figure, ours: Series, theirs: Series | None, same: bool) -> dict[str, float]:
    """``ours / theirs`` with its interval; nothing where they are the same, or one was not measured."""
    if theirs is None or same:
        return {}
    rounds = sorted(ours.samples)
    ratio = paired(ours.each(figure, rounds), theirs.each(figure, rounds))
    return {} if ratio is None else {name: ratio.value, f"{name}_low": ratio.low, f"{name}_high": ratio.high}
