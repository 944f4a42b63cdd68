"""Once completed invokes have cost the whole budget, later invokes are refused; the use never goes backward.

**What counts.** An ok invoke costs its ``tokens`` (0 in the mode ``handle_only``). While it is under way, it reserves
up to ``request`` tokens, as in upstream's BudgetManager. An info may have cost any amount. Dry runs and streamed
invokes are not charged, so they are left out. B is the total budget. What is not certain counts in the deployment's
favour.

**What is wrong.**

- **overspend**: an ok invoke was called after invokes that cost B or more had returned, or after a read had returned
  that reported a use of B. (The last invoke may cost more than was left, because it was called before.)
- **over_reserved**: invokes that overlap were all ok, although nothing was left for the last of them, in whatever order
  they reserved. It is judged only where ``request`` is stated, no overlapping invoke costs less, and there is no
  overspend.
- **wrong_total**: a read reports another total than B.
- **over_total**: a read reports more use than B.
- **used_went_back**: a read reports less use than a read that had returned before it was called.
- **lost_use**: a read reports less than B and less than the cost of the invokes that had returned before it. Or it
  reports less than the sum of an earlier read and the invokes between the two reads.
- **inflated_use**: a read reports more than the cost of all invokes that were called before it returned. Or it
  reports more than the sum of an earlier read and all invokes that can have been charged since then. It is not judged
  if one of them is an info.
- **false_denial**: an invoke was refused with ``budget_exhausted``, although at every instant of it less than B can
  have been spent or reserved. It is not judged if an info was called before the refusal returned.

A right budget does none of this. It records an invoke's cost before the invoke returns, it never
forgets a cost, and it refuses only while used and reserved tokens come to B.

**Why over_reserved accuses no right budget.** An invoke that costs less than ``request``, fails or lasts as long as a
lease may give back a part of its reservation. Take an instant x, and let y be the first call of all such invokes that
return at x or later. Let P be the ok invokes that had returned before x, and S the ok invokes that were called at x or
later and had returned before y. Consider the moment when the last invoke of S reserves. By then each invoke of P has
been charged. The use is also at least that of every read that had returned before x. Since x nothing was given back,
so the used and reserved tokens only grew. If an invoke of S got less than ``request``, it took the last tokens, and
nothing is left. Otherwise each invoke of S except the last holds ``request`` or has been charged as much. So the used
and reserved tokens come to at least the cost of P (or the use that was read), plus ``request`` for every invoke of S
except the last. If this is B or more, then the last invoke was served although nothing was left.

Without that condition a right budget would be accused. B is 40 and ``request`` is 30. One invoke holds 30, a second one
gets the last 10. The first one costs 12, so it gives 18 back, and a third one is served.

**Why two reads accuse no right budget.** Take a read that returned before another was called. An invoke that was
called after the first read had returned, and that had returned before the second was called, was charged between them.
An invoke that had returned before the first read was called was charged before it. So the use grew by at least the
cost of the former, unless it stopped at B. And it grew by no more than the cost of all invokes called by the second
read's return, without the latter.

In these examples B is 100. Invoke [0, 2] costs 100, invoke [3, 4] is ok: overspend. Invoke [2, 4] instead touches the
first, and is legal. Read [0, 1] reports 20, invoke [2, 3] costs 5, read [4, 5] reports 20: lost_use. Invoke [1, 3]
instead is legal, because it may be a part of the 20. With ``request`` = 40: 30 were spent, and three invokes [5, 9],
each of cost 50, are ok. 30 + 40 + 40 = 110 is more than 100, so the third cannot have reserved anything:
over_reserved.

**What it cannot see.** Reads and refusals are judged one by one, so reads that are impossible only together pass. A
``used`` between the bounds that no sum of costs gives passes too. Little can be judged after an info. Reservations are
not judged beside an invoke that costs less than ``request``.

Parameters: ``total`` is B. ``request`` is 4000 where it is not stated (upstream's default).
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Sequence
from functools import cached_property
from heapq import nlargest
from itertools import accumulate, groupby
from operator import attrgetter

from kernel_lab.judge.checkers.finding import KEPT, Findings, Judgement, conclude
from kernel_lab.judge.checkers.parameters import needed, number
from kernel_lab.judge.checkers.story import lasting, named
from kernel_lab.judge.history import FAIL, FOREVER, INFO, OK, AnyOperation, Budget, Invoke, ends_ns, of_kind
from kernel_lab.judge.verdict import Cell, Verdict
from kernel_lab.judge.work import spend

CLAIM = "budget"
JUDGES = frozenset({"invoke", "budget"})
KINDS = (
    "overspend", "over_reserved", "used_went_back", "lost_use", "inflated_use", "over_total", "wrong_total",
    "false_denial",
)  # fmt: skip
DENIED = "budget_exhausted"
BEFORE_THE_BUDGET = frozenset(
    {DENIED, "token_invalid", "token_expired", "token_revoked", "token_scope", "capability_not_found"}
)
"""Reason codes of refusals that reserve no tokens."""
REQUEST = 4000
LEASE_NS = 30_000_000_000
"""A reservation may be a lease that ends by itself. No known budget has leases shorter than this."""


def lacks(op: AnyOperation) -> str | None:
    """Return the missing field of an ok operation: an invoke states its cost, and a read states the use."""
    if op.outcome is not OK:
        return None
    if type(op) is Invoke:
        if (op.output and op.output.tokens is not None) or not _charged(op) or cost(op) is not None:
            return None
        return "an invoke that is ok has output.tokens, unless it is handle_only, a dry run or a stream"
    if type(op) is Budget and op.output is None:
        return "a budget that is ok has an output with total and used (null where there is no budget)"
    return None


def check(history: Sequence[AnyOperation], cell: Cell) -> Verdict:
    """Return the verdict on a history. The module's docstring says what is legal."""
    return conclude(CLAIM, KINDS, judge, history, cell)


