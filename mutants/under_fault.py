"""``make teeth-faults``: every wrong reaction to a fault must be caught, and no right kernel accused.

Each reaction has a real stack of its own, with one worker and one Redis, and suffers its fault as `kernel-lab run
--fault` injects it. The right kernel suffers the same faults, with the same kinds of state in memory.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import sys
import tempfile
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import msgspec

from kernel_lab.deployments.deployment import Deployment
from kernel_lab.judge.verdict import Validity
from kernel_lab.run import registry
from kernel_lab.run.folder import RunFolder
from kernel_lab.run.native import open_native
from kernel_lab.run.plan import Plan
from kernel_lab.run.under_fault import FaultRow, FaultRun, plan_under_faults
from kernel_lab.traffic.connections import Policy
from mutants.live import Quiet
from mutants.reactions import REACTIONS, Reaction

PAGE = Path(__file__).resolve().parents[1] / "docs" / "faulty-reactions.md"
DEPLOYMENT = "redis"
HEAD = """# Wrong reactions to a fault

This page is for whoever wants to know how far a verdict of `kernel-lab run --fault` can be trusted. It lists kernels
that are right as long as nothing breaks, and react wrongly to one fault. Each ran on a real stack (one worker, one
Redis) under that fault. A reaction counts as caught if its claim was judged invalid with one of the anomalies that it
must show. The right kernel ran under the same faults and must not be accused. A reaction in the mode `closed` refuses
what is good, so it violates its claim and lets nobody in. `make teeth-faults` does all this in about ten minutes. It
ends with an error if a reaction was missed or the right kernel was accused, and it writes this page.

"""


@dataclass(frozen=True, kw_only=True)
class Caught:
    """The result for one reaction."""

    reaction: Reaction
    mode: str
    found: str
    missed: str
    """Why it was not caught; empty where it was."""


def suffer(
    scenarios: Sequence[str], fault: str, env: Mapping[str, str], kernel: str = ""
) -> dict[str, FaultRow]:
    """Run some claims on one stack under one fault, and return the rows by claim."""
    here = str(Path(__file__).resolve().parents[1])
    path = os.pathsep.join(filter(None, (here, os.environ.get("PYTHONPATH"))))
    told = {"LAB_KERNEL": kernel, "LAB_TELL": "settings", "PYTHONPATH": path} if kernel else {}
    with tempfile.TemporaryDirectory(prefix="teeth-") as folder:
        plan = Plan(
            name="teeth-faults",
            folder=RunFolder(Path(folder) / "run"),
            deployments=[_one_worker()],
            scenarios=[registry.scenarios()[name] for name in scenarios],
            policies=[Policy.FRESH],
            seed=1,
            quick=True,
            env={**registry.settings(quick=True), **env, **told},
        )
        plan.folder.create()
        run = FaultRun(
            plan=plan_under_faults(plan),
            faults=[registry.faults()[fault]],
            open_stack=open_native,
            progress=Quiet(),
        )
        return {row.result.scenario: row for row in asyncio.run(run.run())}


def _one_worker() -> Deployment:
    return msgspec.structs.replace(registry.deployments()[DEPLOYMENT], workers=1)


def catch(name: str) -> Caught:
    """Run one reaction, and say whether it was caught."""
    reaction = REACTIONS[name]
    row = suffer([reaction.breaks], reaction.fault, reaction.env, reaction.factory)[reaction.breaks]
    broke = row.effect.broke.split()
    missed = ""
    if row.result.validity is not Validity.INVALID:
        missed = f"judged {row.result.validity} {row.result.reason}".rstrip()
    elif not reaction.kinds & set(broke):
        missed = f"found {' '.join(broke)}, and none of {' '.join(sorted(reaction.kinds))}"
    return Caught(reaction=reaction, mode=row.effect.mode, found=" ".join(broke), missed=missed)


def accuse(reactions: Iterable[Reaction]) -> tuple[int, list[str]]:
    """Run the right kernel under every fault and setting of some reactions: the number of cells, and what was said
    against them."""
    asked: dict[tuple[str, tuple[str, ...]], tuple[list[str], Mapping[str, str]]] = {}
    for one in reactions:
        claims, _ = asked.setdefault((one.fault, one.alone), ([], one.env))
        if one.breaks not in claims:
            claims.append(one.breaks)
    cells, accused = 0, []
    for (fault, _), (claims, env) in asked.items():
        for claim, row in suffer(claims, fault, env).items():
            cells += 1
            if row.result.validity is not Validity.VALID:
                accused.append(
                    f"{claim} under {fault}: {row.result.validity}: {row.effect.broke or row.result.reason}"
                )
    return cells, accused


def page(caught: Sequence[Caught], cells: int, accused: Sequence[str]) -> str:
    """``docs/faulty-reactions.md``."""
    hit = sum(not one.missed for one in caught)
    lines = [
        f"**{hit} of {len(caught)} caught. {len(accused)} of {cells} right cells accused.**", "",
        "| Reaction | What is wrong | Fault | Claim | Caught as | Mode |", "|---|---|---|---|---|---|",
    ]  # fmt: skip
    for one in caught:
        about = one.reaction
        told = f"**missed**: {one.missed}" if one.missed else f"`{one.found}`"
        claim = about.breaks.replace("_", " ")
        lines.append(f"| {about.title} | {about.wrong} | `{about.fault}` | {claim} | {told} | {one.mode} |")
    return HEAD + "\n".join([*lines, ""])


def main(arguments: Sequence[str] | None = None) -> int:
    """Run every reaction, or those that are named; write the page when all were run."""
    parser = argparse.ArgumentParser(prog="make teeth-faults", description="Catch wrong reactions to faults.")
    parser.add_argument(
        "names", nargs="*", metavar="REACTION", help="a reaction's name; all if none is given"
    )
    parser.add_argument("--no-right", action="store_true", help="the right kernel is not run")
    given = parser.parse_args(arguments)
    if wrong := sorted(set(given.names) - set(REACTIONS)):
        parser.error(f"no reaction is named {wrong[0]}; the names are {', '.join(REACTIONS)}")
    caught = []
    for name in given.names or REACTIONS:
        caught.append(one := catch(name))
        told = f"MISSED: {one.missed}" if one.missed else one.found
        print(f"{name:45} {one.reaction.fault:12} {one.mode or '-':8} {told}", flush=True)
    names = given.names or REACTIONS
    cells, accused = (0, []) if given.no_right else accuse(REACTIONS[name] for name in names)
    for said in accused:
        print(f"ACCUSED: {said}")
    if not given.names and not given.no_right:
        PAGE.write_text(page(caught, cells, accused), encoding="utf-8")
    hit = sum(not one.missed for one in caught)
    print(f"{hit} of {len(caught)} caught; {len(accused)} of {cells} right cells accused")
    return 0 if hit == len(caught) and not accused else 1


if __name__ == "__main__":
    sys.exit(main())
