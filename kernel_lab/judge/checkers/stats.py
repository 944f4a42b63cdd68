"""The numbers that a worker reports are those of the whole deployment.

**What counts.** Grants, invocations and expansions are counted. An ok operation counts once, within ``[call, return]``.
An info counts once or not at all, at any time after its call. A failure never counts (upstream has another counter for
denials). A stream that its caller closed is ok, and yet counts like an info, because upstream counts it once it notices
that the caller has gone.

**The baseline** is the number that a counter had when the history began. The parameter ``baseline``
(``{"grants": n, …}``) states it. Without it, a report shows it that returned before the first counted operation was
called. Otherwise it is only known to be 0 or more.

**Legal.** For each counter there is a baseline, and an instant for every counted operation and every report,
such that a report's number is the baseline and all operations that counted before it.

**How it is decided.** All reports read the same counter, whichever worker they come from. So the k-th operation to
count lies no earlier than ``from(k)``, the latest call of a report that had seen fewer. It lies no later than
``to(k)``, the earliest return of a report that had seen it. Both grow with k, and a report that had seen k finds an
instant between the k-th operation and the next. An operation can be the k-th if its own interval meets ``[from(k),
to(k)]``. The positions for which this is so are consecutive.

A placement therefore exists if every position up to the largest number gets an operation, and every ok operation gets
a position. (Each operation then takes effect at the first instant that it can have; these instants are in order,
since the bounds grow.) So the question is a matching of operations with consecutive positions. A search that gives
each position the operation whose positions end first finds a matching if there is one (Glover 1967). So no legal
history is accused.

**What is wrong.** If there is no placement, the checker names the reports that are wrong by themselves:

- **undercount**: a report is smaller than the baseline and the operations that had certainly counted; or smaller than
  an earlier report and the operations that certainly counted in between.
- **overcount**: a report is larger than the baseline and all operations that may have counted; or larger than an
  earlier report and the operations that may have counted in between.
- **went_back**: a report is smaller than an earlier one.
- **disagree**: no report is wrong by itself, but all of them together have no placement.

grant [0, 2], report 0 at [3, 4]: an undercount. Report 0 at [2, 4]: it touches, so it is legal.

**What it cannot see.** It does not see whether all counters of one report are read at one instant, because each counter
is judged by itself. Where no baseline is known and very many are possible, only the simple rules are applied.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Sequence
from contextlib import suppress
from functools import cached_property
from heapq import heappop, heappush
from itertools import accumulate
from operator import attrgetter
from typing import NamedTuple

from kernel_lab.judge.checkers.finding import KEPT, Findings, Judgement, Unjudgeable, conclude
from kernel_lab.judge.checkers.story import named
from kernel_lab.judge.history import (
    FAIL,
    FOREVER,
    OK,
    AnyOperation,
    Expand,
    Grant,
    Invoke,
    Stats,
    ends_ns,
)
from kernel_lab.judge.verdict import Cell, Measure, Verdict
from kernel_lab.judge.work import CutOff, spend

CLAIM = "stats"
JUDGES = frozenset({"stats", "grant", "invoke", "expand"})
KINDS = ("undercount", "overcount", "went_back", "disagree")
COUNTERS = ("grants", "invocations", "expansions")
SEARCH = 2_000_000
"""The most operations times baselines that are tried."""


def lacks(op: AnyOperation) -> str | None:
    """Return the missing field of an ok operation: a report has numbers."""
    if type(op) is not Stats or op.outcome is not OK:
        return None
    if op.output is None or all(getattr(op.output, name) is None for name in COUNTERS):
        return f"a stats that is ok has an output with {', '.join(COUNTERS)}"
    return None


def check(history: Sequence[AnyOperation], cell: Cell) -> Verdict:
    """Return the verdict on a history. The module's docstring says what is legal."""
    return conclude(CLAIM, KINDS, judge, history, cell)


def judge(history: Sequence[AnyOperation], cell: Cell) -> Judgement:
    """Judge each counter by itself."""
    stated = cell.parameters.get("baseline") or {}
    if not isinstance(stated, dict) or not all(type(n) is int for n in stated.values()):
        raise Unjudgeable(f"cell.json: parameters.baseline is {stated!r}; counter: number is needed")
    reports: list[Stats] = []
    counted: dict[str, list[AnyOperation]] = {name: [] for name in COUNTERS}
    add_grant, add_invoke, add_expand = (counted[name].append for name in COUNTERS)
    for op in history:
        kind = type(op)
        if op.outcome is FAIL:
            continue
        if kind is Grant:
            add_grant(op)
        elif kind is Expand:
            add_expand(op)
        elif type(op) is Invoke:
            if not op.input.dry_run:
                add_invoke(op)
        elif type(op) is Stats and op.outcome is OK and op.output is not None:
            reports.append(op)
    reports.sort(key=attrgetter("end_ns", "index"))
    when = ([op.call_ns for op in reports], ends_ns(reports))
    found = Findings()
    under: set[int] = set()
    unknown = "" if reports else "nothing to judge: no worker reported its numbers"
    grants: dict[str, Measure] = {}
    for name in COUNTERS:
        counter = Counter(name, counted[name], reports, when, stated.get(name))
        if counter.reports:
            together = counter.placeable()
            if together is None:
                unknown = f"too many placements of {name} to try them all; a report before the traffic helps"
            if not together:
                under |= counter.judge(found, alone=together is False)
                unknown = counter.cut_off or unknown
            if name == "grants":
                grants = counter.measures()
    return Judgement(
        measures={"reports": len(reports), "undercounts": len(under), **grants}, found=found, unknown=unknown
    )