def judge(history: Sequence[AnyOperation], cell: Cell) -> Judgement:
    """Judge each invoke and each read by itself, against all invokes."""
    total = int(needed(cell, "total", least=1))
    request = number(cell, "request", least=1)
    invokes = [op for op in history if type(op) is Invoke and _charged(op)]
    reads = sorted(
        [op for op in of_kind(history, Budget) if op.outcome is OK and _used(op) is not None],
        key=attrgetter("end_ns", "index"),
    )
    spending = Spending(invokes, reads, total, REQUEST if request is None else int(request))
    refused = [op for op in invokes if op.outcome is FAIL and op.error == DENIED]
    found = Findings()
    spending.judge_served(found)
    if request is not None and not found.counts["overspend"]:
        spending.judge_reserved(found)
    for op in refused:
        spending.judge_refused(op, found)
    _judge_order(reads, found)
    spending.judge_between(found)  # judged first, because its proofs are shorter
    for read in reads:
        spending.judge_read(read, found)
    spent = spending.spent(FOREVER)
    asked = spending.served or refused or reads
    return Judgement(
        measures={
            "total": total,
            "spent": spent,
            "factor": spent / total,
            "served": len(spending.served),
            "refused": len(refused),
            "overspends": found.counts["overspend"],
            "used_max": max((_used(op) or 0 for op in reads), default=None),
            "false_denials": found.counts["false_denial"],
        },
        found=found,
        unknown=""
        if asked
        else "nothing to judge: no invoke was served or refused, and nobody read the budget",
    )


def cost(op: Invoke) -> int | None:
    """Return the number of tokens that an ok invoke was charged."""
    if op.output is None:
        return None
    return 0 if op.output.tokens is None and op.output.response_mode == "handle_only" else op.output.tokens


def _cost(op: Invoke) -> int:
    return (op.output.tokens or 0) if op.output else 0


def _charged(op: Invoke) -> bool:
    return not op.input.dry_run and not op.input.stream


def _end(op: Invoke) -> int:
    return op.end_ns


def _used(op: Budget) -> int | None:
    return op.output.used if op.output else None


