"""``cost.csv``: one row per deployment, mix and load step, with every figure's interval beside it."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import chain
from statistics import geometric_mean, mean, median
from typing import Any

from kernel_lab.intervals import percentile
from kernel_lab.judge.operation import Outcome
from kernel_lab.load.costs.ratio import Ratio, differs, noise, paired, paired_difference
from kernel_lab.load.measure import Traffic
from kernel_lab.load.walk import GENERATOR, Sample

OPERATIONS = ("grant", "invoke", "expand", "explain", "revoke")
SERVERS = ("workers", "balancer", "store")
_PERCENTILES = {"p50": 0.5, "p95": 0.95, "p99": 0.99}

COLUMNS = (
    "deployment", "state", "workers", "replicas", "routing", "connections", "mix", "step",
    "reading", "throughput_vs_memory", "throughput_vs_memory_low", "throughput_vs_memory_high",
    "cpu_vs_memory", "cpu_vs_memory_low", "cpu_vs_memory_high",
    "throughput_vs_single", "throughput_vs_single_low", "throughput_vs_single_high",
    "cpu_vs_single", "cpu_vs_single_low", "cpu_vs_single_high",
    "added_p50_ms", "added_p50_ms_low", "added_p50_ms_high",
    "added_p99_ms", "added_p99_ms_low", "added_p99_ms_high",
    "noise_throughput", "noise_cpu",
    "offered_per_s", "achieved_per_s", "dropped_share", "error_rate", "refused_share", "anomalies",
    *(f"{f}_{name}_ms" for f in (*OPERATIONS, "all") for name in _PERCENTILES),
    "calls", "rounds", "rounds_counted", "measured_s",
    "cpu_ms_per_call", *(f"{part}_cpu_ms_per_call" for part in (*SERVERS, GENERATOR)),
    *(f"{part}_mb" for part in (*SERVERS, GENERATOR)),
    "generator_busy", "generator_queued", "generator_share", "others_cores", "stolen_cores",
    "validity", "broken", "lag_at_least_ms", "lag_at_most_ms", "reason",
)  # fmt: skip

DOES_NOT_COUNT = "does not count"
"""These words stand in the column `reading` of a row with an unusable figure."""

Figure = Callable[[Sample], float | None]
"""A function that gets the figure of one slot from a sample; None where the sample has none."""

Key = tuple[str, str, str]
"""Deployment's name, mix, step."""


@dataclass(slots=True)
class Series:
    """The repetitions of one measurement, one a round."""

    samples: dict[int, Sample] = field(default_factory=dict)

    def each(self, figure: Figure, rounds: Sequence[int]) -> list[float | None]:
        """A figure of every round, None where it says nothing."""
        found = [self.samples.get(number) for number in rounds]
        return [None if sample is None else figure(sample) for sample in found]

    @property
    def pooled(self) -> Traffic:
        """The calls of all rounds that count."""
        pool = Traffic()
        for sample in self.samples.values():
            if not sample.saturated:
                pool.add(sample.traffic)
        return pool


def series(samples: Sequence[Sample]) -> dict[Key, Series]:
    """Samples by what they repeat."""
    found: dict[Key, Series] = defaultdict(Series)
    for sample in samples:
        slot = sample.slot
        found[slot.subject, slot.mix, slot.step].samples[slot.round] = sample
    return dict(found)


def throughput(sample: Sample) -> float | None:
    """Answers per second; none where the generator was the bottleneck."""
    return None if sample.saturated else sample.traffic.per_s or None


def cpu(sample: Sample) -> float | None:
    """CPU of all servers for one answered call, in milliseconds. It counts even if the generator is the bottleneck."""
    return sample.cpu_ms_per_call(*SERVERS)


def latency(share: float) -> Figure:
    """A percentile over all calls of a round, in ms; none where the generator was the bottleneck."""

    def figure(sample: Sample) -> float | None:
        if sample.saturated:
            return None
        return percentile(sorted(chain.from_iterable(sample.traffic.latencies_ms.values())), share)

    return figure


@dataclass(frozen=True, slots=True, kw_only=True)
class References:
    """Names of the subjects that all others are compared with."""

    memory: str = "memory-4"
    control: str = "memory-4-again"
    """`memory` once more: the A/A control."""
    single: str = "single"