class Counter:
    """One counter: the operations that it counts, and the reports of it in the order of their returns."""

    def __init__(
        self,
        name: str,
        counted: Sequence[AnyOperation],
        reports: list[Stats],
        when: tuple[list[int], list[int]],
        stated: int | None,
    ) -> None:
        self.name = name
        calls, returns = list(map(attrgetter("call_ns"), counted)), _recorded(counted)
        order = sorted(range(len(calls)), key=calls.__getitem__)
        self._counted, self._order = counted, order
        self.calls = [calls[at] for at in order]
        self.returns = [returns[at] for at in order]
        numbers = [getattr(op.output, name) for op in reports]
        self.reports, (self.called, self.ended) = reports, when
        if None in numbers:  # of which no report may say anything
            self.reports = [op for op, number in zip(reports, numbers, strict=True) if number is not None]
            self.called, self.ended = [op.call_ns for op in self.reports], ends_ns(self.reports)
        self.numbers: list[int] = [number for number in numbers if number is not None]
        self.baseline = stated
        self.cut_off = ""
        """Why some reports were not compared with the operations that counted between them; empty if all were."""
        self.first: Stats | None = None
        if stated is None and self.reports and not (self.calls and self.calls[0] <= self.reports[0].end_ns):
            self.first, self.baseline = self.reports[0], self.numbers[0]

    @cached_property
    def counted(self) -> list[AnyOperation]:
        """The operations in the order of their calls."""
        return [self._counted[at] for at in self._order]

    @cached_property
    def ends(self) -> list[int]:
        """The returns in their own order."""
        return sorted(self.returns)

    def certain(self, before_ns: int) -> int:
        """Return the number of operations that had certainly counted before an instant."""
        return bisect_left(self.ends, before_ns)

    def possible(self, by_ns: int) -> int:
        """Return the number of operations that may have counted by an instant."""
        return bisect_right(self.calls, by_ns)

    def measures(self) -> dict[str, Measure]:
        """Return the least and the most that was reported, and the most that had certainly counted."""
        return {
            f"{self.name}_reported_min": min(self.numbers),
            f"{self.name}_reported_max": max(self.numbers),
            f"{self.name}_certain": self.certain(max(self.called)),
        }

    def judge(self, found: Findings, *, alone: bool) -> set[int]:
        """Judge each report, add the findings, and return the indexes of the reports that told too little.

        `alone` says that the reports have no placement: if none of them is wrong by itself, they disagree.
        """
        wrong: list[Wrong] = []
        base, known = self.baseline or 0, self.baseline is not None
        ends = self.ended
        highest = [0, *accumulate(range(len(ends)), self._higher)]
        for number, op in zip(self.numbers, self.reports, strict=True):
            certain, possible = self.certain(op.call_ns), self.possible(op.end_ns)
            if number < base + certain:
                wrong.append(Wrong("undercount", number, base, self.first, op))
            if known and number > base + possible:
                wrong.append(Wrong("overcount", number, base, self.first, op))
            earlier = bisect_left(ends, op.call_ns)
            if earlier == 0:
                continue
            top = highest[earlier]
            if number < self.numbers[top]:
                wrong.append(Wrong("went_back", number, self.numbers[top], self.reports[top], op))
            before, previous = self.numbers[earlier - 1], self.reports[earlier - 1]
            if number < before:
                continue
            if number - before > possible - self.certain(previous.call_ns):
                wrong.append(Wrong("overcount", number, before, previous, op))
            grown = number - before
            # no more than `grown` were certainly counted in between, so the costly search can find nothing
            if certain - self.certain(previous.end_ns) <= grown:
                continue
            try:
                if len(self._between(previous, op, grown + 1)) > grown:
                    wrong.append(Wrong("undercount", number, before, previous, op))
            except CutOff as why:
                self.cut_off = str(why)
        if alone and not wrong:
            operations = [*self.counted, *self.reports]
            found.add("disagree", operations, _say_disagree, self.name, len(self.reports))
        return self._add(wrong, found)

    def _higher(self, top: int, at: int) -> int:
        return at if self.numbers[at] > self.numbers[top] else top

    def _add(self, wrong: list[Wrong], found: Findings) -> set[int]:
        under: set[int] = set()
        seen: set[tuple[str, int]] = set()
        # short proofs first
        for one in sorted(wrong, key=lambda one: (one.number - one.base, one.op.index)):
            if (one.kind, one.op.index) in seen:
                continue
            seen.add((one.kind, one.op.index))
            proof: list[AnyOperation] = [op for op in (one.earlier, one.op) if op]
            if one.kind == "undercount":
                under.add(one.op.index)
                if found.counts[one.kind] < KEPT:
                    with suppress(CutOff):  # the report is wrong all the same, and its proof is left out
                        proof += self._between(one.earlier, one.op, one.number - one.base + 1)
            found.add(one.kind, proof, _say, self.name, one)
        return under

    def _between(self, earlier: Stats | None, op: Stats, most: int) -> list[AnyOperation]:
        """Return up to `most` operations that certainly counted between two reports."""
        start = 0 if earlier is None else bisect_right(self.calls, earlier.end_ns)
        found: list[AnyOperation] = []
        looked_at = 0
        for at in range(start, bisect_left(self.calls, op.call_ns)):
            if len(found) >= most:
                break
            looked_at += 1
            if self.returns[at] < op.call_ns:
                found.append(self.counted[at])
        spend(looked_at, "the comparison of reports with what was counted between them")
        return found

    def placeable(self) -> bool | None:
        """Return whether some baseline and instants agree with all reports; None if deciding it would take too long."""
        if self.baseline is not None:
            return self._placeable(self.baseline)
        least = max(
            [0, *(number - self.possible(end) for number, end in zip(self.numbers, self.ended, strict=True))]
        )
        most = min(
            number - self.certain(call) for number, call in zip(self.numbers, self.called, strict=True)
        )
        if (most - least) * len(self.counted) > SEARCH:
            return None
        return any(self._placeable(baseline) for baseline in range(least, most + 1))

    def _placeable(self, baseline: int) -> bool:
        numbers = [number - baseline for number in self.numbers]
        told = sorted(zip(numbers, self.called, self.ended, strict=True))
        seen = [number for number, _, _ in told]
        # for each number: the latest call of the reports that told at most this number, and the earliest return of
        # those that told at least this number
        called = list(accumulate((call_ns for _, call_ns, _ in told), max))
        returned = list(accumulate((end_ns for _, _, end_ns in reversed(told)), min))[::-1]
        if seen[0] < 0 or any(
            called[at] > returned[at + 1] and seen[at] < seen[at + 1] for at in range(len(seen) - 1)
        ):
            return False
        returned.append(max([FOREVER, *self.calls[-1:]]) + 1)
        seen_before = [0, *seen]
        firsts, at = [], 0
        for call in self.calls:  # in order, as `returned` is
            while returned[at] < call:
                at += 1
            firsts.append(seen_before[at])
        called.append(FOREVER + 1)
        seen.append(FOREVER)
        lasts = [seen[bisect_right(called, end)] for end in self.returns]
        ready: list[int] = []
        at, count = 0, len(firsts)
        for position in range(seen[-2]):
            while at < count and firsts[at] <= position:
                heappush(ready, lasts[at])
                at += 1
            if not ready or heappop(ready) <= position:
                return False
        return all(last == FOREVER for last in ready) and all(last == FOREVER for last in lasts[at:])


def _recorded(operations: Sequence[AnyOperation]) -> list[int]:
    """`recorded_ns` of operations of one kind."""
    ends = ends_ns(operations)
    if not operations or type(operations[0]) is not Invoke:
        return ends
    return [
        FOREVER if type(op) is Invoke and op.output is not None and op.output.closed else end_ns
        for op, end_ns in zip(operations, ends, strict=True)
    ]


class Wrong(NamedTuple):
    """A report that cannot be right, against a baseline or an earlier report."""

    kind: str
    number: int
    base: int
    earlier: Stats | None
    op: Stats


def _say(name: str, wrong: Wrong) -> str:
    against = f"{wrong.base} in {named(wrong.earlier)}" if wrong.earlier else f"a baseline of {wrong.base}"
    said = f"{named(wrong.op)} reports {wrong.number} {name}, after {against}"
    return {
        "undercount": f"broke StatsWhole: {said} and more since then",
        "overcount": f"broke StatsWhole: {said} and not so many since then",
        "went_back": f"broke StatsForward: {said}",
    }[wrong.kind]


def _say_disagree(name: str, reports: int) -> str:
    return f"broke StatsWhole: no instants of what was counted agree with all {reports} reports of {name}"
