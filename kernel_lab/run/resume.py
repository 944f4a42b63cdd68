"""Resume an interrupted run: keep its finished cells, judge them from disk, and run all other cells."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import msgspec

from kernel_lab.bad_input import BadInput
from kernel_lab.judge.history import MalformedHistory
from kernel_lab.run.folder import CellFolder, NotARun, RunFolder
from kernel_lab.run.judging import judge_recorded
from kernel_lab.run.plan import Plan, PlannedCell
from kernel_lab.run.results import CellResult


class Asked(msgspec.Struct, frozen=True, kw_only=True):
    """The request of a run, as ``environment.json`` keeps it under ``plan``."""

    deployments: tuple[str, ...]
    scenarios: tuple[str, ...]
    connections: tuple[str, ...]
    quick: bool
    seed: int
    kernel: str | None = None
    promises: str | None = None
    deployments_file: str | None = None
    workers: int | None = None
    replicas: int | None = None
    state: str | None = None


def read_asked(path: Path) -> tuple[Asked, dict[str, Any]]:
    """Read the request of an interrupted run, and its environment.

    Raises:
        BadInput: The folder holds no run, or a run that cannot be resumed.
    """
    try:
        about = RunFolder(path).read_environment()
    except NotARun as error:
        raise BadInput(f"--resume {path}: {error}") from None
    if "plan" not in about:
        raise BadInput(
            f"--resume {path}: its environment.json does not say what was asked for; only a run of the matrix on this "
            "machine can be resumed"
        )
    if about.get("finished"):
        raise BadInput(f"--resume {path}: this run is finished; `kernel-lab run` makes a new one")
    try:
        return msgspec.convert(about["plan"], Asked), about
    except msgspec.ValidationError as error:
        raise BadInput(
            f"--resume {path}: the plan in its environment.json cannot be read ({error})"
        ) from None


def take_over(plan: Plan) -> dict[tuple[str, str, str], CellResult]:
    """Return the rows of the finished cells, judged from disk. Remove the folders of the unfinished cells."""
    done = {}
    for cell in plan.cells:
        folder = plan.folder.cell(cell.scenario.name, cell.deployment.name, cell.policy)
        row = _finished(plan, cell, folder)
        if row is not None:
            done[cell.scenario.name, cell.deployment.name, cell.policy.value] = row
        elif folder.path.exists():
            shutil.rmtree(folder.path)
    return done


def _finished(plan: Plan, cell: PlannedCell, folder: CellFolder) -> CellResult | None:
    """Return the row of a cell whose recording is complete; None for any other cell."""
    try:
        facts = folder.read_cell()
        if not facts.finished or facts.operations is None or facts.seed != plan.seed:
            return None
        if _lines(folder.recorded) != facts.operations or not folder.probe.exists():
            return None
        return judge_recorded(folder, plan.unjudged(cell), cell)
    except (NotARun, MalformedHistory, OSError):
        return None


def _lines(path: Path) -> int:
    with path.open("rb") as file:
        return sum(line.endswith(b"\n") for line in file)


def asked_of(plan: Plan, **files: Any) -> dict[str, Any]:
    """Return the part of a plan that ``environment.json`` keeps, so that the run can be resumed."""
    return {
        "deployments": [one.name for one in plan.deployments],
        "scenarios": [one.name for one in plan.scenarios],
        "connections": [policy.value for policy in plan.policies],
        "quick": plan.quick,
        "seed": plan.seed,
        **{name: str(value) if isinstance(value, Path) else value for name, value in files.items()},
    }
