"""No two grants return the same token.

**Legal.** Every grant that is ok returns a ``token_id`` that no other grant of the history returned.
**duplicate**: two grants returned the same one. A correct kernel draws each id anew, so no legal history is
accused.

**What it cannot see.** Tokens of other cells.
"""

from __future__ import annotations

from collections.abc import Sequence

from kernel_lab.judge.checkers.finding import Findings, Judgement, conclude
from kernel_lab.judge.checkers.story import named, short
from kernel_lab.judge.history import AnyOperation, Grant, Outcome
from kernel_lab.judge.verdict import Cell, Verdict

CLAIM = "unique_tokens"
JUDGES = frozenset({"grant"})
KINDS = ("duplicate",)


def lacks(op: AnyOperation) -> str | None:
    """A grant that is ok names its token."""
    if isinstance(op, Grant) and op.outcome is Outcome.OK and (op.output is None or not op.output.token_id):
        return "a grant that is ok has an output.token_id"
    return None


def check(history: Sequence[AnyOperation], cell: Cell) -> Verdict:
    """The verdict on a history. See the module."""
    return conclude(CLAIM, KINDS, judge, history, cell)


def judge(history: Sequence[AnyOperation], cell: Cell) -> Judgement:
    """Each grant against all earlier ones."""
    del cell
    first: dict[str, Grant] = {}
    found = Findings()
    grants = 0
    for op in history:
        if not isinstance(op, Grant) or op.outcome is not Outcome.OK or op.output is None:
            continue
        grants += 1
        token = op.output.token_id or ""
        if token in first:
            found.add("duplicate", [first[token], op], _say, first[token], op, token)
        first.setdefault(token, op)
    return Judgement(
        measures={"grants": grants, "duplicates": found.counts["duplicate"]},
        found=found,
        unknown="" if grants else "nothing to judge: no grant was ok",
    )


def _say(earlier: Grant, op: Grant, token: str) -> str:
    return (
        f"broke TokenUnique: {named(op)} returned token {short(token)}, which {named(earlier)} had returned"
    )
