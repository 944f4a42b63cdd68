"""A handle can be expanded by its principal on every worker until it expires or its stated cap evicts it.

Nobody else can expand it anywhere. An expand shows the rows that the invoke made.

**Whose.** A handle comes from an ok invoke and belongs to the invoke's principal. It is *certainly alive*
for an expand that was called after the invoke had returned, if the expand

- had returned before the invoke's call + ``handle_ttl_s``: the handle cannot expire earlier than that; and
- was answered before ``handle_cap`` other handles can have been stored after this one. The oldest handle is evicted
  first, so fewer others cannot push it out. Each call that may have stored a handle counts: an invoke that is ok with
  a handle, an invoke whose outcome is unknown, a stream (its reply does not say), and the calls of ``cell.beside``.

It is *certainly pushed out* if at least ``handle_cap`` others were stored, for certain, after the invoke had returned
and before the expand was called. If ``cell.json`` lacks one of these parameters, the handle has no such end.

**Clocks.** A life is measured by the deployment's clock, and calls by ours. So a life is shortened or lengthened by a
thousandth of itself and by ``tolerance_ms``, always in the deployment's favour.

**Legal.**

- A handle that is certainly alive is not refused to its principal with ``handle_not_found`` (**miss**). Before it can
  have expired, it is not refused with ``handle_expired`` (**early_expiry**; judged only where ``handle_ttl_s`` is
  stated). It is never refused to its principal with ``handle_principal_mismatch`` (**refused_owner**).
- An expand called after the invoke's return + ``handle_ttl_s`` is not ok (**late_expand**). An expand of a handle
  that is certainly pushed out is not ok either (**cap_exceeded**).
- An expand by another principal is never ok (**foreign_expand**). The reason for which it is refused does not matter.
- Ok expands of one handle that ask for the same number of rows show the same rows (**wrong_rows**). Where the
  invoke's reply showed the first rows (``output.digest``), an expand shows the same rows first.

A right store is not accused, wherever in the intervals its instants were: each bound is computed in the store's favour.

    invoke [0, 2] -> h, expand h [1, 3] not found: it overlaps, legal. Expand h [3, 4] not found: a miss.
    cap 1: invoke [0, 2] -> h, invoke [3, 4] -> g, expand h [5, 6] not found: g has pushed it out, legal. If this
    expand is ok: cap_exceeded.

**What it cannot see.** It does not judge eviction by size, constraints of the grant, or rows beyond the first five.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Sequence
from itertools import islice

from kernel_lab.judge.checkers.finding import KEPT, Findings, Judgement, conclude
from kernel_lab.judge.checkers.parameters import CLOCKS_DIFFER, nanoseconds, number, tolerance_ns
from kernel_lab.judge.checkers.story import lasting, named, short
from kernel_lab.judge.history import FAIL, FOREVER, INFO, OK, AnyOperation, Expand, Invoke, of_kind
from kernel_lab.judge.verdict import Beside, Cell, Verdict
from kernel_lab.judge.work import CutOff, spend

CLAIM = "handles"
JUDGES = frozenset({"expand"})
KINDS = (
    "foreign_expand", "wrong_rows", "miss", "refused_owner", "early_expiry", "late_expand", "cap_exceeded",
)  # fmt: skip
REFUSALS = {
    "handle_not_found": "miss",
    "handle_principal_mismatch": "refused_owner",
    "handle_expired": "early_expiry",
}


def lacks(op: AnyOperation) -> str | None:
    """Return None, because no ok operation lacks a field: an invoke without a handle (raw, a dry run) leaves it out."""
    del op
    return None


def check(history: Sequence[AnyOperation], cell: Cell) -> Verdict:
    """Return the verdict on a history. The module's docstring says what is legal."""
    return conclude(CLAIM, KINDS, judge, history, cell)


def judge(history: Sequence[AnyOperation], cell: Cell) -> Judgement:
    """Judge each expand by itself, against the invoke that made its handle."""
    ttl_s = number(cell, "handle_ttl_s")
    life = Life(history, cell, ttl_s)
    made = {
        op.output.handle_id: op
        for op in of_kind(history, Invoke)
        if op.outcome is OK and op.output and op.output.handle_id
    }
    found = Findings()
    shown: dict[tuple[str, int | None], Expand] = {}
    expansions = foreign = 0
    for op in of_kind(history, Expand):
        if op.outcome is INFO:
            continue
        ok = op.outcome is OK
        invoke = made.get(op.input.handle_id)
        if invoke is None or not invoke.input.principal:
            continue
        if op.input.principal != invoke.input.principal:
            foreign += 1
            if ok:
                found.add("foreign_expand", [invoke, op], _say_foreign, invoke, op)
        elif ok and life.certainly_over(invoke, op):
            found.add("late_expand", [invoke, op], _say_late, invoke, op, ttl_s)
        elif ok and life.certainly_pushed_out(invoke, op):
            proof: list[AnyOperation] = []
            if found.counts["cap_exceeded"] < KEPT:
                proof = [invoke, *life.newer(invoke, op), op]
            found.add("cap_exceeded", proof, _say_beyond, invoke, op)
        elif ok or op.error in REFUSALS:
            kind = None if ok else REFUSALS[op.error or ""]
            if kind == "early_expiry":
                certain = ttl_s is not None and life.certainly_not_expired(invoke, op)
            else:
                certain = kind == "refused_owner" or life.certainly_goes_on(invoke, op)
            expansions += certain
            if certain and kind:
                found.add(kind, [invoke, op], _say_refused, invoke, op)
            if kind is None:
                _judge_rows(invoke, op, shown, found)
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
        unknown=life.cut_off or unknown,
    )


