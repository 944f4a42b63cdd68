"""A capability imported through one worker is invocable on all from then on.

**What is judged.** The checker judges only capabilities that the history imports, or that an import found in the
registry. A right deployment has one registry, so for each capability there is one instant X at which it was put
there:

- An import that is ok put it there itself, so X lies within its ``[call, return]``. A registry that knows the
  capability answers ``capability_exists`` instead.
- An import whose outcome is unknown (info) may have put it there at any time after its call. It may also have done
  nothing, because it is not known whether the answer would have been ok or ``capability_exists``.
- Where no import is ok, the capability may have been there before the history began.

**Legal.** An X exists such that every grant or invoke that failed with ``capability_not_found`` was called by X.
Every ok grant or invoke, and every answer ``capability_exists``, returned at X or later. So a history is wrong if

- a ``capability_not_found`` was called after something that shows the capability had returned (an ok import,
  an answer ``capability_exists``, an ok grant or invoke): **not_found**;
- something shows the capability before any import can have put it there: before the ok import was called, or,
  where no import is ok and somebody did not find it, before the first import was called:
  **phantom_capability**;
- two imports of it are ok, since the second should have been told ``capability_exists``: **doubled_import**.
  Two registries answered.

**Why no legal history is accused.** With one ok import ``[c, r]``, the first two rules say that the latest
``capability_not_found`` call N, and c, are no later than the earliest return S of what shows the capability
(r among them). So X = max(c, N) lies in ``[c, r]`` and fits everything. Without an ok import, and without a
``capability_not_found``, X = "before the history" fits. With one, the first import, which is an info, was
called at i <= S, so X = max(i, N) <= S fits. And each rule is needed: where one is broken, no X is left.

    import [0, 2] ok, grant [2, 3] not found: legal, they touch. Grant [3, 4] not found: not_found.
    grant [2, 3] ok, then an import [6, -] without an answer: legal, it may have been there all along.
    grant [0, 1] not found, import [2, 3] "exists", and no other import: phantom_capability.

**What it cannot see.** It cannot see whether the capability does what its manifest says.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from operator import attrgetter

from kernel_lab.judge.checkers.finding import Findings, Judgement, conclude
from kernel_lab.judge.checkers.story import lasting, named
from kernel_lab.judge.history import (
    FAIL,
    INFO,
    OK,
    AnyOperation,
    Grant,
    ImportCapability,
    Invoke,
    of_kind,
)
from kernel_lab.judge.verdict import Cell, Verdict

CLAIM = "capabilities"
JUDGES = frozenset({"import_capability", "grant", "invoke"})
KINDS = ("not_found", "phantom_capability", "doubled_import")
MISSING = "capability_not_found"
EXISTS = "capability_exists"

Use = Grant | Invoke

_by_call, _by_end = attrgetter("call_ns", "index"), attrgetter("end_ns", "index")


def lacks(op: AnyOperation) -> str | None:
    """Return None: what is imported and used stands in the inputs, and every operation has one."""
    del op
    return None


def check(history: Sequence[AnyOperation], cell: Cell) -> Verdict:
    """Return the verdict on a history. The module's docstring says what is legal."""
    return conclude(CLAIM, KINDS, judge, history, cell)


@dataclass(slots=True)
class Imported:
    """The imports and the uses of one capability."""

    ok: list[ImportCapability] = field(default_factory=list)
    """Imports that put it into the registry."""
    unknown: list[ImportCapability] = field(default_factory=list)
    """Imports that may have put it into the registry."""
    found_there: list[ImportCapability] = field(default_factory=list)
    """Imports that were refused because it was in the registry already."""
    served: list[Use] = field(default_factory=list)
    missed: list[Use] = field(default_factory=list)

    def shown(self) -> ImportCapability | Use | None:
        """Return the operation that was the first to return of all that show the capability; on a tie, an import."""
        imported = min([*self.ok, *self.found_there], key=_by_end, default=None)
        used = min(self.served, key=_by_end, default=None)
        if imported is None or used is None:
            return imported or used
        return imported if imported.end_ns <= used.end_ns else used

    def any_import(self) -> ImportCapability:
        """Return the first import that names the capability."""
        return min(self.ok + self.unknown + self.found_there, key=_by_call)


