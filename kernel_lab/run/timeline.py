"""The time around a fault in bins: the number of calls that were answered, refused and failed, and their latency.

The bins of all claims that were asked of one deployment under one fault are added up: ``fault_timeline.csv``.
Their time is counted from the beginning of the fault, so that stacks that started at different times fit
together.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from statistics import median
from typing import Any

import msgspec

from kernel_lab.judge.history import AnyOperation, FaultEvent, Outcome
from kernel_lab.run.folder import RunFolder
from kernel_lab.run.results import write_rows

BIN_MS = 250
FROM_MS, TO_MS = -750, 15_000
"""Calls outside of this span are left out. They make the state before the fault, or they wait for a deployment that
does not come back."""
COLUMNS = ("deployment", "fault", "at_ms", "ok", "refused", "failed", "latency_ms", "in_force")
"""The columns of ``fault_timeline.csv``."""
TABLE = "fault_timeline"
_MS = 10**6


class Bin(msgspec.Struct, kw_only=True):
    """The calls of one span of `BIN_MS` milliseconds."""

    ok: int = 0
    refused: int = 0
    failed: int = 0
    latencies_ms: list[float] = msgspec.field(default_factory=list)
    in_force: bool = False


class Timeline:
    """The bins of one deployment under one fault."""

    def __init__(self) -> None:
        self.bins: dict[int, Bin] = defaultdict(Bin)

    def add(self, history: Sequence[AnyOperation]) -> None:
        """Add the calls of one claim. A history whose fault did not land adds nothing."""
        faults = [op for op in history if isinstance(op, FaultEvent)]
        if not faults or faults[0].outcome is not Outcome.OK:
            return
        begun_ns = faults[0].call_ns
        for op in history:
            at_ms = (op.call_ns - begun_ns) / _MS
            if isinstance(op, FaultEvent) or not FROM_MS <= at_ms < TO_MS:
                continue
            found = self.bins[int(at_ms // BIN_MS)]
            found.ok += op.outcome is Outcome.OK
            found.refused += op.outcome is Outcome.FAIL
            found.failed += op.outcome is Outcome.INFO
            if op.return_ns is not None:
                found.latencies_ms.append((op.return_ns - op.call_ns) / _MS)
        # a fault that lasts has a second operation at its end; every other fault ends when its effect was seen
        over_ns = faults[-1].return_ns or faults[-1].call_ns
        for number in range(int(min((over_ns - begun_ns) / _MS, TO_MS - 1) // BIN_MS) + 1):
            self.bins[number].in_force = True


def write_timelines(folder: RunFolder, timelines: Mapping[tuple[str, str], Timeline]) -> None:
    """Write ``fault_timeline.csv``, with a row for each bin that has a call or in which the fault was in force."""
    write_rows(
        folder.table(TABLE),
        COLUMNS,
        (
            _row(deployment, fault, number, timeline.bins[number])
            for (deployment, fault), timeline in timelines.items()
            for number in sorted(timeline.bins)
        ),
    )


def _row(deployment: str, fault: str, number: int, found: Bin) -> dict[str, Any]:
    return {
        "deployment": deployment,
        "fault": fault,
        "at_ms": number * BIN_MS,
        "ok": found.ok,
        "refused": found.refused,
        "failed": found.failed,
        "latency_ms": round(median(found.latencies_ms), 1) if found.latencies_ms else None,
        "in_force": int(found.in_force),
    }
