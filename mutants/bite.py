"""The result for a mutant: whether the verdict names its fault, and how small the counter-example is."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from kernel_lab.judge.checkers import CHECKERS
from kernel_lab.judge.history import AnyOperation, Grant, Invoke, Outcome, Revoke, read_history
from kernel_lab.judge.verdict import Validity, Verdict
from kernel_lab.run.folder import CellFolder
from mutants.mutant import Mutant

SMALL = 6
"""The most operations of a counter-example. For the limiter it is the limit and one more."""


@dataclass(frozen=True, kw_only=True)
class Bite:
    """The result for one mutant."""

    mutant: str
    found: tuple[str, ...] = ()
    """The kinds of anomaly, the counter-example's first."""
    proof: int = 0
    """Operations of the counter-example."""
    lag_ms: tuple[float, float] | None = None
    """The measured bracket, where the mutant's delay is known."""
    missed: str = ""
    """Why it was not caught."""


def taste(mutant: Mutant, verdict: Verdict, cell: Path) -> Bite:
    """Return the result for a mutant, from the verdict on it."""
    found = tuple(dict.fromkeys(anomaly.kind for anomaly in verdict.anomalies))
    proof = len(verdict.counterexample)
    most = _most(mutant, CellFolder(cell).read_cell().parameters)
    lag_ms = None if mutant.lag_ms is None else lag_of_the_watched(cell)
    missed = ""
    if verdict.validity is not Validity.INVALID:
        missed = f"judged {verdict.validity} {verdict.reason}".strip()
    elif mutant.finds not in found:
        missed = f"found {', '.join(found)}, and no {mutant.finds}"
    elif not 0 < proof <= most:
        missed = f"a counter-example of {proof} operations; it should have {most} at most"
    elif mutant.lag_ms and lag_ms and not lag_ms[0] <= mutant.lag_ms <= lag_ms[1]:
        missed = f"a delay of {mutant.lag_ms} ms is not in the bracket {lag_ms}"
    return Bite(mutant=mutant.name, found=found, proof=proof, lag_ms=lag_ms, missed=missed)


def _most(mutant: Mutant, parameters: Mapping[str, Any]) -> int:
    """Return the most operations of a counter-example.

    For a limit or a cap, it is the allowed number and a few more.
    """
    if mutant.breaks == "rate_limit":
        return int(parameters["limit"]) + 1
    caps = [int(parameters[name]) for name in ("handle_cap", "trace_cap") if parameters.get(name)]
    return min(caps) + 2 if mutant.finds == "cap_exceeded" else mutant.proof or SMALL


def lag_of_the_watched(cell: Path) -> tuple[float, float]:
    """The lag of the tokens that were asked for until they expired: the others' brackets are open."""
    history = read_history(CellFolder(cell).recorded)
    facts = CellFolder(cell).read_cell()
    watched = {
        op.output.token_id
        for op in history
        if isinstance(op, Grant) and op.output and op.input.capability in facts.parameters["token_ttls"]
    }
    kept = [op for op in history if _token(op) in watched]
    measures = CHECKERS["revocation"].check(kept, facts).measures
    lower, upper = measures["lag_lower_ms_max"], measures["lag_upper_ms_max"]
    if not isinstance(lower, float) or not isinstance(upper, float):
        raise TypeError(f"no bracket was measured: {lower} to {upper}")
    return lower, upper


def _token(op: AnyOperation) -> str | None:
    if isinstance(op, Grant):
        return op.output.token_id if op.output and op.outcome is Outcome.OK else None
    return op.input.token_id if isinstance(op, Invoke | Revoke) else None
