"""Judging a saved cell: from the files of its folder to its verdicts, with no server and no clock.

Three things make a verdict unknown. A history from which operations may be missing is unknown whatever the checker
found, because a missing operation could explain an anomaly. A history that is whole, but in which too few workers
answered, too few operations were made, too few calls overlapped, or the cell did not end, cannot be valid. A violation
that it proves stays one. A checker that crashes leaves its cell unknown, with the error.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Sequence
from pathlib import Path

import msgspec

from kernel_lab.judge.checkers import Checker
from kernel_lab.judge.evidence import untried
from kernel_lab.judge.history import (
    AnyOperation,
    FaultEvent,
    MalformedHistory,
    Outcome,
    collector_paused,
    cut_line,
    read_history,
)
from kernel_lab.judge.overlap import most_at_once
from kernel_lab.judge.verdict import Assumptions, Cell, DeploymentFacts, Validity, Verdict
from kernel_lab.redaction import told
from kernel_lab.replay.script import write_replay
from kernel_lab.run import prediction, registry
from kernel_lab.run.folder import CellFolder, NotARun, RunFolder, read_whole
from kernel_lab.run.plan import PlannedCell
from kernel_lab.run.results import CellResult, with_verdict
from kernel_lab.run.scenario import Scenario


def judge_path(path: Path) -> list[tuple[CellFolder, Cell, list[Verdict]]]:
    """Judge every cell of a run folder, or the one cell of a cell folder, in the order of their paths.

    A cell of a run that cannot be judged is unknown, and the others are judged.

    Raises:
        NotARun: There is no cell, or the one cell cannot be read.
        MalformedHistory: The history of the one cell cannot be read; with the number of the first bad line.
    """
    folders = cell_folders(path)
    if folders == [CellFolder(path)]:
        return [(folders[0], folders[0].read_cell(), judge_cell(folders[0]))]
    return [*(_judge_or_say(folder) for folder in folders), *_gone(RunFolder(path), folders)]


def _gone(run: RunFolder, there: Sequence[CellFolder]) -> list[tuple[CellFolder, Cell, list[Verdict]]]:
    """The cells that ``verdicts.csv`` names and whose folders are not there: they are unknown."""
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
    """One cell of a run; one that cannot be judged is unknown, with the reason."""
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
        NotARun: It is neither.
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
    """The verdicts on one cell: today each scenario makes one claim.

    Args:
        folder: The cell's folder.
        scenario: Whose checker judges; without one, the installed scenario that the cell names.

    Raises:
        NotARun: No history, a cell that cannot be read, or a scenario that nobody can judge.
        MalformedHistory: With the number of the first bad line.
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


def not_valid(verdict: Verdict, why: str) -> Verdict:
    """The verdict, made unknown with a reason; an invalid verdict stays invalid, because its violation is proven."""
    validity = Validity.INVALID if verdict.validity is Validity.INVALID else Validity.UNKNOWN
    reason = "; ".join(filter(None, (why, verdict.reason)))
    return msgspec.structs.replace(verdict, validity=validity, reason=reason)


def judge_recorded(
    folder: CellFolder, unjudged: CellResult, planned: PlannedCell, error: str = ""
) -> CellResult:
    """Judge a recorded cell from disk, predict it from its probe, and return its row.

    Args:
        folder: The cell's folder.
        unjudged: Its row so far.
        planned: What was run.
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


def judge_history(
    history: Sequence[AnyOperation], cell: Cell, checker: Checker, *, damaged: str = ""
) -> Verdict:
    """The checker's verdict; unknown if the history is not complete enough for it.

    Args:
        history: What was recorded.
        cell: What the checker must know.
        checker: Who judges.
        damaged: Why the files are not as they were recorded; empty if they are.
    """
    try:
        verdict = checker.check(history, cell)
    except Exception as error:  # noqa: BLE001 - whatever a checker dies of, its cell is unknown
        return Verdict(
            claim=checker.CLAIM,
            validity=Validity.UNKNOWN,
            reason=f"the checker crashed: {told(error)}",
        )
    if missing := [*filter(None, [damaged]), *incomplete(history, cell)]:
        return msgspec.structs.replace(verdict, validity=Validity.UNKNOWN, reason="; ".join(missing))
    if verdict.validity is Validity.INVALID:
        return verdict
    missing = unmet(history, cell.assumptions, checker.JUDGES)
    if verdict.validity is Validity.VALID and (nothing := untried(checker.CLAIM, history)):
        missing.insert(0, nothing)
    if not cell.finished:
        missing.insert(0, CUT_OFF)
    if not missing:
        return verdict
    return msgspec.structs.replace(verdict, validity=Validity.UNKNOWN, reason="; ".join(missing))


CUT_OFF = "the cell was cut off while it was being recorded"


def incomplete(history: Sequence[AnyOperation], cell: Cell) -> list[str]:
    """The reasons why operations may be missing from the recording, one sentence each.

    A cell that broke off says how many operations it recorded, so a missing one is noticed. A cell that was killed does
    not say it, and calls that were under way at its end are not in its history.
    """
    missing = []
    if cell.fault and not any(
        isinstance(op, FaultEvent) and op.f == f"fault.{cell.fault}" and op.outcome is Outcome.OK
        for op in history
    ):
        missing.append(f"the fault {cell.fault} did not land")
    if not cell.finished and cell.operations is None:
        missing.append(CUT_OFF)
    if cell.operations is not None and len(history) != cell.operations:
        missing.append(f"{len(history)} of the {cell.operations} operations that were recorded are there")
    return missing


def unmet(history: Sequence[AnyOperation], assumptions: Assumptions, judged: frozenset[str]) -> list[str]:
    """The assumptions that a history does not meet: answered operations, workers that answered, calls in flight.

    Only the kinds of operation that the claim is about count.
    """
    if assumptions == Assumptions():
        return []
    about = [op for op in history if op.f in judged and not isinstance(op, FaultEvent)]
    answered = [op for op in about if op.outcome is not Outcome.INFO]
    missing = []
    if assumptions.min_operations is not None and len(answered) < assumptions.min_operations:
        missing.append(
            f"{len(answered)} of the {assumptions.min_operations} operations it takes were answered"
        )
    workers = {op.worker for op in answered if op.worker is not None}
    if assumptions.min_workers is not None and len(workers) < assumptions.min_workers:
        missing.append(f"{len(workers)} of the {assumptions.min_workers} workers it takes answered")
    if assumptions.min_overlap is not None:
        overlap = most_in_flight(about, enough=assumptions.min_overlap)
        if overlap < assumptions.min_overlap:
            missing.append(
                f"{overlap} of the {assumptions.min_overlap} calls it takes were in flight at once"
            )
    return missing


def most_in_flight(operations: Sequence[AnyOperation], *, enough: int | None = None) -> int:
    """The largest number of calls that were in flight at one instant; the search stops at `enough`.

    A call that never returned counts only at the instant of its call.
    """
    spans = (
        (op.call_ns, op.call_ns if op.outcome is Outcome.INFO or op.return_ns is None else op.return_ns)
        for op in operations
    )
    return most_at_once(spans, enough=enough)
