"""Judge: from the files of a cell to its verdicts, with no server and no clock.

A cell folder holds ``cell.json`` and ``history.jsonl`` (or ``history.jsonl.gz``); what is judged is what they
say. Assumptions come first: a history that did not meet them is unknown, with what was missing, whatever else
was found in it. A cell that was cut off is unknown. A checker that crashes is unknown, with the error. None
of these is ever valid.
"""

from __future__ import annotations

from collections.abc import Sequence
from heapq import heappop, heappush
from pathlib import Path
from typing import Any

import msgspec

from kernel_lab.judge.checkers import CHECKERS, Checker
from kernel_lab.judge.history import AnyOperation, FaultEvent, Outcome, collector_paused, read_history
from kernel_lab.judge.verdict import Assumptions, Cell, Validity, Verdict, merge

CELL, HISTORY, VERDICT = "cell.json", "history.jsonl", "verdict.json"


class NotARun(ValueError):  # noqa: N818 - it names a thing
    """A path with nothing to judge, or a cell that cannot be read; the message says what is missing."""


def judge_path(path: Path) -> list[tuple[Path, Cell, list[Verdict]]]:
    """Every cell of a run folder, or the one cell of a cell folder, in the order of their paths.

    Raises:
        NotARun: There is no cell.
        MalformedHistory: With the number of the first bad line.
    """
    return [(folder, read_cell(folder), judge_cell(folder)) for folder in cell_folders(path)]


def cell_folders(path: Path) -> list[Path]:
    """The cell folders of a run; or the folder itself, if it is a cell.

    Raises:
        NotARun: It is neither.
    """
    if (path / CELL).exists():
        return [path]
    folders = sorted(cell.parent for cell in path.glob(f"cells/*/*/{CELL}"))
    if not folders:
        missing = "no such folder" if not path.exists() else "neither a run nor a cell"
        raise NotARun(
            f"{path}: {missing}: a run has cells/<scenario>/<cell>/{CELL}, a cell has {CELL} and {HISTORY}"
        )
    return folders


def read_cell(folder: Path) -> Cell:
    """What ``cell.json`` says.

    Raises:
        NotARun: It cannot be read, or something in it is not what it should be.
    """
    path = folder / CELL
    try:
        # who writes one by hand may say null for what is not there
        said = msgspec.json.decode(path.read_bytes(), type=dict[str, Any])
        return msgspec.convert({key: value for key, value in said.items() if value is not None}, Cell)
    except (OSError, msgspec.MsgspecError) as error:
        raise NotARun(f"{path}: {error}") from None


def judge_cell(folder: Path) -> list[Verdict]:
    """The verdicts on one cell: today each scenario makes one claim.

    Raises:
        NotARun: No history, a cell that cannot be read, or a scenario that nobody can judge.
        MalformedHistory: With the number of the first bad line.
    """
    cell = read_cell(folder)
    checker = CHECKERS.get(cell.scenario)
    if checker is None:
        raise NotARun(
            f"{folder / CELL}: no checker for scenario {cell.scenario!r}; one of: {', '.join(CHECKERS)}"
        )
    with collector_paused():
        history = read_history(history_of(folder), lacks=checker.lacks)
        return [judge_history(history, cell, checker)]


def history_of(folder: Path) -> Path:
    """The history of a cell: as it was recorded, or packed for git.

    Raises:
        NotARun: It has none.
    """
    for name in (HISTORY, f"{HISTORY}.gz"):
        if (folder / name).exists():
            return folder / name
    raise NotARun(f"{folder}: no {HISTORY} beside its {CELL}")


def judge_history(history: Sequence[AnyOperation], cell: Cell, checker: Checker) -> Verdict:
    """The checker's verdict, made unknown where the history could not carry it."""
    try:
        verdict = checker.check(history, cell)
    except Exception as error:  # noqa: BLE001 - whatever a checker dies of, its cell is unknown
        return Verdict(
            claim=checker.CLAIM,
            validity=Validity.UNKNOWN,
            reason=f"the checker crashed: {type(error).__name__}: {error}",
        )
    missing = unmet(history, cell.assumptions, checker.JUDGES)
    if not cell.finished:
        missing.insert(0, "the cell was cut off while it was being recorded")
    if not missing:
        return verdict
    return msgspec.structs.replace(verdict, validity=Validity.UNKNOWN, reason="; ".join(missing))


def unmet(history: Sequence[AnyOperation], assumptions: Assumptions, judged: frozenset[str]) -> list[str]:
    """What a history lacks to be judged by: answered operations, workers that answered, calls in flight.

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
    """The most calls that were in flight at one instant, looked for until they are `enough`.

    One that never returned counts at its call alone.
    """
    ends: list[int] = []
    most = 0
    for op in sorted(operations, key=lambda op: op.call_ns):
        while ends and ends[0] < op.call_ns:
            heappop(ends)
        heappush(ends, op.call_ns if op.outcome is Outcome.INFO or op.return_ns is None else op.return_ns)
        most = max(most, len(ends))
        if most == enough:
            break
    return most


def write_verdict(folder: Path, verdicts: Sequence[Verdict]) -> None:
    """``verdict.json``: the worst validity, and every verdict with its counter-example and story."""
    written: dict[str, Any] = {"validity": merge(v.validity for v in verdicts), "verdicts": list(verdicts)}
    (folder / VERDICT).write_bytes(msgspec.json.format(msgspec.json.encode(written), indent=2) + b"\n")


def read_verdict(folder: Path) -> list[Verdict]:
    """The verdicts of ``verdict.json``."""
    written = msgspec.json.decode((folder / VERDICT).read_bytes(), type=dict[str, msgspec.Raw])
    return msgspec.json.decode(written["verdicts"], type=list[Verdict])
