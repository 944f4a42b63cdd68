"""``make smallest-faults``: the smallest fault that each claim sees, quick and full.

A strength counts as seen if at least 95 % of the runs, each with a seed of its own, end in an invalid verdict.
Its runs stop early once too many were missed. A binary search over the strengths finds the weakest that is
seen: it takes a stronger fault to be seen at least as often. The figures go to
``kernel_lab/publish/report/smallest_faults.csv``, where the report page finds them, and the table to
``docs/smallest-faults.md``.
"""

from __future__ import annotations

import argparse
import csv
import logging
import os
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import asdict, dataclass, fields, replace
from datetime import UTC, datetime
from itertools import groupby
from pathlib import Path

import msgspec

from kernel_lab.judge.verdict import Validity
from kernel_lab.run import registry
from mutants.catalogue import LIVE_CLAIMS
from mutants.graded import GRADED, STRENGTHS
from mutants.simulation import Trial, simulate

ROOT = Path(__file__).resolve().parents[1]
CSV = ROOT / "kernel_lab" / "publish" / "report" / "smallest_faults.csv"
PAGE = ROOT / "docs" / "smallest-faults.md"
SEEN = 0.95
"""The share of the runs that must find a strength."""

HEAD = """\
# The smallest fault that is seen

This page is for everybody who reads "holds" in a report. Afterwards you know, for each claim, how small a fault may be
and still be found. A fault below these sizes can be missed, and the report then says "holds".

Each row is a kernel with one fault of a chosen strength (`mutants/graded.py`). It ran up to {runs} times at a
strength, each time with another seed, through the real scenario of its claim with four workers and round robin
connections, in the simulation that [teeth.md](teeth.md) describes. "Seen" means that at least 95 % of these runs
ended in an invalid verdict. The strengths go {strengths}. Behind the smallest strength that was seen stands the next
weaker one, with the number of its runs in which it was seen. The runs of a strength stop once it cannot reach 95 %.
*Quick* is `kernel-lab run --quick`; *full* is `kernel-lab run`.

The claim `streams` is missing, and its figures are not known. Its scenario hangs up and kills a worker, and the
simulation can do neither.

`make smallest-faults` writes this page and `kernel_lab/publish/report/smallest_faults.csv`, from which each
report page tells the sizes beside "holds". `ARGS="--only ForgetsCharges ChargesTwice"` measures these faults again
and keeps the other rows. This page has rows of {measured}.
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Smallest:
    """The smallest strength of a fault that is seen; a row of the CSV."""

    claim: str
    fault: str
    wrong: str
    unit: str
    mode: str
    """``quick`` or ``full``."""
    smallest: float | None
    """None if not even the strongest was seen."""
    caught: int | None
    runs: int
    weaker: float | None
    """The next strength, which was not seen; None if all were seen."""
    weaker_caught: int | None
    weaker_runs: int | None
    """The number of runs. They stop once the strength cannot be seen any more."""
    commit: str = ""
    """The version of the lab that was measured."""
    measured: str = ""
    """The day."""


def caught(name: str, strength: float, seed: int, *, quick: bool) -> bool:
    """Whether a run with a fault of a strength ends in an invalid verdict."""
    logging.disable(logging.CRITICAL)  # thousands of workers, each of which would say what it refused
    fault = GRADED[name]
    trial = Trial(
        scenario=registry.scenarios()[fault.breaks], home=fault.home, kernel=fault.factory(strength),
        seed=seed, quick=quick,
    )  # fmt: skip
    with tempfile.TemporaryDirectory(prefix="smallest-") as folder:
        return simulate(trial, Path(folder)).validity is Validity.INVALID


def tried(name: str, strength: float, *, quick: bool, runs: int) -> tuple[int, int]:
    """How many runs found a fault of a strength, of how many; fewer than `runs` if it cannot be seen."""
    found = 0
    for seed in range(1, runs + 1):
        found += caught(name, strength, seed, quick=quick)
        if seed - found > (1 - SEEN) * runs:
            return found, seed
    return found, runs


def smallest(asked: tuple[str, bool, int]) -> Smallest:
    """Search the weakest strength of a fault that is seen."""
    name, quick, runs = asked
    fault = GRADED[name]
    strengths = STRENGTHS[fault.unit]
    results: dict[int, tuple[int, int]] = {}
    low, high = 0, len(strengths)  # what stands before `low` is seen, what stands from `high` on is not
    while low < high:
        middle = (low + high) // 2
        found, of = results[middle] = tried(name, strengths[middle], quick=quick, runs=runs)
        low, high = (middle + 1, high) if found >= SEEN * of else (low, middle)
    weaker = results.get(low)
    return Smallest(
        claim=fault.breaks, fault=name, wrong=fault.wrong, unit=fault.unit, mode="quick" if quick else "full",
        smallest=strengths[low - 1] if low else None, caught=results[low - 1][0] if low else None, runs=runs,
        weaker=strengths[low] if weaker else None, weaker_caught=weaker[0] if weaker else None,
        weaker_runs=weaker[1] if weaker else None,
    )  # fmt: skip


def page(rows: Sequence[Smallest], runs: int) -> str:
    """The page, one table a claim."""
    span = ", ".join(f"from {few[0]:g} to {few[-1]:g} {unit}" for unit, few in STRENGTHS.items())
    measured = " and ".join(dict.fromkeys(f"commit {row.commit} ({row.measured})" for row in rows))
    parts = [HEAD.format(runs=runs, strengths=span, measured=measured)]
    for claim, some in groupby(rows, key=lambda row: row.claim):
        parts += [f"## {claim}\n", "| What the kernel does | Seen, quick | Seen, full |", "|---|---|---|"]
        for _, pair in groupby(some, key=lambda row: row.fault):
            quick, full = pair
            parts.append(f"| It {quick.wrong} | {_said(quick)} | {_said(full)} |")
        parts.append("")
    return "\n".join(parts)


def _said(row: Smallest) -> str:
    if row.smallest is None:
        return f"**not even {row.weaker:g}** {row.unit} ({row.weaker_caught} of {row.weaker_runs})"
    said = f"{row.smallest:g} {row.unit} ({row.caught} of {row.runs})"
    if row.weaker is None:
        return f"{said}, the weakest that was tried"
    return f"{said}; {row.weaker:g}: {row.weaker_caught} of {row.weaker_runs}"


def write(rows: Sequence[Smallest], path: Path) -> None:
    """The CSV; what is not known is empty."""
    with path.open("w", newline="", encoding="utf-8") as file:
        table = csv.DictWriter(file, [field.name for field in fields(Smallest)], lineterminator="\n")
        table.writeheader()
        table.writerows(asdict(row) for row in rows)


def read(path: Path) -> list[Smallest]:
    """The rows of a CSV that `write` has written."""
    with path.open(encoding="utf-8") as file:
        rows = [{name: value or None for name, value in row.items()} for row in csv.DictReader(file)]
    return msgspec.convert(rows, list[Smallest], strict=False)


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure, and write CSV and page."""
    parser = argparse.ArgumentParser(prog="python -m mutants.smallest", description=__doc__)
    parser.add_argument("--runs", type=int, default=20, help="runs at each strength [20]")
    parser.add_argument("--jobs", type=int, default=min(2, os.cpu_count() or 1), help="processes [2]")
    parser.add_argument(
        "--only", nargs="*", choices=list(GRADED), help="these faults alone; the other rows stay"
    )
    asked = parser.parse_args(arguments)
    order = list(registry.scenarios())
    names = sorted(asked.only or GRADED, key=lambda name: order.index(GRADED[name].breaks))
    rows = []
    with ProcessPoolExecutor(asked.jobs) as pool:
        for row in pool.map(
            smallest, [(name, quick, asked.runs) for name in names for quick in (True, False)]
        ):
            rows.append(row)
            print(f"{row.claim:13} {row.mode:5} {row.fault:22} {_said(row)}", flush=True)
    rows = [replace(row, commit=_commit(), measured=f"{datetime.now(UTC):%Y-%m-%d}") for row in rows]
    again = {row.fault for row in rows}
    kept = [row for row in read(CSV) if row.fault not in again] if asked.only else []
    rows = sorted([*kept, *rows], key=lambda row: list(GRADED).index(row.fault))
    rows.sort(key=lambda row: order.index(row.claim))
    missing = set(registry.scenarios()) - {row.claim for row in rows} - set(LIVE_CLAIMS)
    if missing:
        raise SystemExit(f"no graded fault breaks {', '.join(sorted(missing))}")
    write(rows, CSV)
    PAGE.write_text(page(rows, asked.runs), encoding="utf-8")
    return 0


def _commit() -> str:
    """The version that is measured."""
    asked = ["git", "-C", str(ROOT), "rev-parse", "--short=7", "HEAD"]
    return subprocess.run(asked, check=True, capture_output=True, text=True).stdout.strip()


if __name__ == "__main__":
    sys.exit(main())
