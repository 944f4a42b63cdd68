"""The guarantees under load: what the generator's processes recorded, merged, and judged like any cell."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import Any

import msgspec

from kernel_lab.deployments.deployment import Deployment
from kernel_lab.judge.verdict import Cell, Validity, Verdict, merge
from kernel_lab.run import judging as judge
from kernel_lab.run.folder import RunFolder
from kernel_lab.run.record import facts_of
from kernel_lab.run.scenario import Scenario, Target
from kernel_lab.traffic.connections import Policy

_line = msgspec.json.Decoder(dict[str, Any])
_TIMES = ("call_ns", "return_ns", "intended_ns")
NOT_AHEAD: Mapping[Path, int] = MappingProxyType({})


def merge_histories(parts: Iterable[Path], path: Path, ahead_ns: Mapping[Path, int] = NOT_AHEAD) -> int:
    """One history of many: in the order of the calls, numbered anew. Returns how many operations it has.

    Args:
        parts: What each process of the generator recorded.
        path: Where the history goes.
        ahead_ns: How far the clock of a part was ahead of the one clock that all times are told by.
    """
    lines = [
        _set_back(line, ahead_ns.get(part, 0))
        for part in parts
        for line in _line.decode_lines(part.read_bytes())
    ]
    lines.sort(key=lambda line: line["call_ns"])
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("wb") as file:
        for index, line in enumerate(lines):
            line["index"] = index
            file.write(msgspec.json.encode(line) + b"\n")
    return len(lines)


def _set_back(line: dict[str, Any], by_ns: int) -> dict[str, Any]:
    for name in _TIMES if by_ns else ():
        if line.get(name) is not None:
            line[name] -= by_ns
    return line


def cell_under_load(scenario: Scenario, deployment: Deployment, target: Target) -> Cell:
    """Return the facts that a checker must know of one claim under load."""
    return Cell(
        scenario=scenario.name,
        deployment=facts_of(deployment),
        connections=Policy.ROUND_ROBIN,
        parameters=scenario.parameters(deployment, target, Policy.ROUND_ROBIN),
        assumptions=scenario.assumptions(deployment, Policy.ROUND_ROBIN),
        expected=scenario.expect(deployment, Policy.ROUND_ROBIN),
    )


def judge_load(run: RunFolder, deployment: str, history: Path, cells: Sequence[Cell]) -> dict[str, Verdict]:
    """Judge one history by several claims; each leaves a cell folder that ``kernel-lab check`` reads again.

    Args:
        run: The run's folder.
        deployment: The cells are named ``<deployment>-load``.
        history: Where the history lies; the cells have it under a second name.
        cells: One a claim: what its checker must know.
    """
    verdicts = {}
    for cell in cells:
        folder = run.cell(cell.scenario, deployment, "load")
        folder.create()
        folder.recorded.hardlink_to(history)  # one file under several names: a history of load is large
        folder.write_cell(cell)
        (verdict,) = judge.judge_cell(folder)
        folder.write_verdict([verdict])
        verdicts[cell.scenario] = verdict
    return verdicts


def columns(verdicts: Mapping[str, Verdict], scenarios: Mapping[str, Scenario]) -> dict[str, Any]:
    """Columns of ``cost.csv``: the weakest validity, which claims are broken, how long a change lagged.

    ``lag_at_most_ms`` is empty where a worker that was asked never refused.
    """
    if not verdicts:
        return {"validity": "", "broken": ""}
    broken = [claim for claim, verdict in verdicts.items() if verdict.validity is Validity.INVALID]
    lows: list[float] = []
    highs: list[float] = []
    still_open = False
    for claim, verdict in verdicts.items():
        lag = scenarios[claim].lag
        if lag is not None:
            seen = scenarios[claim].observed(verdict.measures)
            low, high = seen.find(lag.lower_max), seen.find(lag.upper_max)
            lows += [] if low is None else [low]
            highs += [] if high is None else [high]
            still_open |= bool(seen.find(lag.open))
    return {
        "validity": merge(verdict.validity for verdict in verdicts.values()),
        "broken": " ".join(broken),
        "lag_at_least_ms": max(lows, default=None),
        "lag_at_most_ms": None if still_open else max(highs, default=None),
    }
