"""The journal of one deployment: every call that the instrument makes to it, whichever cell makes the call.

The cells of one stack share the deployment's stores, and so does the routing probe. A handle store with a cap
of 20 drops a cell's handle because *another* cell stored 20 more. So a checker that goes by a cap must know of
those calls too. They belong to other histories and are not judged here. It matters only that they may have
stored something, and when. `Journal.beside` gives them to ``cell.json``.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from kernel_lab.judge.operation import FOREVER, Outcome
from kernel_lab.judge.verdict import Beside

KEEPS = frozenset({"grant", "invoke", "expand"})
"""Kinds of operation after which a deployment may keep a handle or a trace."""


@dataclass(slots=True)
class Entry:
    """One call: who made it, and when. It has no return while it is under way."""

    owner: object
    f: str
    call_ns: int
    return_ns: int | None = None
    outcome: Outcome = Outcome.INFO


@dataclass(slots=True)
class Journal:
    """Every call to one deployment that may have left something there, in the order of the calls."""

    entries: list[Entry] = field(default_factory=list)

    def begin(self, owner: object, f: str, call_ns: int) -> Entry | None:
        """Note that `owner` makes a call now. Return the entry that its end must be noted in, if any."""
        if f not in KEEPS:
            return None
        entry = Entry(owner, f, call_ns)
        self.entries.append(entry)
        return entry

    def beside(self, owner: object, cap: float | None) -> tuple[Beside, ...]:
        """Return the calls of everybody but `owner` that may have pushed out something that `owner` stored.

        Args:
            owner: The recorder of the history that will be judged.
            cap: The smallest cap that the cell's checker goes by. If no more calls than this, the owner's own
                included, fall into the time of the history, nothing of the history can have been evicted, and
                the result is empty.
        """
        if cap is None or len(self.entries) <= cap:
            return ()
        own = [entry.call_ns for entry in self.entries if entry.owner is owner]
        first_ns = min(own, default=FOREVER)
        others = tuple(
            Beside(entry.f, entry.call_ns, entry.return_ns, entry.outcome)
            for entry in self.entries
            if entry.owner is not owner and (entry.return_ns is None or entry.return_ns >= first_ns)
        )
        return others if len(own) + len(others) > cap else ()
