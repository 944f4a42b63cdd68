"""Verdicts: what a checker says of a history, and how several are merged.

``valid``: a legal placement of every effect inside its ``[call, return]`` exists (infos may be left out), as
far as the claim's checker looks; its docstring says how far. ``invalid``: none does, and the operations prove
it. ``unknown``: the history cannot tell. When verdicts are merged, the worst wins: invalid > unknown > valid.
Unknown never counts as good.
"""

from __future__ import annotations

from collections.abc import Iterable
from enum import StrEnum
from typing import Any

import msgspec

from kernel_lab.judge.operation import FOREVER, Outcome

Measure = int | float | str | None


class Validity(StrEnum):
    """The lattice. ``skipped`` is no verdict: the cell was not run, and its row says why."""

    VALID = "valid"
    UNKNOWN = "unknown"
    INVALID = "invalid"
    SKIPPED = "skipped"


MARK = {Validity.VALID: "✓", Validity.INVALID: "✗", Validity.UNKNOWN: "?", Validity.SKIPPED: "–"}
"""The sign of a validity, where there is room for one character."""
_RANK = {Validity.SKIPPED: 0, Validity.VALID: 1, Validity.UNKNOWN: 2, Validity.INVALID: 3}


def merge(validities: Iterable[Validity]) -> Validity:
    """The worst of several verdicts; unknown if there is none."""
    return max(validities, key=_RANK.__getitem__, default=Validity.UNKNOWN)


class Anomaly(msgspec.Struct, frozen=True, kw_only=True):
    """One way in which the claim was broken, with the operations that prove it."""

    kind: str
    """Short and stable, such as ``leak``, ``resurrection``, ``over_admission``, ``wrongful_denial``."""
    message: str
    """The guarantee, the operations, the workers and the times, in one sentence."""
    operations: tuple[int, ...]
    """Indexes of the operations that prove it, in the order of their calls."""


class Verdict(msgspec.Struct, frozen=True, kw_only=True):
    """The verdict of a checker on one claim in one cell."""

    claim: str
    validity: Validity
    measures: dict[str, Measure] = {}
    """Columns of the scenario's CSV; what was not observed is absent or None."""
    anomalies: tuple[Anomaly, ...] = ()
    reason: str = ""
    """Why it is unknown, or another fact that a reader must know."""
    counterexample: tuple[dict[str, Any], ...] = ()
    """Operations that break the claim, as history lines. Without any one of them it would not be broken."""
    story: tuple[str, ...] = ()
    """The counter-example told, one line an operation."""


class DeploymentFacts(msgspec.Struct, frozen=True, kw_only=True):
    """The facts about a deployment that ``cell.json`` keeps."""

    name: str
    state: str = ""
    workers: int | None = None
    replicas: int | None = None
    routing: str = ""


class Assumptions(msgspec.Struct, frozen=True, kw_only=True):
    """The least that a history must contain before its verdict may be valid. If it does not, the verdict is unknown."""

    min_workers: int | None = None
    min_operations: int | None = None
    min_overlap: int | None = None
    """At least this many calls must have been in flight at once."""


class Beside(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """A call to the same deployment that is not in the history: the probe's, or another cell's.

    The call itself is not judged. It may have stored something, and so have evicted a handle or trace of the history.
    In ``cell.json`` it is the array ``[f, call_ns, return_ns, outcome]``.
    """

    f: str
    call_ns: int
    return_ns: int | None = None
    outcome: Outcome = Outcome.INFO

    @property
    def recorded_ns(self) -> int:
        """The latest instant at which the server can have recorded it."""
        return FOREVER if self.return_ns is None or self.outcome is Outcome.INFO else self.return_ns


class Cell(msgspec.Struct, frozen=True, kw_only=True):
    """``cell.json``: scenario × deployment × connections × fault × seed, and what the checker must know."""

    scenario: str
    deployment: DeploymentFacts
    connections: str = ""
    fault: str | None = None
    seed: int | None = None
    parameters: dict[str, Any] = {}
    assumptions: Assumptions = Assumptions()
    expected: Validity | None = None
    operations: int | None = None
    """The number of lines of the history; None in runs that did not record it."""
    finished: bool = True
    """False while the cell is being recorded: a cut-off cell is unknown."""
    beside: tuple[Beside, ...] = ()
    """Calls that other histories hold; only where a cap binds, since nothing else needs them."""
