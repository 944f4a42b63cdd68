"""The frontier: which options are dominated by another option, and which are not.

An option is dominated if another one breaks no claim that it keeps, answers at least as many calls and adds
no more latency, and is truly better in one of these: it keeps a claim more, or costs less by more than both
their intervals.

A session of the load is one principal's, so it cannot see what is broken between two (who revokes for
somebody else, behind sticky routing). Beside a matrix of the same claims, its verdicts count too: `beside`.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

COLUMNS = (
    "deployment", "validity", "broken", "lag_at_least_ms", "lag_at_most_ms",
    "throughput_vs_memory", "throughput_vs_memory_low", "throughput_vs_memory_high",
    "added_p99_ms", "added_p99_ms_low", "added_p99_ms_high", "dominated_by",
)  # fmt: skip


@dataclass(frozen=True, slots=True, kw_only=True)
class Interval:
    """A figure and its 95 % interval."""

    value: float
    low: float
    high: float

    def above(self, other: Interval) -> bool:
        """Whether this figure is greater, and the two intervals do not touch."""
        return self.low > other.high


@dataclass(frozen=True, slots=True, kw_only=True)
class Option:
    """One deployment, as an operator weighs it."""

    deployment: str
    broken: frozenset[str]
    throughput: Interval
    """The throughput relative to memory's: the worst over the mixes."""
    added_p99_ms: Interval
    """The latency added at a constant rate: the worst over the mixes."""


def dominates(better: Option, worse: Option) -> bool:
    """Whether nobody would choose `worse` for what is measured here."""
    if not better.broken <= worse.broken:
        return False
    if worse.throughput.above(better.throughput) or better.added_p99_ms.above(worse.added_p99_ms):
        return False
    return (
        better.broken < worse.broken
        or better.throughput.above(worse.throughput)
        or worse.added_p99_ms.above(better.added_p99_ms)
    )


def frontier(rows: Sequence[Mapping[str, Any]], *, memory: str, control: str) -> list[dict[str, Any]]:
    """The rows of frontier.csv, from those of cost.csv; whatever was not fully measured is left out."""
    by_name: dict[str, list[Mapping[str, Any]]] = defaultdict(list)
    for row in rows:
        if row["deployment"] != control and row.get("validity"):
            by_name[row["deployment"]].append(row)
    options, kept = [], {}
    for name, its_rows in by_name.items():
        even = 1.0 if name == memory else None
        throughput = _worst(its_rows, "throughput_vs_memory", even, lowest=True)
        added = _worst(its_rows, "added_p99_ms", 0.0 if name == memory else None, lowest=False)
        if throughput is None or added is None:
            continue
        broken = frozenset(claim for row in its_rows for claim in row["broken"].split())
        options.append(Option(deployment=name, broken=broken, throughput=throughput, added_p99_ms=added))
        kept[name] = its_rows
    return [_row(option, options, kept[option.deployment]) for option in options]


def beside(
    rows: Sequence[Mapping[str, str]],
    broken: Mapping[str, Collection[str]],
    *,
    tested: Collection[str],
    memory: str,
    control: str,
) -> list[dict[str, Any]]:
    """The rows of frontier.csv, from a cost.csv as it was written and what a matrix found broken.

    Args:
        rows: Of cost.csv, as text.
        broken: Deployment -> claims that a matrix found broken; only those of `tested` count.
        tested: The claims that a load session puts to the test.
        memory: See `frontier`.
        control: See `frontier`.
    """
    figures = [name for name in COLUMNS if "_ms" in name or "_vs_" in name]
    merged = []
    for row in rows:
        found = {*row["broken"].split(), *(set(broken.get(row["deployment"], ())) & set(tested))}
        told: dict[str, Any] = {name: float(row[name]) if row.get(name) else None for name in figures}
        told |= {"broken": " ".join(sorted(found))} | ({"validity": "invalid"} if found else {})
        merged.append({**row, **told})
    return frontier(merged, memory=memory, control=control)


def _worst(
    rows: Sequence[Mapping[str, Any]], name: str, default: float | None, *, lowest: bool
) -> Interval | None:
    if default is not None:
        return Interval(value=default, low=default, high=default)
    found = [
        Interval(value=row[name], low=row[f"{name}_low"], high=row[f"{name}_high"])
        for row in rows
        if row.get(name) is not None
    ]
    if not found:
        return None
    return (min if lowest else max)(found, key=lambda interval: interval.value)


def _row(option: Option, options: Sequence[Option], rows: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    ranks = ("valid", "unknown", "invalid")
    lows = [row["lag_at_least_ms"] for row in rows if row.get("lag_at_least_ms") is not None]
    highs = [row.get("lag_at_most_ms") for row in rows]
    told = [high for high in highs if high is not None]
    return {
        "deployment": option.deployment,
        "validity": max((str(row["validity"]) for row in rows), key=ranks.index),
        "broken": " ".join(sorted(option.broken)),
        "lag_at_least_ms": max(lows, default=None),
        "lag_at_most_ms": max(told) if told and len(told) == len(highs) else None,
        **_columns("throughput_vs_memory", option.throughput),
        **_columns("added_p99_ms", option.added_p99_ms),
        "dominated_by": " ".join(other.deployment for other in options if dominates(other, option)),
    }


def _columns(name: str, interval: Interval) -> dict[str, float]:
    return {name: interval.value, f"{name}_low": interval.low, f"{name}_high": interval.high}
