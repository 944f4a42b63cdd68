"""``kernel-lab rebuild``: the CSVs and the page of a run that was interrupted, from the cells that it left.

Each cell that was recorded is judged again and predicted from its probe. A row of an older CSV whose cell has no folder
is kept: a skipped cell was never recorded.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import msgspec

from kernel_lab.judge.history import MalformedHistory, read_history
from kernel_lab.judge.verdict import Cell, Validity, Verdict
from kernel_lab.run import environment, prediction, registry
from kernel_lab.run.folder import CellFolder, NotARun, RunFolder
from kernel_lab.run.judging import judge_path
from kernel_lab.run.results import CellResult, with_verdict, write_csvs
from kernel_lab.run.saved import NotASavedRun, SavedCell, read_run


@dataclass(frozen=True, slots=True, kw_only=True)
class Rebuilt:
    """The files that were made again from the rest of a run."""

    judged: int
    kept: int
    """Rows without a folder, kept from the older CSVs."""
    about_was_missing: bool
    """``environment.json`` was not there, or could not be read."""


def rebuild(path: Path) -> Rebuilt:
    """Write the CSVs of a run from the cells in its folder.

    Raises:
        NotARun: It has no cell.
    """
    folder = RunFolder(path)
    if CellFolder(path).exists():
        raise NotARun(f"{path}: is one cell; name the folder of its run")
    rows = [_row(path.name, *one) for one in judge_path(path) if one[0].path.is_dir()]
    kept = _kept(path, rows)
    write_csvs(folder, [*rows, *kept], registry.scenarios().values())
    try:
        folder.read_environment()
    except NotARun:
        folder.write_environment({**environment.describe(registry.checkout()), "rebuilt": True})
        return Rebuilt(judged=len(rows), kept=len(kept), about_was_missing=True)
    return Rebuilt(judged=len(rows), kept=len(kept), about_was_missing=False)


def _row(run: str, folder: CellFolder, cell: Cell, verdicts: list[Verdict]) -> CellResult:
    facts = cell.deployment
    row = CellResult(
        run=run,
        scenario=cell.scenario,
        deployment=facts.name,
        state=facts.state,
        workers=facts.workers or 1,
        replicas=facts.replicas or 1,
        routing=facts.routing,
        connections=cell.connections,
        fault=cell.fault or "",
        seed=cell.seed or 0,
        expected=cell.expected,
    )
    folder.write_verdict(verdicts)
    try:
        probe = read_history(folder.probe) if folder.probe.exists() else []
        called = [*read_history(folder.history), *probe]
    except (MalformedHistory, NotARun):
        return with_verdict(row, verdicts[0], {})
    scenario, deployment = registry.scenarios().get(cell.scenario), registry.deployments().get(facts.name)
    known = scenario is not None and deployment is not None
    predicted = scenario.predict(probe, deployment, cell.parameters) if known else {}  # type: ignore[union-attr, arg-type]
    if scenario is not None:
        predicted = predicted | scenario.compared({**verdicts[0].measures, **predicted})
    return msgspec.structs.replace(
        with_verdict(row, verdicts[0], predicted), shares=prediction.shares(called)
    )


def _kept(path: Path, rows: list[CellResult]) -> list[CellResult]:
    """The rows of the older CSVs whose cells have no folder; one that was judged is unknown by now."""
    try:
        saved = read_run(path).cells
    except NotASavedRun:
        return []
    judged = {(row.scenario, row.deployment, row.connections, row.fault) for row in rows}
    return [
        _of(path.name, cell)
        for cell in saved
        if (cell.scenario, cell.deployment, cell.connections, cell.fault) not in judged
    ]


def _of(run: str, cell: SavedCell) -> CellResult:
    skipped = cell.validity is Validity.SKIPPED
    return CellResult(
        run=run,
        scenario=cell.scenario,
        deployment=cell.deployment,
        state=cell.state,
        workers=cell.workers,
        replicas=cell.replicas,
        routing=cell.routing,
        connections=cell.connections,
        fault=cell.fault,
        claim=cell.scenario,
        validity=Validity.SKIPPED if skipped else Validity.UNKNOWN,
        expected=cell.expected,
        reason=cell.reason if skipped else "its folder is not there",
    )
