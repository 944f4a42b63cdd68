"""``make right-runs``: right deployments with little room, under gunicorn. None of them may be accused.

A run is one deployment that keeps every guarantee, with settings that make its state short-lived: few handles, few
traces, short lives, or workers that end after a number of requests. Every claim runs on it, as ``kernel-lab run
--quick`` does it; the claim `streams` closes streams and kills a worker that streams. Each recorded history is then
judged again with less information: one outcome of five becomes unknown, by several seeds. A claim counts only on a
deployment that is expected to keep it.
"""

from __future__ import annotations

import argparse
import random
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import msgspec

from kernel_lab.judge.checkers import CHECKERS
from kernel_lab.judge.completeness import judge_history
from kernel_lab.judge.history import AnyOperation, FaultEvent, Invoke, Outcome, read_history
from kernel_lab.judge.verdict import Validity
from kernel_lab.run import registry
from kernel_lab.run.folder import CellFolder, RunFolder
from kernel_lab.run.results import CellResult
from mutants.live import run_cells

UNKNOWN = 0.2
"""The share of outcomes that become unknown."""
BLURS = 5
"""How often each history is judged with less information, each time with another seed."""

FEW_HANDLES, SOME_HANDLES = {"LAB_HANDLE_CAP": "20"}, {"LAB_HANDLE_CAP": "100"}
FEW_TRACES = {"LAB_TRACE_CAP": "30"}
SHORT_LIVES = {"LAB_HANDLE_TTL_S": "2", "LAB_TOKEN_TTL_S": "5"}
RECYCLED = {"LAB_MAX_REQUESTS": "150", "LAB_MAX_REQUESTS_JITTER": "50"}


@dataclass(frozen=True, kw_only=True)
class Way:
    """One run."""

    deployment: str
    env: Mapping[str, str]


WAYS = (
    *(
        Way(deployment=deployment, env=env)
        for deployment in ("single", "sidecar")
        for env in (
            FEW_HANDLES, SOME_HANDLES, FEW_TRACES, FEW_HANDLES | FEW_TRACES, SOME_HANDLES | FEW_TRACES,
            SHORT_LIVES, SHORT_LIVES | FEW_HANDLES | FEW_TRACES,
        )
    ),
    # what is kept outside of the workers survives them
    Way(deployment="sqlite", env=RECYCLED),
    Way(deployment="sqlite", env=RECYCLED | FEW_HANDLES | FEW_TRACES),
    Way(deployment="redis", env=RECYCLED),
    Way(deployment="redis", env=RECYCLED | SOME_HANDLES | FEW_TRACES),
    Way(deployment="sidecar", env=RECYCLED),
    Way(deployment="sidecar", env=RECYCLED | FEW_HANDLES | FEW_TRACES),
)  # fmt: skip
"""Twenty runs."""


@dataclass(frozen=True, kw_only=True)
class Judged:
    """What the verdicts of one run were."""

    cells: Counter[Validity] = field(default_factory=Counter)
    blurred: Counter[Validity] = field(default_factory=Counter)
    """The verdicts on the same histories with less information."""
    accused: Sequence[str] = ()


def run_way(way: Way) -> Judged:
    """Run every claim on one deployment."""
    with tempfile.TemporaryDirectory(prefix="right-") as folder:
        run = Path(folder) / "run"
        results = run_cells(run, [way.deployment], list(registry.scenarios().values()), way.env)
        return _judged(way, run, [one for one in results if one.expected is Validity.VALID])


def _judged(way: Way, run: Path, results: Sequence[CellResult]) -> Judged:
    cells, blurred = Counter[Validity](), Counter[Validity]()
    accused = []
    for one in results:
        cells[one.validity] += 1
        if one.validity is Validity.INVALID:
            accused.append(f"{one.label} with {_told(way)}: {one.first_anomaly}")
        for seed, validity in _less(RunFolder(run).cell(one.scenario, one.deployment, one.connections)):
            blurred[validity] += 1
            if validity is Validity.INVALID and one.validity is not Validity.INVALID:
                accused.append(f"{one.label} with {_told(way)}, with less information by seed {seed}")
    return Judged(cells=cells, blurred=blurred, accused=accused)


def _less(folder: CellFolder) -> Iterator[tuple[int, Validity]]:
    """The verdicts on a cell's history with less information."""
    cell, history = folder.read_cell(), read_history(folder.history)
    for seed in range(BLURS):
        rng = random.Random(seed)
        less = [unknown(op) if rng.random() < UNKNOWN else op for op in history]
        yield seed, judge_history(less, cell, CHECKERS[cell.scenario]).validity


def unknown(op: AnyOperation) -> AnyOperation:
    """The same call, of which nobody knows what became; of a stream it is known what came."""
    if isinstance(op, FaultEvent):
        return op
    came = op.output if isinstance(op, Invoke) and op.input.stream else None
    return msgspec.structs.replace(op, outcome=Outcome.INFO, return_ns=None, error=None, output=came)


def _told(way: Way) -> str:
    return " ".join(f"{name}={value}" for name, value in way.env.items())


def main(arguments: Sequence[str] | None = None) -> int:
    """The runs, a line each; 0 if nobody was accused."""
    parser = argparse.ArgumentParser(prog="make right-runs", description=__doc__.partition("\n")[0])
    parser.add_argument("--first", type=int, default=1, help=f"the first run, of {len(WAYS)} [1]")
    parser.add_argument("--last", type=int, default=len(WAYS), help=f"the last run [{len(WAYS)}]")
    asked = parser.parse_args(arguments)
    begun_s = time.monotonic()
    cells, blurred = Counter[Validity](), Counter[Validity]()
    accused: list[str] = []
    ways = WAYS[max(0, asked.first - 1) : asked.last]
    for way in ways:
        judged = run_way(way)
        cells += judged.cells
        blurred += judged.blurred
        accused += judged.accused
        print(f"{way.deployment:8} {_told(way)}: {_counted(judged.cells)}", flush=True)
    for said in accused:
        print(f"ACCUSED  {said}")
    print(f"{len(ways)} runs: {_counted(cells)}; with less information: {_counted(blurred)}")
    print(f"{len(accused)} accused, {time.monotonic() - begun_s:.0f} s")
    return int(bool(accused))


def _counted(verdicts: Counter[Validity]) -> str:
    return ", ".join(f"{count:,} {validity}" for validity, count in sorted(verdicts.items())) or "none"


if __name__ == "__main__":
    sys.exit(main())
