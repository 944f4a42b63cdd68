"""Findings: what a checker has found in a history, and how that becomes a verdict.

A checker's ``judge`` is a pure function of history and cell. It adds up measures and names every way in which
the claim was broken, with the operations that prove it. `conclude` makes a `Verdict` of that: it counts all,
keeps the first of each kind, and shrinks one of them to its smallest counter-example.

**Smallest** means: judged alone, the operations still break the claim in the same way, and leaving out any
one of them they do not. In the same way, because a claim can be broken by what is *not* there: leave the
revoke out, and the refusal that followed it was asked for by nobody.
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
"""Anomalies of one kind that a verdict names; the measures count all of them."""
SMALL = 6
"""Operations a person can follow: a counter-example of that size is preferred to the first that was found."""
TOLD = 1000
"""A counter-example of more operations than that is of use to nobody, and left out."""
JUDGED_AGAIN = 20
"""Steps that it takes to judge an operation once more, searches not counted: they count their own."""


class Finding(NamedTuple):
    """One way in which the claim was broken; the operations alone break it too."""

    kind: str
    message: str
    operations: tuple[AnyOperation, ...]


@dataclass(slots=True)
class Findings:
    """All that was found: counted all, kept the first of each kind."""

    counts: Counter[str] = field(default_factory=Counter)
    kept: dict[str, list[Finding]] = field(default_factory=dict)

    def add(
        self, kind: str, operations: Sequence[AnyOperation], say: Callable[..., str], *facts: Any
    ) -> None:
        """One more; ``say(*facts)`` is called only if its message will be kept."""
        self.counts[kind] += 1
        kept = self.kept.setdefault(kind, [])
        if len(kept) < KEPT:
            kept.append(Finding(kind, say(*facts), tuple(operations)))


@dataclass(slots=True)
class Judgement:
    """What a checker has to say: measures, findings, and why it can say no more."""

    measures: dict[str, Measure]
    found: Findings
    unknown: str = ""
    """Why the claim is neither broken nor shown to hold; empty where it was judged."""
    small: int = SMALL
    """How many operations a counter-example of the first kind may well have."""


Judge = Callable[[Sequence[AnyOperation], Cell], Judgement]


class Unjudgeable(Exception):  # noqa: N818 - it names a thing
    """What the checker must know is not in ``cell.json``; the message says what."""


class Checker(Protocol):
    """A module of this package: one claim."""

    CLAIM: str
    JUDGES: frozenset[str]
    """The kinds of operation the claim is about."""

    def lacks(self, op: AnyOperation) -> str | None:
        """What the checker needs of an operation that is ok, and does not find."""
        ...

    def check(self, history: Sequence[AnyOperation], cell: Cell) -> Verdict:
        """The verdict on a history."""
        ...


def conclude(
    claim: str, kinds: Sequence[str], judge: Judge, history: Sequence[AnyOperation], cell: Cell
) -> Verdict:
    """Judge a history within one budget of work. `kinds` are the ways to break it, the gravest first."""
    with budget(len(history)) as work:
        try:
            judged = judge(history, cell)
        except (Unjudgeable, CutOff) as why:
            return Verdict(claim=claim, validity=Validity.UNKNOWN, reason=str(why))
        return _verdict(claim, kinds, judge, judged, cell, work)


def _verdict(
    claim: str, kinds: Sequence[str], judge: Judge, judged: Judgement, cell: Cell, work: Work
) -> Verdict:
    """Make the verdict of what was found."""
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
    """The operations, in the order in which they were called."""
    return sorted(operations, key=lambda op: (op.call_ns, op.index))


def smallest(finding: Finding, judge: Judge, cell: Cell, work: Work) -> list[AnyOperation]:
    """Return the finding's operations without those that it does not take.

    Ever smaller parts are left out, and what is left is judged again. When the budget of work is spent, what
    is left by then is returned: it is a proof, and a smaller one may exist.
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
