"""``make teeth``: every mutant must be caught, no right run accused; the table is ``docs/teeth.md``."""

from __future__ import annotations

import argparse
import os
import random
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from kernel_lab.judge.checkers import CHECKERS
from kernel_lab.judge.history import AnyOperation, Grant, Invoke, Outcome, Revoke, read_history
from kernel_lab.judge.verdict import Validity, Verdict
from kernel_lab.run import registry
from kernel_lab.run.folder import CellFolder
from kernel_lab.traffic.connections import Policy
from mutants import live, page
from mutants.catalogue import ALL, LIVE_CLAIMS, SIMULATED
from mutants.mutant import Mutant
from mutants.simulation import DEPLOYMENTS, Trial, simulate

T = TypeVar("T")

SMALL = 6
"""Operations that a counter-example may have; of the limiter, its limit and one more."""
SUMMARY = Path(__file__).resolve().parents[1] / "results" / "teeth.json"
"""The figures, for the report page and the docs."""


@dataclass(frozen=True, kw_only=True)
class Bite:
    """What became of a mutant."""

    mutant: str
    found: tuple[str, ...] = ()
    """The kinds of anomaly, the counter-example's first."""
    proof: int = 0
    """Operations of the counter-example."""
    lag_ms: tuple[float, float] | None = None
    """The measured bracket, where the mutant's delay is known."""
    missed: str = ""
    """Why it was not caught."""


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


def taste(mutant: Mutant, verdict: Verdict, cell: Path) -> Bite:
    """What a verdict says of a mutant."""
    found = tuple(dict.fromkeys(anomaly.kind for anomaly in verdict.anomalies))
    proof = len(verdict.counterexample)
    most = _most(mutant, CellFolder(cell).read_cell().parameters)
    lag_ms = None if mutant.lag_ms is None else lag_of_the_watched(cell)
    missed = ""
    if verdict.validity is not Validity.INVALID:
        missed = f"judged {verdict.validity} {verdict.reason}".strip()
    elif mutant.finds not in found:
        missed = f"found {', '.join(found)}, and no {mutant.finds}"
    elif not 0 < proof <= most:
        missed = f"a counter-example of {proof} operations; it should have {most} at most"
    elif mutant.lag_ms and lag_ms and not lag_ms[0] <= mutant.lag_ms <= lag_ms[1]:
        missed = f"a delay of {mutant.lag_ms} ms is not in the bracket {lag_ms}"
    return Bite(mutant=mutant.name, found=found, proof=proof, lag_ms=lag_ms, missed=missed)


def _most(mutant: Mutant, parameters: Mapping[str, Any]) -> int:
    """How many operations a counter-example may have: of a limit or a cap, what it allows and a few more."""
    if mutant.breaks == "rate_limit":
        return int(parameters["limit"]) + 1
    caps = [int(parameters[name]) for name in ("handle_cap", "trace_cap") if parameters.get(name)]
    return min(caps) + 2 if mutant.finds == "cap_exceeded" else mutant.proof or SMALL


def lag_of_the_watched(cell: Path) -> tuple[float, float]:
    """The lag of the tokens that were asked for until they expired: the others' brackets are open."""
    history = read_history(CellFolder(cell).recorded)
    facts = CellFolder(cell).read_cell()
    watched = {
        op.output.token_id
        for op in history
        if isinstance(op, Grant) and op.output and op.input.capability in facts.parameters["token_ttls"]
    }
    kept = [op for op in history if _token(op) in watched]
    measures = CHECKERS["revocation"].check(kept, facts).measures
    lower, upper = measures["lag_lower_ms_max"], measures["lag_upper_ms_max"]
    if not isinstance(lower, float) or not isinstance(upper, float):
        raise TypeError(f"no bracket was measured: {lower} to {upper}")
    return lower, upper


def _token(op: AnyOperation) -> str | None:
    if isinstance(op, Grant):
        return op.output.token_id if op.output and op.outcome is Outcome.OK else None
    return op.input.token_id if isinstance(op, Invoke | Revoke) else None


def twins() -> list[Trial]:
    """Each way in which mutants are run, with a right kernel: whatever is found in theirs is their fault."""
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
