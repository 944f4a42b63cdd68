"""``make teeth``: every mutant must be caught, no right run accused; the table is ``docs/teeth.md``."""

from __future__ import annotations

import argparse
import os
import random
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import TypeVar

from kernel_lab.judge.verdict import Validity
from kernel_lab.run import registry
from kernel_lab.traffic.connections import Policy
from mutants import live, page
from mutants.bite import Bite, taste
from mutants.catalogue import ALL, LIVE_CLAIMS, SIMULATED
from mutants.simulation import DEPLOYMENTS, Trial, simulate

T = TypeVar("T")

SUMMARY = Path(__file__).resolve().parents[1] / "results" / "teeth.json"
"""The figures, for the report page and the docs."""


def bite(name: str) -> Bite:
    """Run a mutant through the scenario of its claim, and say whether it was caught."""
    mutant = ALL[name]
    trial = Trial(
        scenario=registry.scenarios()[mutant.breaks], home=mutant.home, workers=mutant.workers,
        kernel=mutant.factory, restarts_s=mutant.restarts_s, env=mutant.env,
    )  # fmt: skip
    with tempfile.TemporaryDirectory(prefix="teeth-") as folder:
        verdict = simulate(trial, Path(folder))
        return taste(mutant, verdict, Path(folder) / "cell")


def twins() -> list[Trial]:
    """Each way in which mutants run, with a right kernel: an anomaly in their runs is then their own fault."""
    ways = dict.fromkeys(
        (one.breaks, one.home, one.workers) for one in SIMULATED.values() if not one.restarts_s
    )
    return [
        Trial(scenario=registry.scenarios()[claim], home=home, workers=workers)
        for claim, home, workers in ways
        if registry.scenarios()[claim].expect(DEPLOYMENTS[home], Policy.ROUND_ROBIN) is Validity.VALID
    ]


def right(number: int) -> Trial:
    """The right run of a number: a right kernel, in one of the ways in which it deserves a valid verdict."""
    if number < len(twins()):
        return twins()[number]
    rng = random.Random(number)
    scenarios = [scenario for name, scenario in registry.scenarios().items() if name not in LIVE_CLAIMS]
    scenario = scenarios[number % len(scenarios)]
    policy = rng.choice((Policy.ROUND_ROBIN, Policy.ROUND_ROBIN, Policy.FRESH))
    home = rng.choice(
        [name for name, one in DEPLOYMENTS.items() if scenario.expect(one, policy) is Validity.VALID]
    )
    return Trial(
        scenario=scenario,
        home=home,
        policy=policy,
        seed=number,
        workers=1 if home == "single" else rng.randint(2, 5),
        # what is on disk survives
        restarts_s=rng.choice(((), (0.02,), (0.05, 0.9))) if home == "each" else (),
        loss=rng.choice((0, 0, 0.005, 0.02)),
    )


def accuse(number: int) -> tuple[Validity, str]:
    """The verdict on a right run, and what it says if it is not valid."""
    trial = right(number)
    with tempfile.TemporaryDirectory(prefix="teeth-") as folder:
        verdict = simulate(trial, Path(folder))
    said = verdict.reason or next((anomaly.message for anomaly in verdict.anomalies), "")
    where = f"right run {number} ({trial.scenario.name}, {trial.home}, {trial.policy})"
    return verdict.validity, f"{where}: {verdict.validity}: {said}"


def main(arguments: Sequence[str] | None = None) -> int:
    """Everything, as the command line asks; 0 if nothing was missed and nobody accused."""
    parser = argparse.ArgumentParser(prog="python -m mutants.teeth", description=__doc__)
    parser.add_argument("--right", type=int, default=1000, help="right runs [1000]")
    parser.add_argument("--jobs", type=int, default=min(2, os.cpu_count() or 1), help="processes [2]")
    parser.add_argument("--no-live", action="store_true", help="simulate only, and leave the page as it is")
    asked = parser.parse_args(arguments)
    begun_s = time.monotonic()
    with ProcessPoolExecutor(asked.jobs) as pool:
        bites = list(_told(pool.map(bite, SIMULATED), len(SIMULATED), "mutants"))
        judged = list(_told(pool.map(accuse, range(asked.right), chunksize=8), asked.right, "right runs"))
    living = live.Living() if asked.no_live else live.run_all()
    simulated = {one.mutant for one in bites}
    bites += [one for one in living.bites if one.mutant not in simulated]
    bites.sort(key=lambda one: list(ALL).index(one.mutant))
    print(page.table(ALL, bites))
    missed = [one for one in dict.fromkeys((*bites, *living.bites)) if one.missed]
    for one in missed:
        print(f"MISSED  {one.mutant}: {one.missed}")
    accused = [said for validity, said in judged if validity is not Validity.VALID]
    for said in (*accused, *living.accused):
        print(f"ACCUSED  {said}")
    summary = page.summary(bites, living, accused=len(accused), right_runs=len(judged))
    print(f"{summary.replace('*', '')}\n{time.monotonic() - begun_s:.0f} s")
    if not asked.no_live:
        page.write(ALL, bites, living, summary)
        SUMMARY.write_text(page.as_json(bites, living, accused=len(accused), right_runs=len(judged)))
    return int(bool(missed or accused or living.accused))


def _told(results: Iterator[T], total: int, what: str) -> Iterator[T]:
    """The results, with a line on the terminal that says how many there are."""
    for number, result in enumerate(results, start=1):
        if sys.stderr.isatty():
            print(f"\r{what}: {number} of {total}", end="\n" if number == total else "", file=sys.stderr)
        yield result


if __name__ == "__main__":
    sys.exit(main())