def figures(
    found: Mapping[Key, Series],
    key: Key,
    references: References = References(),
) -> dict[str, Any]:
    """The measured columns of one row."""
    subject, mix, step = key
    ours = found[key]
    rounds = sorted(ours.samples)
    memory, control, single = (
        found.get((name, mix, step), Series())
        for name in (references.memory, references.control, references.single)
    )
    row: dict[str, Any] = _absolute(ours)

    # memory-4 runs twice, and every other deployment is compared with the mean of the two, which varies less
    twins = (memory,) if subject in (references.memory, references.control) else (memory, control)

    def compare(figure: Figure, *others: Series) -> Ratio | None:
        return paired(ours.each(figure, rounds), _between(figure, rounds, others))

    closed = step == "closed"
    against = {
        "throughput_vs_memory": compare(throughput, *twins) if closed else None,
        "cpu_vs_memory": compare(cpu, *twins),
        "throughput_vs_single": compare(throughput, single) if closed else None,
        "cpu_vs_single": compare(cpu, single),
    }
    for name, ratio in against.items():
        if ratio is not None and subject != (
            references.memory if name.endswith("memory") else references.single
        ):
            row |= {name: ratio.value, f"{name}_low": ratio.low, f"{name}_high": ratio.high}
    if not closed and subject != references.memory:
        for name in ("p50", "p99"):
            figure = latency(_PERCENTILES[name])
            added = paired_difference(ours.each(figure, rounds), _between(figure, rounds, twins))
            if added is not None:
                middle, reach = added
                row |= {
                    f"added_{name}_ms": middle,
                    f"added_{name}_ms_low": middle - reach,
                    f"added_{name}_ms_high": middle + reach,
                }
    bands = {
        "noise_throughput": noise(paired(control.each(throughput, rounds), memory.each(throughput, rounds))),
        "noise_cpu": noise(paired(control.each(cpu, rounds), memory.each(cpu, rounds))),
    }
    row |= bands if closed else {"noise_cpu": bands["noise_cpu"]}
    row["reading"] = (
        "the reference"
        if subject == references.memory
        else _read(against, bands, saturated=sum(sample.saturated for sample in ours.samples.values()))
    )
    return row


def _between(figure: Figure, rounds: Sequence[int], several: Sequence[Series]) -> list[float | None]:
    """The geometric mean over several series, round by round, of those that say something."""
    told = zip(*(one.each(figure, rounds) for one in several), strict=True)
    return [geometric_mean(values) if (values := [v for v in each if v]) else None for each in told]


def _read(against: Mapping[str, Ratio | None], bands: Mapping[str, float | None], *, saturated: int) -> str:
    """Return which figures of a row are usable: throughput where it counts, and CPU per call."""
    told = []
    if (ratio := against["throughput_vs_memory"]) is not None:
        told.append(tell("throughput", ratio, bands["noise_throughput"]))
    elif saturated:
        told.append(f"throughput {DOES_NOT_COUNT}: the load generator was the bottleneck")
    if (ratio := against["cpu_vs_memory"]) is not None:
        told.append(tell("CPU", ratio, bands["noise_cpu"]))
    return "; ".join(told) or f"{DOES_NOT_COUNT}: fewer than two rounds with its reference"


def tell(what: str, ratio: Ratio, band: float | None) -> str:
    """A ratio in words."""
    if not differs(ratio, band):
        return f"{what}: no difference measured"
    return f"{what} × {ratio.value:.2f} ({ratio.low:.2f} to {ratio.high:.2f})"


def _absolute(ours: Series) -> dict[str, Any]:
    """Return the measurement, without a comparison."""
    pool = ours.pooled
    counted = [sample for sample in ours.samples.values() if not sample.saturated] or [*ours.samples.values()]
    row: dict[str, Any] = {
        "offered_per_s": pool.offered / pool.measured_s if pool.offered and pool.measured_s else None,
        "achieved_per_s": pool.per_s if pool.measured_s else None,
        "dropped_share": pool.dropped / pool.offered if pool.offered else None,
        "error_rate": pool.share(Outcome.INFO),
        "refused_share": pool.share(Outcome.FAIL),
        "anomalies": " ".join(f"{name}:{count}" for name, count in sorted(pool.anomalies.items())),
        "calls": pool.outcomes.total(),
        "rounds": len(ours.samples),
        "rounds_counted": sum(not sample.saturated for sample in ours.samples.values()),
        "measured_s": pool.measured_s,
        "generator_busy": max(sample.generator_busy for sample in ours.samples.values()),
        "generator_queued": max(
            (told for sample in ours.samples.values() if (told := sample.generator_queued) is not None),
            default=None,
        ),
        "generator_share": mean(sample.generator_share for sample in counted),
        "others_cores": mean(sample.others_used for sample in counted),
        "stolen_cores": mean(sample.stolen for sample in counted),
        "cpu_ms_per_call": _median(counted, *SERVERS),
    }
    for part in (*SERVERS, GENERATOR):
        if any(part in sample.cores_used for sample in counted):
            row[f"{part}_cpu_ms_per_call"] = _median(counted, part)
            row[f"{part}_mb"] = median(sample.memory.get(part, 0) for sample in counted) / 1e6
    everything = sorted(chain.from_iterable(pool.latencies_ms.values()))
    for f in (*OPERATIONS, "all"):
        ordered = everything if f == "all" else sorted(pool.latencies_ms.get(f, ()))
        row |= {f"{f}_{name}_ms": percentile(ordered, share) for name, share in _PERCENTILES.items()}
    return row


def _median(samples: Sequence[Sample], *parts: str) -> float | None:
    told = [value for sample in samples if (value := sample.cpu_ms_per_call(*parts)) is not None]
    return median(told) if told else None
