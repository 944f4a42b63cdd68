"""A capability imported through one worker is invocable on all from then on.

**Judged** are the capabilities that the history imports. That one is there is shown by an import that is
ok, by one that failed with ``capability_exists``, and by any grant or invoke of it that is ok. An import
that is ok put it there within ``[call, return]``; one that is info at any time after its call, or never.

**Legal.** One instant X exists, within an import that can have put it there, by which every grant or invoke
that failed with ``capability_not_found`` was called, and at or after which every one that is ok, and every
answer ``capability_exists``, returned. That takes

- no ``capability_not_found`` called after something that shows the capability had returned: **not_found**;
- no ok grant or invoke that returned before the first import was called: **phantom_capability**.

They are enough: the imports' intervals, up to the first return of an ok one, leave no gap (an ok import
that began later has nothing to say about X, an info has no end), so whatever lies between the last
not-found call and the first return that shows it is a right X. A capability that answered
``capability_exists`` before any import was called had been there all along: no phantom is looked for.

    import [0, 2] ok, grant [2, 3] not found: it touches, legal. Grant [3, 4] not found: broken.

**What it cannot see.** A second import that should have answered ``capability_exists``. Whether the
capability does what its manifest says.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from kernel_lab.judge.checkers.finding import Findings, Judgement, conclude
from kernel_lab.judge.checkers.story import lasting, named
from kernel_lab.judge.history import AnyOperation, Grant, ImportCapability, Invoke, Outcome
from kernel_lab.judge.verdict import Cell, Verdict

CLAIM = "capabilities"
JUDGES = frozenset({"import_capability", "grant", "invoke"})
KINDS = ("not_found", "phantom_capability")
MISSING = "capability_not_found"
EXISTS = "capability_exists"

Use = Grant | Invoke


def lacks(op: AnyOperation) -> str | None:
    """Nothing: what is imported and used is in the inputs."""
    del op
    return None


def check(history: Sequence[AnyOperation], cell: Cell) -> Verdict:
    """The verdict on a history. See the module."""
    return conclude(CLAIM, KINDS, judge, history, cell)


@dataclass(slots=True)
class Imported:
    """All that the history says of one capability."""

    imports: list[ImportCapability] = field(default_factory=list)
    """Those that can have put it there."""
    found_there: list[ImportCapability] = field(default_factory=list)
    """Those that were told it is there."""
    served: list[Use] = field(default_factory=list)
    missed: list[Use] = field(default_factory=list)

    def shown(self) -> ImportCapability | Use | None:
        """The first to return of all that show it is there; of several an import."""
        evidence = [op for op in self.imports if op.outcome is Outcome.OK] + self.found_there + self.served
        return min(evidence, key=lambda op: (op.end_ns, op.f != "import_capability", op.index), default=None)

    def any_import(self) -> ImportCapability:
        """One that names the capability."""
        return min(self.imports + self.found_there, key=lambda op: (op.call_ns, op.index))

    def first_call(self) -> int | None:
        """When it can have been put there at the earliest; None where it was there all along."""
        first = min((op.call_ns for op in self.imports), default=None)
        if first is None or any(op.end_ns < first for op in self.found_there):
            return None
        return first


def judge(history: Sequence[AnyOperation], cell: Cell) -> Judgement:
    """Each capability by itself."""
    del cell
    found = Findings()
    capabilities = _imported(history)
    uses = 0
    for name, one in capabilities.items():
        shown = one.shown()
        if shown is not None:
            uses += sum(op.call_ns > shown.end_ns for op in one.served)
            for op in one.missed:
                if op.call_ns > shown.end_ns:
                    uses += 1
                    # that it is imported at all is part of the proof
                    proof = [shown, op] if shown.f == "import_capability" else [one.any_import(), shown, op]
                    found.add("not_found", proof, _say_not_found, name, shown, op)
        first = one.first_call()
        if first is not None:
            for op in one.served:
                if op.end_ns < first:
                    importing = min(one.imports, key=lambda imp: (imp.call_ns, imp.index))
                    found.add("phantom_capability", [op, importing], _say_phantom, name, op, importing)
    unknown = "" if uses or found.counts else "nothing to judge: no imported capability was used afterwards"
    return Judgement(
        measures={
            "imports": sum(len(one.imports) for one in capabilities.values()),
            "uses": uses,
            "not_found": found.counts["not_found"],
            "not_found_rate": found.counts["not_found"] / uses if uses else None,
            "phantoms": found.counts["phantom_capability"],
        },
        found=found,
        unknown=unknown,
    )


def _imported(history: Sequence[AnyOperation]) -> dict[str, Imported]:
    capabilities: dict[str, Imported] = {}
    for op in history:
        if isinstance(op, ImportCapability):
            if op.outcome is not Outcome.FAIL:
                capabilities.setdefault(op.input.capability, Imported()).imports.append(op)
            elif op.error == EXISTS:
                capabilities.setdefault(op.input.capability, Imported()).found_there.append(op)
    for op in history:
        if isinstance(op, Grant | Invoke) and op.input.capability in capabilities:
            if op.outcome is Outcome.OK:
                capabilities[op.input.capability].served.append(op)
            elif op.outcome is Outcome.FAIL and op.error == MISSING:
                capabilities[op.input.capability].missed.append(op)
    return capabilities


def _say_not_found(name: str, shown: ImportCapability | Use, op: Use) -> str:
    return (
        f"broke CapabilityEverywhere: {op.f} {named(op)} did not find {name}, "
        f"{lasting(op.call_ns - shown.end_ns)} after {shown.f} {named(shown)} had returned"
    )


def _say_phantom(name: str, op: Use, importing: ImportCapability) -> str:
    return (
        f"broke CapabilityImported: {op.f} {named(op)} was served {name} before its first import, "
        f"{named(importing)}, had been called"
    )
