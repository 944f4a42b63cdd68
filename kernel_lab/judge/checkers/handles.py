"""A handle can be expanded by its principal on every worker until it expires or its stated cap evicts it.

By no one else, anywhere.

**Whose.** A handle comes from an ok invoke and belongs to the invoke's principal. It is *certainly alive*
for an expand that was called after the invoke had returned, and

- had returned before the invoke's call + ``handle_ttl_s``: it cannot expire earlier than that; and
- of all other invokes that can have stored a handle after it and before the expand returned (ok with a
  handle, info, or streamed: a stream's reply does not say), there are fewer than ``handle_cap``: the oldest
  goes first, so these alone do not push it out.

Without the parameter, there is no such end. With ``tolerance_ms``, the time to live is that much shorter
here and longer below, since clocks of two hosts differ.

**Legal.** Certainly alive, it is not refused to its principal with ``handle_not_found`` (miss); before it
can have expired, not with ``handle_expired`` (early_expiry; judged only where ``handle_ttl_s`` is stated);
and never with ``handle_principal_mismatch`` (refused_owner). Called after the invoke's return +
``handle_ttl_s``, an expand is not ok (late_expand). Another principal's expand is never ok
(foreign_expand); how it is refused is all the same. A right store is not accused, wherever in the intervals
its instants were: each bound takes the instant that excuses the answer, if one does.

    invoke [0, 2] → h, expand h [1, 3] not found: it overlaps, legal. Expand h [3, 4] not found: a miss.
    cap 1: invoke [0, 2] → h, invoke [3, 4] → g, expand h [5, 6] not found: g has pushed it out, legal.

**What it cannot see.** Whether the rows are the right ones. Eviction by size. Constraints of the grant.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Sequence

from kernel_lab.judge.checkers.finding import Findings, Judgement, conclude
from kernel_lab.judge.checkers.parameters import nanoseconds, number
from kernel_lab.judge.checkers.story import lasting, named, short
from kernel_lab.judge.history import FOREVER, AnyOperation, Expand, Invoke, Outcome
from kernel_lab.judge.verdict import Beside, Cell, Verdict

CLAIM = "handles"
JUDGES = frozenset({"expand"})
KINDS = ("foreign_expand", "miss", "refused_owner", "early_expiry", "late_expand")
REFUSALS = {
    "handle_not_found": "miss",
    "handle_principal_mismatch": "refused_owner",
    "handle_expired": "early_expiry",
}


def lacks(op: AnyOperation) -> str | None:
    """Nothing: an invoke that made no handle (raw, a dry run) says so by leaving it out."""
    del op
    return None


def check(history: Sequence[AnyOperation], cell: Cell) -> Verdict:
    """The verdict on a history. See the module."""
    return conclude(CLAIM, KINDS, judge, history, cell)


def judge(history: Sequence[AnyOperation], cell: Cell) -> Judgement:
    """Each expand by itself, against the invoke that made its handle."""
    ttl_s = number(cell, "handle_ttl_s")
    life = Life(history, cell, ttl_s)
    made = {
        op.output.handle_id: op
        for op in history
        if isinstance(op, Invoke) and op.outcome is Outcome.OK and op.output and op.output.handle_id
    }
    found = Findings()
    expansions = foreign = 0
    for op in history:
        if not isinstance(op, Expand) or op.outcome is Outcome.INFO:
            continue
        invoke = made.get(op.input.handle_id)
        if invoke is None or not invoke.input.principal:
            continue
        if op.input.principal != invoke.input.principal:
            foreign += 1
            if op.outcome is Outcome.OK:
                found.add("foreign_expand", [invoke, op], _say_foreign, invoke, op)
        elif op.outcome is Outcome.OK and life.certainly_over(invoke, op):
            found.add("late_expand", [invoke, op], _say_late, invoke, op, ttl_s)
        elif op.outcome is Outcome.OK or op.error in REFUSALS:
            kind = None if op.outcome is Outcome.OK else REFUSALS[op.error or ""]
            if kind == "early_expiry":
                certain = ttl_s is not None and life.certainly_not_expired(invoke, op)
            else:
                certain = kind == "refused_owner" or life.certainly_goes_on(invoke, op)
            expansions += certain
            if certain and kind:
                found.add(kind, [invoke, op], _say_refused, invoke, op)
    unknown = "" if expansions or foreign or found.counts else "nothing to judge: no live handle was expanded"
    return Judgement(
        measures={
            "expansions": expansions,
            "misses": found.counts["miss"],
            "miss_rate": found.counts["miss"] / expansions if expansions else None,
            "foreign": foreign,
            "foreign_expands": found.counts["foreign_expand"],
        },
        found=found,
        unknown=unknown,
    )


class Life:
    """When a handle is certainly alive, and when it certainly is not."""

    def __init__(self, history: Sequence[AnyOperation], cell: Cell, ttl_s: float | None) -> None:
        slack_ns = nanoseconds(number(cell, "tolerance_ms") or 0, 1_000_000)
        ttl_ns = FOREVER if ttl_s is None else nanoseconds(ttl_s, 1_000_000_000)
        self._least_ns, self._most_ns = ttl_ns - slack_ns, ttl_ns + slack_ns
        self._cap = number(cell, "handle_cap", least=1)
        self._calls: list[int] = []
        self._returns: list[int] = []
        if self._cap is not None:
            stores: list[Invoke | Beside] = [
                op for op in history if isinstance(op, Invoke) and _may_store(op)
            ]
            stores += [op for op in cell.beside if op.f == "invoke" and op.outcome is not Outcome.FAIL]
            self._calls = sorted(op.call_ns for op in stores)
            self._returns = sorted(op.recorded_ns for op in stores)

    def certainly_goes_on(self, invoke: Invoke, op: Expand) -> bool:
        """The handle was there, at every instant of the expand."""
        if op.call_ns <= invoke.end_ns or not self.certainly_not_expired(invoke, op):
            return False
        if self._cap is None:
            return True
        before_it = bisect_left(self._returns, invoke.call_ns)
        by_then = bisect_right(self._calls, op.end_ns)
        return by_then - before_it - 1 < self._cap  # itself is one of them

    def certainly_not_expired(self, invoke: Invoke, op: Expand) -> bool:
        """Its time to live had not passed at any instant of the expand."""
        return op.end_ns < invoke.call_ns + self._least_ns

    def certainly_over(self, invoke: Invoke, op: Expand) -> bool:
        """Its time to live had passed when the expand was called."""
        return op.call_ns > invoke.end_ns + self._most_ns


def _may_store(op: Invoke) -> bool:
    if op.input.dry_run or op.outcome is Outcome.FAIL:
        return False
    return op.outcome is Outcome.INFO or op.input.stream or bool(op.output and op.output.handle_id)


def _say_foreign(invoke: Invoke, op: Expand) -> str:
    return (
        f"broke HandleOwned: {named(op)} let {op.input.principal} expand handle {short(op.input.handle_id)}, "
        f"which {named(invoke)} had made for {invoke.input.principal}"
    )


def _say_refused(invoke: Invoke, op: Expand) -> str:
    return (
        f"broke HandlePortable: {named(op)} refused {op.input.principal} its own handle "
        f"{short(op.input.handle_id)} with {op.error}, "
        f"{lasting(op.call_ns - invoke.end_ns)} after {named(invoke)} had made it"
    )


def _say_late(invoke: Invoke, op: Expand, ttl_s: float) -> str:
    return (
        f"broke HandleExpires: {named(op)} expanded handle {short(op.input.handle_id)} "
        f"{lasting(op.call_ns - invoke.end_ns)} after {named(invoke)} had made it to live {ttl_s:g} s"
    )