def judge(history: Sequence[AnyOperation], cell: Cell) -> Judgement:
    """Judge each capability by itself."""
    del cell
    found = Findings()
    capabilities = _imported(history)
    uses = 0
    for name, one in capabilities.items():
        shown, importing = one.shown(), one.any_import()
        if shown is not None:
            shown_ns = shown.end_ns
            uses += sum([op.call_ns > shown_ns for op in one.served])
            for op in one.missed:
                if op.call_ns > shown_ns:
                    uses += 1
                    # the import itself is a part of the proof
                    proof = [shown, op] if shown.f == "import_capability" else [importing, shown, op]
                    found.add("not_found", proof, _say_not_found, name, shown, op)
            _judge_phantoms(name, one, shown_ns, found)
        imports = sorted(one.ok, key=_by_end)
        for again in imports[1:]:
            found.add("doubled_import", [imports[0], again], _say_doubled, name, imports[0], again)
    unknown = "" if uses or found.counts else "nothing to judge: no imported capability was used afterwards"
    return Judgement(
        measures={
            "imports": sum(len(one.ok) + len(one.unknown) for one in capabilities.values()),
            "uses": uses,
            "not_found": found.counts["not_found"],
            "not_found_rate": found.counts["not_found"] / uses if uses else None,
            "phantoms": found.counts["phantom_capability"],
        },
        found=found,
        unknown=unknown,
    )


def _judge_phantoms(name: str, one: Imported, shown_ns: int, found: Findings) -> None:
    """Add the uses that show the capability before an import can have put it there. `shown_ns` is the first return."""
    if one.ok:
        importing = min(one.ok, key=_by_call)
        if shown_ns >= importing.call_ns:
            return
        for shown in (*one.found_there, *one.served):
            if shown.end_ns < importing.call_ns:
                found.add("phantom_capability", [shown, importing], _say_phantom, name, shown, importing)
        return
    # no import is known to have put it there, so it was there all along, unless an operation did not find it
    missing = min(one.missed, key=_by_call, default=None)
    first = min(one.unknown, key=_by_call, default=None)
    if missing is None or (first is not None and shown_ns >= first.call_ns):
        return
    importing = first or one.any_import()
    for shown in (*one.found_there, *one.served):
        if first is None or shown.end_ns < first.call_ns:
            # one operation may have two parts in the proof, and an operation with arguments cannot be hashed
            proof = {op.index: op for op in (missing, shown, importing)}
            found.add("phantom_capability", list(proof.values()), _say_appeared, name, shown, missing)


def _imported(history: Sequence[AnyOperation]) -> dict[str, Imported]:
    capabilities: dict[str, Imported] = {}
    for imported in of_kind(history, ImportCapability):
        if imported.outcome is OK:
            capabilities.setdefault(imported.input.capability, Imported()).ok.append(imported)
        elif imported.outcome is INFO:
            capabilities.setdefault(imported.input.capability, Imported()).unknown.append(imported)
        elif imported.error == EXISTS:
            capabilities.setdefault(imported.input.capability, Imported()).found_there.append(imported)
    for op in history:
        if type(op) is not Grant and type(op) is not Invoke:
            continue
        one = capabilities.get(op.input.capability)
        if one is None:
            continue
        if op.outcome is OK:
            one.served.append(op)
        elif op.outcome is FAIL and op.error == MISSING:
            one.missed.append(op)
    return capabilities


def _say_not_found(name: str, shown: ImportCapability | Use, op: Use) -> str:
    return (
        f"broke CapabilityEverywhere: {op.f} {named(op)} did not find {name}, "
        f"{lasting(op.call_ns - shown.end_ns)} after {shown.f} {named(shown)} had returned"
    )


def _say_phantom(name: str, shown: ImportCapability | Use, importing: ImportCapability) -> str:
    return (
        f"broke CapabilityImported: {shown.f} {named(shown)} met {name} before the import that put it there, "
        f"{named(importing)}, had been called"
    )


def _say_appeared(name: str, shown: ImportCapability | Use, missing: Use) -> str:
    return (
        f"broke CapabilityImported: {shown.f} {named(shown)} met {name}, which {named(missing)} had not "
        "found, and no import that can have put it there had been called"
    )


def _say_doubled(name: str, first: ImportCapability, op: ImportCapability) -> str:
    return (
        f"broke CapabilityImported: {named(op)} imported {name} though {named(first)} had imported it too; "
        "one registry would have said that it exists"
    )