def _judge_rows(
    invoke: Invoke, op: Expand, shown: dict[tuple[str, int | None], Expand], found: Findings
) -> None:
    """Add an expand that shows other rows than the invoke did, or than an expand that asked for the same rows."""
    said = op.output
    if said is None:
        return
    of_invoke = invoke.output.digest if invoke.output else None
    if of_invoke is not None and said.digest is not None and said.digest != of_invoke:
        found.add("wrong_rows", [invoke, op], _say_rows, op, invoke)
        return
    first = shown.setdefault((op.input.handle_id, op.input.limit), op)
    if first is op or first.output is None:
        return
    if _differ(first.output.digest, said.digest) or _differ(_count(first), _count(op)):
        found.add("wrong_rows", [invoke, first, op], _say_rows, op, first)


def _differ(one: str | int | None, other: str | int | None) -> bool:
    return one is not None and other is not None and one != other


def _count(op: Expand) -> int | None:
    rows = op.output.rows if op.output else None
    return len(rows) if isinstance(rows, list) else rows


class Life:
    """The time in which a handle is certainly alive, and the time in which it certainly is not."""

    def __init__(self, history: Sequence[AnyOperation], cell: Cell, ttl_s: float | None) -> None:
        slack_ns = tolerance_ns(cell)
        ttl_ns = FOREVER if ttl_s is None else nanoseconds(ttl_s, 1_000_000_000)
        slack_ns += 0 if ttl_s is None else ttl_ns // CLOCKS_DIFFER
        self._least_ns, self._most_ns = ttl_ns - slack_ns, ttl_ns + slack_ns
        self._cap = number(cell, "handle_cap", least=1)
        self.cut_off = ""
        """Why it was not decided for some handles whether they had been evicted; empty if it was decided for all."""
        stores: list[Invoke | Beside] = []
        self._calls: list[int] = []
        self._returns: list[int] = []
        if self._cap is not None:
            stores = [op for op in of_kind(history, Invoke) if _may_store(op)]
            stores += [op for op in cell.beside if op.f == "invoke" and op.outcome is not FAIL]
            self._calls = sorted(op.call_ns for op in stores)
            self._returns = sorted(op.recorded_ns for op in stores)
        self._sure = [op for op in stores if isinstance(op, Invoke) and _stores(op)] if self._cap else []
        self._sure.sort(key=lambda op: op.call_ns)
        self._sure_calls = [op.call_ns for op in self._sure]
        self._sure_returns = sorted(op.end_ns for op in self._sure)

    def certainly_goes_on(self, invoke: Invoke, op: Expand) -> bool:
        """Return whether the handle was certainly alive at every instant of the expand."""
        if op.call_ns <= invoke.end_ns or not self.certainly_not_expired(invoke, op):
            return False
        if self._cap is None:
            return True
        before_it = bisect_left(self._returns, invoke.call_ns)
        by_then = bisect_right(self._calls, op.end_ns)
        return by_then - before_it - 1 < self._cap  # the invoke itself is one of them

    def certainly_not_expired(self, invoke: Invoke, op: Expand) -> bool:
        """Return whether the handle's lifetime had certainly not ended at any instant of the expand."""
        return op.end_ns < invoke.call_ns + self._least_ns

    def certainly_pushed_out(self, invoke: Invoke, op: Expand) -> bool:
        """Return whether the cap had certainly evicted the handle before the expand was called.

        This is so if at least `handle_cap` handles were stored between the invoke's return and the expand's call.
        """
        if self._cap is None:
            return False
        over = bisect_left(self._sure_returns, op.call_ns)
        first = bisect_right(self._sure_calls, invoke.end_ns)
        if over - first >= self._cap or over - bisect_right(self._sure_returns, invoke.end_ns) < self._cap:
            return over - first >= self._cap
        # only operations that overlap either end can change the result, so look at each of those
        between = self._sure[first : bisect_left(self._sure_calls, op.call_ns)]
        try:
            spend(len(between), "the count of what was stored between an invoke and an expand")
        except CutOff as why:
            self.cut_off = str(why)
            return False
        return sum(stored.end_ns < op.call_ns for stored in between) >= self._cap

    def newer(self, invoke: Invoke, op: Expand) -> list[Invoke]:
        """Return the first `handle_cap` invokes that certainly stored a handle between an invoke and an expand."""
        between = (s for s in self._sure if s.call_ns > invoke.end_ns and s.end_ns < op.call_ns)
        return list(islice(between, int(self._cap or 0)))

    def certainly_over(self, invoke: Invoke, op: Expand) -> bool:
        """Return whether the handle's lifetime had certainly ended when the expand was called."""
        return op.call_ns > invoke.end_ns + self._most_ns


def _may_store(op: Invoke) -> bool:
    if op.input.dry_run or op.outcome is FAIL:
        return False
    return op.outcome is INFO or op.input.stream or bool(op.output and op.output.handle_id)


def _stores(op: Invoke) -> bool:
    return op.outcome is OK and not op.input.stream and bool(op.output and op.output.handle_id)


def _say_beyond(invoke: Invoke, op: Expand) -> str:
    return (
        f"broke CapHolds: {named(op)} expanded handle {short(op.input.handle_id)} of {named(invoke)}, though as "
        "many newer ones as the deployment says it keeps had been stored"
    )


def _say_rows(op: Expand, other: Invoke | Expand) -> str:
    return (
        f"broke HandleTold: {named(op)} showed other rows of handle {short(op.input.handle_id)} than "
        f"{other.f} {named(other)}"
    )


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