class Spending:
    """The number of tokens that had certainly been spent by an instant, and the number that can have been."""

    def __init__(self, invokes: Sequence[Invoke], reads: Sequence[Budget], total: int, request: int) -> None:
        self.total = total
        self._reads = reads
        self._told_wrong: set[tuple[str, int]] = set()
        """Reads that are wrong against an earlier read. Each is reported once."""
        self._read_ends = ends_ns(reads)
        self._highest = list(accumulate(reads, _higher))
        self._highest_used = [_used(op) or 0 for op in self._highest]
        gone = bisect_left(self._highest_used, total)
        self._told_ns = self._read_ends[gone] if gone < len(self._highest_used) else FOREVER
        served = [op for op in invokes if op.outcome is OK]
        ends = ends_ns(served)
        self.served = [served[at] for at in sorted(range(len(ends)), key=ends.__getitem__)]
        self._ends = sorted(ends)
        self._costs = costs = [(op.output.tokens or 0) if op.output else 0 for op in self.served]
        self._spent = [0, *accumulate(costs)]
        emptied = bisect_left(self._spent, total)
        self._empty_ns = self._ends[emptied - 1] if emptied < len(self._spent) else FOREVER
        self._called = calls = [op.call_ns for op in self.served]
        by_call = sorted(range(len(calls)), key=calls.__getitem__)
        self._by_call = [self.served[at] for at in by_call]
        self._calls = [calls[at] for at in by_call]
        self._begun = [0, *accumulate(costs[at] for at in by_call)]
        self._first_info = min((op.call_ns for op in invokes if op.outcome is INFO), default=FOREVER)
        self._invokes, self._request = invokes, request

    @cached_property
    def _held(self) -> Held:
        return Held(self._invokes, self.total, self._request)

    def spent(self, before_ns: int) -> int:
        """Return the cost of the ok invokes that had returned before an instant."""
        return self._spent[bisect_left(self._ends, before_ns)]

    def begun(self, by_ns: int) -> int:
        """Return the cost of the ok invokes that had been called by an instant."""
        return self._begun[bisect_right(self._calls, by_ns)]

    def judge_served(self, found: Findings) -> None:
        """Judge that no invoke was called after the budget had been spent, or after a read had shown that."""
        for op in self.served:
            read = self._told(op.call_ns) if op.call_ns > self._told_ns else None
            if read is not None:
                found.add("overspend", [read, op], _say_told, op, read, self.total)
            elif op.call_ns > self._empty_ns:
                proof = self._costing(op.call_ns, self.total) if found.counts["overspend"] < KEPT else []
                found.add("overspend", [*proof, op], _say_overspend, op, self.spent(op.call_ns), self.total)

    def judge_reserved(self, found: Findings) -> None:
        """Judge that the last of the overlapping invokes found tokens left, in whatever order they reserved."""
        if not self.served:
            return
        ends, read_ends, total = self._ends, self._read_ends, self.total
        releasing = sorted((op for op in self._invokes if self._may_release(op)), key=_end, reverse=True)
        # the numbers of invokes and reads that had returned before the instant, and of invokes that may release later
        returned, read, released = len(ends), len(read_ends), 0
        until_ns, later = FOREVER, list[Invoke]()
        order = sorted(range(len(self._called)), key=self._called.__getitem__, reverse=True)
        for call_ns, places in groupby(order, key=self._called.__getitem__):
            while returned and ends[returned - 1] >= call_ns:
                returned -= 1
            while read and read_ends[read - 1] >= call_ns:
                read -= 1
            while released < len(releasing) and releasing[released].end_ns >= call_ns:
                if releasing[released].call_ns < until_ns:
                    # every invoke so far was called after it, and so returned too late
                    until_ns, later = releasing[released].call_ns, []
                released += 1
            later += [self.served[place] for place in places if ends[place] < until_ns]
            known = spent = self._spent[returned]
            if read and (told := self._highest_used[read - 1]) > spent:
                known = told
            if known < total <= known + self._request * (len(later) - 1):
                by_read = read and self._highest_used[read - 1] == known
                before = [self._highest[read - 1]] if by_read else self.served[:returned]
                enough = 1 + -(-(total - known) // self._request)
                found.add("over_reserved", [*before, *later[-enough:]], _say_reserved, later[-1], total)
                return

    def _may_release(self, op: Invoke) -> bool:
        """Return whether an invoke may give back a part of its reservation: if it costs less, fails, or takes long."""
        if op.outcome is OK:
            return _cost(op) < self._request or op.end_ns - op.call_ns >= LEASE_NS
        return op.error not in BEFORE_THE_BUDGET

    def judge_refused(self, op: Invoke, found: Findings) -> None:
        """Judge that the budget can have been used up at some instant of this refused invoke."""
        if op.call_ns > self._empty_ns or op.end_ns >= self._first_info:
            return
        if not self._held.can_be_gone(op):
            found.add("false_denial", [op], _say_denial, op, self._held, self.total)

    def judge_read(self, op: Budget, found: Findings) -> None:
        """Judge that a read tells at least the certain use, and at most the possible use."""
        used = _used(op) or 0
        if used > self.total:
            found.add("over_total", [op], _say_total, op, f"{used} tokens used", self.total)
        if op.output is not None and op.output.total not in (None, self.total):
            found.add("wrong_total", [op], _say_total, op, f"a total of {op.output.total}", self.total)
        spent = min(self.total, self.spent(op.call_ns))
        if used < spent and ("lost_use", op.index) not in self._told_wrong:
            proof = self._costing(op.call_ns, used + 1) if found.counts["lost_use"] < KEPT else []
            found.add("lost_use", [*proof, op], _say_read, "LostNothing", op, used, "at least", spent)
        begun = self.begun(op.end_ns)
        inflated = used > begun and op.end_ns < self._first_info
        if inflated and ("inflated_use", op.index) not in self._told_wrong:
            found.add("inflated_use", [op], _say_read, "AddedNothing", op, used, "at most", begun)

    def _told(self, before_ns: int) -> Budget | None:
        """Return the read with the largest use, of those that had returned before an instant."""
        before = bisect_left(self._read_ends, before_ns)
        return self._highest[before - 1] if before else None

    def judge_between(self, found: Findings) -> None:
        """Judge that the use grew from one read to the next by the amount that was charged between them."""
        for op in self._reads:
            before = bisect_left(self._read_ends, op.call_ns)
            if not before:
                continue
            earlier = self._reads[before - 1]
            since, used = _used(earlier) or 0, _used(op) or 0
            if used < since:
                continue  # another rule reports that the use went back
            # the difference of two sums is quick to compute and never too large; only if it is too large, look at
            # each invoke
            if used < self.total and self.spent(op.call_ns) - self.spent(earlier.end_ns) > used - since:
                between = self._charged_between(earlier, op)
                if used - since < sum(map(_cost, between)):
                    proof = _costing(between, used - since + 1)
                    found.add("lost_use", [earlier, *proof, op], _say_grown, "LostNothing", earlier, op)
                    self._told_wrong.add(("lost_use", op.index))
            if (
                used - since > self.begun(op.end_ns) - self.spent(earlier.call_ns)
                and op.end_ns < self._first_info
            ):
                found.add("inflated_use", [earlier, op], _say_grown, "AddedNothing", earlier, op)
                self._told_wrong.add(("inflated_use", op.index))

    def _charged_between(self, earlier: Budget, op: Budget) -> list[Invoke]:
        """Return the invokes called after one read had returned, and returned before another read was called."""
        first, last = bisect_right(self._calls, earlier.end_ns), bisect_left(self._calls, op.call_ns)
        spend(last - first, "the comparison of reads with what was charged between them")
        return [one for one in self._by_call[first:last] if one.end_ns < op.call_ns]

    def _costing(self, before_ns: int, tokens: int) -> list[Invoke]:
        """Return the fewest invokes that had returned before an instant and together cost `tokens`."""
        returned = self.served[: bisect_left(self._ends, before_ns)]
        spend(len(returned), "the search for the invokes that prove it")
        return _costing(returned, tokens)


def _costing(invokes: Sequence[Invoke], tokens: int) -> list[Invoke]:
    """Return the fewest of some invokes that together cost `tokens`."""
    fewest: list[Invoke] = []
    for op in nlargest(len(invokes), invokes, key=_cost):
        if tokens <= 0:
            break
        fewest.append(op)
        tokens -= _cost(op)
    return fewest


class Held:
    """The most that can be spent or reserved at an instant.

    An invoke that is under way holds its reservation or has been charged. After its return it has been charged, or
    holds nothing.
    """

    def __init__(self, invokes: Sequence[Invoke], total: int, request: int) -> None:
        taking, freeing = [], []
        for op in invokes:
            if op.outcome is INFO or op.error in BEFORE_THE_BUDGET:
                continue
            charge = _cost(op) if op.outcome is OK else 0
            taking.append((op.call_ns, max(charge, request)))
            freeing.append((op.end_ns, max(0, request - charge)))
        taking.sort()
        freeing.sort()
        self._total = total
        self._taken_at, self._freed_at = [at for at, _ in taking], [at for at, _ in freeing]
        self._taken = [0, *accumulate(amount for _, amount in taking)]
        self._freed = [0, *accumulate(amount for _, amount in freeing)]
        # for each call, the first call at which the budget can be used up, itself or a later one; past the end if none
        self._gone_from = [len(taking)] * (len(taking) + 1)
        for at in range(len(taking) - 1, -1, -1):
            self._gone_from[at] = at if self._at(self._taken_at[at]) >= total else self._gone_from[at + 1]

    def _at(self, now_ns: int) -> int:
        taken = self._taken[bisect_right(self._taken_at, now_ns)]
        return taken - self._freed[bisect_left(self._freed_at, now_ns)]

    def can_be_gone(self, op: Invoke) -> bool:
        """Return whether the whole budget can have been spent or reserved at some instant of an invoke."""
        if self._at(op.call_ns) >= self._total:
            return True
        # the amount can grow only at a call, so look at the calls during the invoke: is the budget used up at one of
        # them?
        first, last = bisect_right(self._taken_at, op.call_ns), bisect_right(self._taken_at, op.end_ns)
        return self._gone_from[first] < last

    def most(self, op: Invoke) -> int:
        """Return the most at any instant of an invoke. It looks at every call during the invoke, for messages."""
        first, last = bisect_right(self._taken_at, op.call_ns), bisect_right(self._taken_at, op.end_ns)
        return max(self._at(at) for at in (op.call_ns, *self._taken_at[first:last]))


def _judge_order(reads: Sequence[Budget], found: Findings) -> None:
    """Judge that no read tells less than a read that had returned before its call.

    `reads` are in the order of returns.
    """
    ends = ends_ns(reads)
    highest = list(accumulate(reads, _higher))
    for op in reads:
        before = bisect_left(ends, op.call_ns)
        if before and (_used(op) or 0) < (_used(highest[before - 1]) or 0):
            found.add("used_went_back", [highest[before - 1], op], _say_back, highest[before - 1], op)


def _higher(one: Budget, other: Budget) -> Budget:
    return other if (_used(other) or 0) > (_used(one) or 0) else one


def _say_overspend(op: Invoke, spent: int, total: int) -> str:
    return (
        f"broke BudgetHolds: {named(op)} was served though the ok invokes that had returned before "
        f"its call cost {spent} tokens of a budget of {total}"
    )


def _say_told(op: Invoke, read: Budget, total: int) -> str:
    return (
        f"broke BudgetHolds: {named(op)} was served though {named(read)} had told {_used(read)} tokens used of a "
        f"budget of {total} before its call"
    )


def _say_back(earlier: Budget, op: Budget) -> str:
    return (
        f"broke UseOnlyGrows: {named(op)} tells {_used(op)} tokens used, "
        f"{lasting(op.call_ns - earlier.end_ns)} after {named(earlier)} had told {_used(earlier)}"
    )


def _say_read(guarantee: str, op: Budget, used: int, bound: str, tokens: int) -> str:
    return (
        f"broke {guarantee}: {named(op)} tells {used} tokens used; the invokes cost {bound} {tokens} by then"
    )


def _say_grown(guarantee: str, earlier: Budget, op: Budget) -> str:
    what = "less" if guarantee == "LostNothing" else "more"
    return (
        f"broke {guarantee}: {named(op)} tells {_used(op)} tokens used after {named(earlier)} had told "
        f"{_used(earlier)}; that is {what} than the invokes between them cost"
    )


def _say_denial(op: Invoke, held: Held, total: int) -> str:
    return (
        f"broke DenialEarned: {named(op)} was refused as over budget though at most {held.most(op)} tokens "
        f"of {total} can have been spent or reserved"
    )


def _say_reserved(op: Invoke, total: int) -> str:
    return (
        f"broke ReservationHolds: {named(op)} and the invokes after it were all served, though what was "
        f"spent before and what all but the last of them reserved come to the budget of {total} or more"
    )


def _say_total(op: Budget, told: str, total: int) -> str:
    return f"broke TotalHolds: {named(op)} tells {told}; the deployment says that its budget is {total}"
