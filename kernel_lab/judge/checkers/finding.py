"""Findings: the anomalies that a checker has found in a history, and how a verdict is made from them.

A checker's ``judge`` is a pure function of history and cell. It computes measures and reports every way in which the
claim was broken, with the operations that prove it. `conclude` makes a `Verdict` from these: it counts all findings,
keeps the first of each kind, and shrinks one of them to its smallest counter-example.

A counter-example is **smallest** if it breaks the claim in the same way when it is judged alone, and if it no longer
does so once any one of its operations is left out. It must be the same way, because an absent operation can break a
claim too: without the revoke, the refusal that followed it would be a different anomaly.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple, Protocol

from kernel_lab.judge.checkers.story import tell
from kernel_lab.judge.history import AnyOperation, to_line
from kernel_lab.judge.verdict import Anomaly, Cell, Measure, Validity, Verdict
from kernel_lab.judge.work import CutOff, Work, budget, spend

KEPT = 20
"""The number of anomalies of one kind that a verdict names. The measures count all of them."""
SMALL = 6
"""The number of operations that a person can follow. A counter-example of this size is preferred to the first one
found."""
TOLD = 1000
"""A counter-example with more operations than this helps no reader, and is left out."""
JUDGED_AGAIN = 20
"""The steps of work for judging one operation again. Searches are not included, because they count their own steps."""


class Finding(NamedTuple):
    """One way in which the claim was broken. Its operations alone break the claim too."""

    kind: str
    message: str
    operations: tuple[AnyOperation, ...]


@dataclass(slots=True)
class Findings:
    """All findings: every one is counted, and the first of each kind are kept."""

    counts: Counter[str] = field(default_factory=Counter)
    kept: dict[str, list[Finding]] = field(default_factory=dict)

    def add(
        self, kind: str, operations: Sequence[AnyOperation], say: Callable[..., str], *facts: Any
    ) -> None:
        """Add one finding. ``say(*facts)`` is called only if its message will be kept."""
        self.counts[kind] += 1
        kept = self.kept.setdefault(kind, [])
        if len(kept) < KEPT:
            kept.append(Finding(kind, say(*facts), tuple(operations)))


@dataclass(slots=True)
class Judgement:
    """The result of a checker: its measures, its findings, and why it can say no more."""

    measures: dict[str, Measure]
    found: Findings
    unknown: str = ""
    """Why the claim is neither shown to be broken nor shown to hold; empty where it was judged."""
    small: int = SMALL
    """The number of operations that a good counter-example of the first kind may have."""


Judge = Callable[[Sequence[AnyOperation], Cell], Judgement]


class Unjudgeable(Exception):  # noqa: N818 - it names a thing
    """A fact that the checker needs is not in ``cell.json``. The message names it."""


class Checker(Protocol):
    """A module of this package, which judges one claim."""

    CLAIM: str
    JUDGES: frozenset[str]
    """The kinds of operation that the claim is about."""

    def lacks(self, op: AnyOperation) -> str | None:
        """Return the missing field that the checker needs of an ok operation; None if none is missing."""
        ...

    def check(self, history: Sequence[AnyOperation], cell: Cell) -> Verdict:
        """Return the verdict on a history."""
        ...


def conclude(
    claim: str, kinds: Sequence[str], judge: Judge, history: Sequence[AnyOperation], cell: Cell
) -> Verdict:
    """Judge a history within one budget of work. `kinds` are the kinds of anomaly, the most severe first."""
    with budget(len(history)) as work:
        try:
            judged = judge(history, cell)
        except (Unjudgeable, CutOff) as why:
            return Verdict(claim=claim, validity=Validity.UNKNOWN, reason=str(why))
        return _verdict(claim, kinds, judge, judged, cell, work)


def _verdict(
    claim: str, kinds: Sequence[str], judge: Judge, judged: Judgement, cell: Cell, work: Work
) -> Verdict:
    """Make the verdict from the judgement."""
    measures = {**judged.measures, "anomalies": judged.found.counts.total()}
    found = [finding for kind in kinds for finding in judged.found.kept.get(kind, ())]
    if not found:
        validity = Validity.UNKNOWN if judged.unknown else Validity.VALID
        return Verdict(claim=claim, validity=validity, measures=measures, reason=judged.unknown)
    told = min(
        found, key=lambda f: (len(f.operations) > judged.small, kinds.index(f.kind), len(f.operations))
    )
    proof = smallest(told, judge, cell, work)
    reason = judged.unknown
    if len(proof) > TOLD:
        reason, proof = f"the smallest counter-example found has {len(proof)} operations", []
    return Verdict(
        claim=claim,
        validity=Validity.INVALID,
        measures=measures,
        reason=reason,
        anomalies=tuple(
            Anomaly(
                kind=finding.kind,
                message=finding.message,
                operations=tuple(op.index for op in in_order(finding.operations)),
            )
            for finding in found
        ),
        counterexample=tuple(to_line(op) for op in proof),
        story=tell(proof),
    )


def in_order(operations: Sequence[AnyOperation]) -> list[AnyOperation]:
    """Return the operations in the order in which they were called."""
    return sorted(operations, key=lambda op: (op.call_ns, op.index))


def smallest(finding: Finding, judge: Judge, cell: Cell, work: Work) -> list[AnyOperation]:
    """Return the finding's operations without those that its proof does not need.

    Smaller and smaller parts are left out, and the rest is judged again. When the budget of work is spent, the
    operations that are left by then are returned. They are a proof, and a smaller proof may exist.
    """

    def broken(operations: list[AnyOperation]) -> bool:
        try:
            spend(JUDGED_AGAIN * len(operations), "the search for a smaller counter-example")
            return finding.kind in judge(operations, cell).found.counts
        except (Unjudgeable, CutOff):
            return False

    proof = in_order(finding.operations)
    part = max(1, len(proof) // 2)
    while True:
        before = len(proof)
        at = 0
        while at < len(proof) and work.left:
            without = proof[:at] + proof[at + part :]
            if without and broken(without):
                proof = without
            else:
                at += part
        if not work.left or (part == 1 and len(proof) == before):
            return proof
        part = max(1, part // 2)
