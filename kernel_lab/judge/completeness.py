"""The verdict of a checker on a history, made unknown where the history is not enough for it. It reads no file.

A verdict becomes unknown for three reasons. A history from which operations may be missing is unknown whatever
the checker found, because a missing operation could explain an anomaly. A history that is whole, but in which
too few workers answered, too few operations were made, too few calls overlapped, or the cell did not end,
cannot be valid. A violation that it proves stays one. A checker that crashes leaves its cell unknown, with the
error.
"""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

from kernel_lab.judge.checkers import Checker
from kernel_lab.judge.evidence import untried
from kernel_lab.judge.history import AnyOperation, FaultEvent, Outcome
from kernel_lab.judge.overlap import most_at_once
from kernel_lab.judge.verdict import Assumptions, Cell, Validity, Verdict
from kernel_lab.redaction import told


def not_valid(verdict: Verdict, why: str) -> Verdict:
    """The verdict, made unknown with a reason; an invalid verdict stays invalid, because its violation is proven."""
    validity = Validity.INVALID if verdict.validity is Validity.INVALID else Validity.UNKNOWN
    reason = "; ".join(filter(None, (why, verdict.reason)))
    return msgspec.structs.replace(verdict, validity=validity, reason=reason)


def judge_history(
    history: Sequence[AnyOperation], cell: Cell, checker: Checker, *, damaged: str = ""
) -> Verdict:
    """The checker's verdict; unknown if the history is not complete enough for it.

    Args:
        history: What was recorded.
        cell: What the checker must know.
        checker: Who judges.
        damaged: Why the files differ from the recorded ones; empty if they do not differ.
    """
    try:
        verdict = checker.check(history, cell)
    except Exception as error:  # noqa: BLE001 - after any error of a checker its cell is unknown
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

    A cell that broke off says how many operations it recorded, so a missing one is noticed. A cell that was
    killed does not say this number, and its history lacks the calls that were under way when it ended.
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
