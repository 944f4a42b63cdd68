"""The functions for scripts: measure a deployment, and judge a saved run again."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from kernel_lab.bad_input import BadInput
from kernel_lab.judge.history import MalformedHistory
from kernel_lab.judge.verdict import Cell, Verdict
from kernel_lab.run import environment, judging, registry
from kernel_lab.run.folder import NotARun
from kernel_lab.run.native import open_native
from kernel_lab.run.plan import plan_of
from kernel_lab.run.results import CellResult
from kernel_lab.run.saved import SavedRun, read_run
from kernel_lab.run.schedule import run


@dataclass(frozen=True, slots=True, kw_only=True)
class Judged:
    """One cell, judged again."""

    folder: Path
    cell: Cell
    verdicts: tuple[Verdict, ...]


class _Silent:
    def planned(self, cells: int) -> None:
        pass

    def doing(self, what: str) -> None:
        pass

    def done(self, cell: CellResult) -> None:
        pass


def measure(
    *,
    deployments: Sequence[str] = (),
    scenarios: Sequence[str] = (),
    connections: Sequence[str] = (),
    quick: bool = False,
    seed: int = 1,
    kernel: str | None = None,
    out: str | Path | None = None,
) -> SavedRun:
    """Run a matrix on this machine and return what was measured; the arguments are those of ``kernel-lab run``.

    Raises:
        BadInput: A name is not known, or `out` cannot be used.
    """
    plan = plan_of(
        deployments,
        scenarios,
        connections,
        quick=quick,
        seed=seed,
        out=Path(out) if out else None,
        kernel=kernel,
    )
    try:
        plan.folder.create()
    except NotARun as error:
        raise BadInput(str(error)) from None
    about = environment.describe(registry.checkout())
    about |= {"arguments": sys.argv[1:], "quick": quick, "seed": seed, "settings": plan.env}
    plan.folder.write_environment(about)
    asyncio.run(run(plan, open_native, _Silent()))
    return read_run(plan.folder.path)


def check(path: str | Path) -> list[Judged]:
    """Judge a saved run, or the folder of one cell, again; it needs no server.

    Raises:
        BadInput: The path holds nothing that can be judged.
    """
    try:
        return [
            Judged(folder=folder.path, cell=cell, verdicts=tuple(verdicts))
            for folder, cell, verdicts in judging.judge_path(Path(path))
        ]
    except (NotARun, MalformedHistory) as error:
        raise BadInput(str(error)) from None
