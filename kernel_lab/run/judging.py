"""Judge a saved cell: read the files of its folder and return its verdicts, with no server and no clock.

`kernel_lab.judge.completeness` says what makes a verdict unknown. This module reads a cell and writes the verdicts
into the cell's folder.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Sequence
from pathlib import Path

import msgspec

from kernel_lab.judge.completeness import judge_history, not_valid
from kernel_lab.judge.history import MalformedHistory, collector_paused, cut_line, read_history
from kernel_lab.judge.verdict import Cell, DeploymentFacts, Validity, Verdict
from kernel_lab.replay.script import replay_of
from kernel_lab.replay.story import NoStory
from kernel_lab.run import prediction, registry
from kernel_lab.run.folder import CellFolder, NotARun, RunFolder, read_whole, write_whole
from kernel_lab.run.plan import PlannedCell
from kernel_lab.run.results import CellResult, with_verdict
from kernel_lab.run.scenario import Scenario


def judge_path(path: Path) -> list[tuple[CellFolder, Cell, list[Verdict]]]:
    """Judge every cell of a run folder, or the one cell of a cell folder, in the order of their paths.

    A cell of a run that cannot be judged is unknown. The other cells of the run are judged all the same.

    Raises:
        NotARun: There is no cell, or the one cell cannot be read.
        MalformedHistory: The history of the one cell cannot be read. The message has the number of the first bad line.
    """
    folders = cell_folders(path)
    if folders == [CellFolder(path)]:
        return [(folders[0], folders[0].read_cell(), judge_cell(folders[0]))]
    return [*(_judge_or_say(folder) for folder in folders), *_gone(RunFolder(path), folders)]


def _gone(run: RunFolder, there: Sequence[CellFolder]) -> list[tuple[CellFolder, Cell, list[Verdict]]]:
    """Return the cells that ``verdicts.csv`` names and that have no folder. Their verdicts are unknown."""
    try:
        text = read_whole(run.table("verdicts")).decode()
        named = [
            (row["scenario"], row["deployment"], row["connections"], row["fault"])
            for row in csv.DictReader(io.StringIO(text, newline=""))
            if row["validity"] != Validity.SKIPPED
        ]
        folders = [(run.cell(*place), place) for place in named]
    except (OSError, ValueError, KeyError, TypeError, AttributeError, csv.Error):
        return []  # an interrupted run has no such file, and a damaged file cannot be read
    return [
        (
            folder,
            Cell(scenario=place[0], deployment=DeploymentFacts(name=place[1]), connections=place[2]),
            [Verdict(claim=place[0], validity=Validity.UNKNOWN, reason=f"{folder.path}: is not there")],
        )
        for folder, place in folders
        if folder not in there and not folder.path.exists()
    ]


def _judge_or_say(folder: CellFolder) -> tuple[CellFolder, Cell, list[Verdict]]:
    """Judge one cell of a run. If it cannot be judged, its verdict is unknown, and the reason is given."""
    named = folder.path.name
    cell = Cell(scenario=folder.path.parent.name, deployment=DeploymentFacts(name=named))
    try:
        cell = folder.read_cell()
        return folder, cell, judge_cell(folder)
    except (NotARun, MalformedHistory, OSError) as error:
        said = f"{folder.path}: it cannot be judged: {str(error).removeprefix(f'{folder.path}: ')}"
        return folder, cell, [Verdict(claim=cell.scenario, validity=Validity.UNKNOWN, reason=said)]


def cell_folders(path: Path) -> list[CellFolder]:
    """The cell folders of a run; or the folder itself, if it is a cell.

    Raises:
        NotARun: The folder is neither a run nor a cell.
    """
    if CellFolder(path).exists():
        return [CellFolder(path)]
    folders = list(RunFolder(path).cells())
    if not folders:
        missing = "no such folder" if not path.exists() else "neither a run nor a cell"
        raise NotARun(
            f"{path}: {missing}: a run has cells/<scenario>/<cell>/cell.json, a cell has cell.json and "
            "history.jsonl"
        )
    return folders


def judge_cell(folder: CellFolder | Path, scenario: Scenario | None = None) -> list[Verdict]:
    """Judge one cell, and return its verdicts. Today each scenario makes one claim.

    Args:
        folder: The cell's folder.
        scenario: The scenario whose checker judges. If it is None, the installed scenario that the cell names.

    Raises:
        NotARun: There is no history, the cell cannot be read, or the scenario is not installed.
        MalformedHistory: A line of the history is wrong. The message has the number of the first bad line.
    """
    folder = CellFolder(folder) if isinstance(folder, Path) else folder
    cell = folder.read_cell()
    known = registry.scenarios() if scenario is None else {scenario.name: scenario}
    if cell.scenario not in known:
        raise NotARun(
            f"{folder.facts}: no scenario {cell.scenario!r} is installed; one of: {', '.join(known)}"
        )
    judged = known[cell.scenario]
    with collector_paused():
        history = read_history(folder.history, lacks=judged.checker.lacks)
        why = "; ".join(filter(None, (cut_line(folder.history), folder.damage())))
        verdict = judge_history(history, cell, judged.checker, damaged=why)
    strangers = judged.undeclared(verdict.measures)
    if strangers:
        said = f"the checker returned the measure {strangers[0]!r}, which the scenario does not declare"
        verdict = not_valid(verdict, said)
    return [verdict]


def judge_recorded(
    folder: CellFolder, unjudged: CellResult, planned: PlannedCell, error: str = ""
) -> CellResult:
    """Judge a recorded cell from disk, predict it from its probe, and return its row.

    Args:
        folder: The cell's folder.
        unjudged: The cell's row before it has a verdict.
        planned: The cell as it was planned.
        error: Why the cell broke off. The files say only that it was cut off.
    """
    verdicts = judge_cell(folder, planned.scenario)
    if error:
        verdicts = [not_valid(verdict, error) for verdict in verdicts]
    folder.write_verdict(verdicts)
    write_replay(folder, folder.read_cell(), verdicts, planned.scenario.claim)
    probe = read_history(folder.probe)
    predicted = planned.scenario.predict(probe, planned.deployment, folder.read_cell().parameters)
    if predicted:
        folder.write_prediction(predicted)
    told = predicted | planned.scenario.compared({**verdicts[0].measures, **predicted})
    result = with_verdict(unjudged, verdicts[0], told)
    shares = prediction.shares([*read_history(folder.recorded), *probe])
    return msgspec.structs.replace(result, shares=shares)


def write_replay(folder: CellFolder, cell: Cell, verdicts: Sequence[Verdict], claim: str) -> str:
    """Write ``replay.py`` beside an invalid verdict. If that cannot be done, say why.

    An older ``replay.py`` is removed in any case, because it would reproduce another verdict.
    """
    folder.replay.unlink(missing_ok=True)
    broken = next((one for one in verdicts if one.validity is Validity.INVALID), None)
    if broken is None:
        return ""
    try:
        text = replay_of(folder.history, cell, broken, claim)
    except NoStory as why:
        return str(why)
    write_whole(folder.replay, text.encode())
    return ""
