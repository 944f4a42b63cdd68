"""Measure one slot of load from the lines that the generator wrote."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path

import msgspec

from kernel_lab.judge.operation import Outcome
from kernel_lab.load.plan import Kept, Slot


class Line(msgspec.Struct, frozen=True, gc=False):
    """The fields of a history line that a figure needs."""

    f: str
    outcome: Outcome
    intended_ns: int
    return_ns: int | None = None
    anomaly: str | None = None


_lines = msgspec.json.Decoder(Line)


@dataclass(slots=True)
class Traffic:
    """The calls of one slot after its warm-up, or of several slots taken together."""

    measured_s: float = 0.0
    answered: int = 0
    """Calls that returned within the measured time: throughput."""
    outcomes: Counter[Outcome] = field(default_factory=Counter)
    anomalies: Counter[str] = field(default_factory=Counter)
    latencies_ms: dict[str, list[float]] = field(default_factory=lambda: defaultdict(list))
    """Operation -> the latencies of its calls that were ok or refused, from the planned start to the return."""
    offered: int = 0
    dropped: int = 0

    def add(self, other: Traffic) -> None:
        """Take in another slot's."""
        self.measured_s += other.measured_s
        self.answered += other.answered
        self.outcomes += other.outcomes
        self.anomalies += other.anomalies
        self.offered += other.offered
        self.dropped += other.dropped
        for f, latencies in other.latencies_ms.items():
            self.latencies_ms[f] += latencies

    @property
    def per_s(self) -> float:
        """Answers per second."""
        return self.answered / self.measured_s if self.measured_s else 0.0

    def share(self, outcome: Outcome) -> float | None:
        """The share of calls with an outcome; None of no calls."""
        calls = self.outcomes.total()
        return self.outcomes[outcome] / calls if calls else None


def traffic(lines: Iterable[Line], *, counted_ns: int, end_ns: int) -> Traffic:
    """The calls that were meant to start in ``[counted_ns, end_ns)``, and how many answers fell into it."""
    found = Traffic(measured_s=(end_ns - counted_ns) / 1e9)
    for line in lines:
        if line.return_ns is not None and counted_ns <= line.return_ns < end_ns:
            found.answered += 1
        if not counted_ns <= line.intended_ns < end_ns:
            continue
        found.outcomes[line.outcome] += 1
        if line.anomaly is not None:
            found.anomalies[line.anomaly] += 1
        if line.return_ns is not None:
            found.latencies_ms[line.f].append((line.return_ns - line.intended_ns) / 1e6)
    return found


def slot_files(folder: Path, slot: Slot) -> list[Path]:
    """The histories of a slot, one a generator process."""
    return sorted(folder.glob(f"{slot.name}.g*.jsonl"))


def count_calls(folder: Path, slot: Slot) -> int:
    """Every call of a slot, those of its warm-up too."""
    return sum(path.read_bytes().count(b"\n") for path in slot_files(folder, slot))


def read_slot(folder: Path, slot: Slot, *, start_ns: int) -> Traffic:
    """Return the measurements of a slot."""
    assert slot.end_s is not None, "an endless slot has no figures"  # noqa: S101
    lines = (line for path in slot_files(folder, slot) for line in _lines.decode_lines(path.read_bytes()))
    found = traffic(
        lines,
        counted_ns=start_ns + round(slot.counted_s * 1e9),
        end_ns=start_ns + round(slot.end_s * 1e9),
    )
    for path in folder.glob("paces-*.json"):
        kept = msgspec.json.decode(path.read_bytes(), type=dict[str, Kept]).get(slot.name)
        if kept is not None:
            found.offered += kept.offered
            found.dropped += kept.dropped
    return found
