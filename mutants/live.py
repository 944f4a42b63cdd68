"""A sample of the mutants under gunicorn: real processes and sockets, the real clock. And right ones too."""

from __future__ import annotations

import asyncio
import os
import tempfile
from collections.abc import Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from pathlib import Path

from kernel_lab.deployments import AppSpec, NativeStack
from kernel_lab.deployments.deployment import Deployment
from kernel_lab.deployments.live import Live
from kernel_lab.judge.verdict import Validity
from kernel_lab.run import judging as judge
from kernel_lab.run import registry
from kernel_lab.run.folder import RunFolder
from kernel_lab.run.plan import Plan
from kernel_lab.run.results import CellResult
from kernel_lab.run.scenario import Scenario
from kernel_lab.run.schedule import run
from kernel_lab.traffic.connections import Policy
from mutants.bite import Bite, taste
from mutants.catalogue import ALL, SIMULATED
from mutants.mutant import Home, Mutant

SAMPLE = (
    "secret_per_worker", "principal_unsigned", "AnybodyMayPresent", "NeverExpiring", "RejectsOneInTen",
    "ChecksThenRecords", "windows_per_worker", "OneFewer", "TenthTooLong", "FailsOpen",
    "DelayedBy150Ms", "WriteBack", "RevokesAllOfItsOwn", "RevokesTenAtMost", "RevokesSiblings",
    "FindsOneInEight", "ShowsOtherValues", "ShowsSomebodyElses", "ReadByAnybody", "NeverExpires",
    "forked_chain", "TellsAnotherPrincipal", "TellsThatItFailed", "DenialsUnrecorded", "ListsInNoOrder",
    "ChargesTwoOfThree", "NeverRefuses", "TellsAnotherTotal",
    "keeps_one_import", "imports_twice", "forgets_imports_after_a_second",
    "CountsNineOfTen", "CountsTwice",
    *(name for name in ALL if name not in SIMULATED),
)  # fmt: skip
"""Some of each claim, races among them; and those that cannot be simulated."""

DEPLOYMENTS: Mapping[Home, str] = {"single": "single", "each": "sqlite", "one": "sidecar"}
"""The real deployment for each deployment of the simulation."""

RIGHT = ("single", "sqlite", "redis", "sidecar")


@dataclass(frozen=True, kw_only=True)
class Living:
    """The results of the sample and of the right deployments."""

    bites: Sequence[Bite] = ()
    right: Sequence[CellResult] = ()

    @property
    def judged(self) -> list[CellResult]:
        """The right cells of claims that their deployment is expected to keep."""
        return [cell for cell in self.right if cell.expected is Validity.VALID]

    @property
    def accused(self) -> list[str]:
        """What was said of those of them that were not judged valid."""
        return [
            f"{cell.label} under gunicorn: {cell.validity}: {cell.first_anomaly or cell.reason}"
            for cell in self.judged
            if cell.validity is not Validity.VALID
        ]


class Quiet:
    """The deployments do not report their progress."""

    def planned(self, cells: int) -> None:
        """Not told."""

    def doing(self, what: str) -> None:
        """Not told."""

    def done(self, cell: CellResult) -> None:
        """Not told."""


def run_all() -> Living:
    """The whole sample, one stack after the other, then the right deployments."""
    bites = [run_one(name) for name in SAMPLE]
    with tempfile.TemporaryDirectory(prefix="teeth-") as folder:
        right = run_cells(Path(folder) / "run", RIGHT, list(registry.scenarios().values()), {})
    return Living(bites=bites, right=right)


def run_one(name: str) -> Bite:
    """One mutant, live."""
    mutant: Mutant = ALL[name]
    deployment = DEPLOYMENTS[mutant.home]
    here = str(Path(__file__).resolve().parents[1])
    path = os.pathsep.join(filter(None, (here, os.environ.get("PYTHONPATH"))))
    with tempfile.TemporaryDirectory(prefix="teeth-") as folder:
        run_folder = Path(folder) / "run"
        # a wrong kernel is judged by what it was asked to keep, not by what it tells of itself
        env = {**mutant.env, "LAB_KERNEL": mutant.factory, "LAB_TELL": "settings", "PYTHONPATH": path}
        (result,) = run_cells(run_folder, [deployment], [registry.scenarios()[mutant.breaks]], env)
        cell = run_folder / "cells" / mutant.breaks / f"{deployment}-{Policy.ROUND_ROBIN}"
        if not cell.exists():
            return Bite(mutant=name, missed=f"{result.validity}: {result.reason}")
        return taste(mutant, judge.judge_cell(cell)[0], cell)


def run_cells(
    folder: Path, deployments: Sequence[str], scenarios: Sequence[Scenario], env: Mapping[str, str]
) -> list[CellResult]:
    """Run these claims on these deployments, with settings over those of a run."""
    known = registry.deployments()
    plan = Plan(
        name="teeth",
        folder=RunFolder(folder),
        deployments=[known[name] for name in deployments],
        scenarios=scenarios,
        policies=[Policy.ROUND_ROBIN],
        seed=1,
        quick=True,
        env={**registry.settings(quick=True), **env},
    )
    return asyncio.run(run(plan, _open, Quiet()))


def _open(deployment: Deployment, env: dict[str, str], logs: Path) -> AbstractAsyncContextManager[Live]:
    return NativeStack(deployment, app=AppSpec(root=registry.root()), folder=logs, env=env)
