"""The numbers that a worker reports are the deployment's.

**Counted** are grants, invocations and expansions: an ok one counts once, within ``[call, return]``; an
info once or not at all, at any time after its call; a failure never (upstream counts denials apart). A
counter began the history at some baseline: the parameter ``baseline`` (``{"grants": n, …}``) states it;
reports that returned before the first counted operation was called show it; else it is only known to be 0
or more.

**Legal.** For each counter there is a baseline and an instant for every counted operation and every report,
such that a report's number is the baseline and all that counted before it. Reports read the same counter
whichever worker they come from: so the k-th operation to count lies after every report that had not seen
it, and before every one that had. Those are bounds for the position k, and `placement.unplaceable` decides
exactly whether the operations can fill them; its docstring says why no legal history is accused. What can
be said more simply is said first, and each of these alone leaves no placement:

- a report smaller than the baseline and what had certainly counted, or than an earlier report and what
  certainly counted in between: **undercount**;
- a report larger than the baseline and all that may have counted, or than an earlier report and what may
  have counted in between: **overcount**;
- a report smaller than an earlier one: **went_back**; and if only all of them together have no placement:
  **disagree**.

    grant [0, 2], report 0 at [3, 4]: an undercount. Report 0 at [2, 4]: it touches, legal.

**What it cannot see.** That all counters of one report are read at one instant: each is judged by itself.
Where no baseline is known and very many fit, only the simple rules are applied.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Sequence
from itertools import accumulate

from harness.checkers.finding import KEPT, Findings, Judgement, Unjudgeable, conclude
from harness.checkers.placement import unplaceable
from harness.checkers.story import named
from harness.history import FOREVER, AnyOperation, Expand, Grant, Invoke, Outcome, Stats
from harness.verdict import Cell, Measure, Verdict

CLAIM = "stats"
JUDGES = frozenset({"stats", "grant", "invoke", "expand"})
KINDS = ("undercount", "overcount", "went_back", "disagree")
COUNTERS: dict[str, type[Grant | Invoke | Expand]] = {
    "grants": Grant,
    "invocations": Invoke,
    "expansions": Expand,
}
SEARCH = 2_000_000
"""Operations times baselines that are tried at most."""


def lacks(op: AnyOperation) -> str | None:
    """A report that is ok has numbers."""
    if not isinstance(op, Stats) or op.outcome is not Outcome.OK:
        return None
    if op.output is None or all(getattr(op.output, name) is None for name in COUNTERS):
        return f"a stats that is ok has an output with {', '.join(COUNTERS)}"
    return None


def check(history: Sequence[AnyOperation], cell: Cell) -> Verdict:
    """The verdict on a history. See the module."""
    return conclude(CLAIM, KINDS, judge, history, cell)


def judge(history: Sequence[AnyOperation], cell: Cell) -> Judgement:
    """Each counter by itself."""
    stated = cell.parameters.get("baseline") or {}
    if not isinstance(stated, dict) or not all(type(n) is int for n in stated.values()):
        raise Unjudgeable(f"cell.json: parameters.baseline is {stated!r}; counter: number is needed")
    found = Findings()
    reports: set[int] = set()
    under: set[int] = set()
    unknown = ""
    grants: dict[str, Measure] = {}
    for name in COUNTERS:
        counter = Counter(name, history, stated.get(name))
        if not counter.reports:
            continue
        reports.update(op.index for _, op in counter.reports)
        under |= counter.judge(found)
        if not found.counts:
            unknown = counter.judge_together(found) or unknown
        if name == "grants":
            grants = counter.measures()
    if not reports:
        unknown = "nothing to judge: no worker reported its numbers"
    return Judgement(
        measures={"reports": len(reports), "undercounts": len(under), **grants}, found=found, unknown=unknown
    )


class Counter:
    """One counter: the operations that it counts, and the reports of it."""

    def __init__(self, name: str, history: Sequence[AnyOperation], stated: int | None) -> None:
        kind = COUNTERS[name]
        self.name = name
        self.counted = sorted(
            (op for op in history if isinstance(op, kind) and _counts(op)),
            key=lambda op: (op.call_ns, op.index),
        )
        self.calls = [op.call_ns for op in self.counted]
        self.ends = sorted(op.end_ns for op in self.counted)
        self.reports: list[tuple[int, Stats]] = sorted(
            (
                (value, op)
                for op in history
                if isinstance(op, Stats) and op.outcome is Outcome.OK and op.output is not None
                and (value := getattr(op.output, name)) is not None
            ),
            key=lambda report: (report[1].end_ns, report[1].index),
        )  # fmt: skip
        first_call = self.calls[0] if self.calls else FOREVER
        self.first: Stats | None = None
        self.baseline = stated
        if stated is None and self.reports and self.reports[0][1].end_ns < first_call:
            self.baseline, self.first = self.reports[0]

    def certain(self, before_ns: int) -> int:
        """How many had certainly counted before an instant."""
        return bisect_left(self.ends, before_ns)

    def possible(self, by_ns: int) -> int:
        """How many may have counted by an instant."""
        return bisect_right(self.calls, by_ns)

    def measures(self) -> dict[str, Measure]:
        """The least and the most that was reported, and the most that certainly had been."""
        values = [value for value, _ in self.reports]
        return {
            f"{self.name}_reported_min": min(values),
            f"{self.name}_reported_max": max(values),
            f"{self.name}_certain": max(self.certain(op.call_ns) for _, op in self.reports),
        }

    def judge(self, found: Findings) -> set[int]:
        """Add what is wrong with each report; the reports that told too little, by index."""
        wrong: list[tuple[str, int, Stats | None, Stats, int]] = []
        highest = list(accumulate(self.reports, _higher))
        ends = [op.end_ns for _, op in self.reports]
        for value, op in self.reports:
            base = self.baseline or 0
            if value < base + self.certain(op.call_ns):
                wrong.append(("undercount", value, self.first, op, base))
            if self.baseline is not None and value > base + self.possible(op.end_ns):
                wrong.append(("overcount", value, self.first, op, base))
            earlier = bisect_left(ends, op.call_ns) - 1
            if earlier < 0:
                continue
            if value < highest[earlier][0]:
                wrong.append(("went_back", value, highest[earlier][1], op, highest[earlier][0]))
            before, previous = self.reports[earlier]
            if value >= before:
                if value - before < self._certain_between(previous, op, value - before + 1):
                    wrong.append(("undercount", value, previous, op, before))
                if value - before > self.possible(op.end_ns) - self.certain(previous.call_ns):
                    wrong.append(("overcount", value, previous, op, before))
        under: set[int] = set()
        seen: set[tuple[str, int]] = set()
        # the smallest proof of each first
        for kind, value, earlier_op, op, base in sorted(wrong, key=lambda w: (w[1] - w[4], w[3].index)):
            if (kind, op.index) in seen:
                continue
            seen.add((kind, op.index))
            proof: list[AnyOperation] = [op] if earlier_op is None else [earlier_op, op]
            if kind == "undercount":
                under.add(op.index)
                if found.counts[kind] < KEPT:
                    proof += self._between(earlier_op, op, value - base + 1)
            found.add(kind, proof, _say, kind, self.name, value, earlier_op, op, base)
        return under

    def _between(self, earlier: Stats | None, op: Stats, most: int) -> list[AnyOperation]:
        """Up to `most` that certainly counted between two reports."""
        start = 0 if earlier is None else bisect_right(self.calls, earlier.end_ns)
        between: list[AnyOperation] = []
        for counted in self.counted[start : bisect_left(self.calls, op.call_ns)]:
            if len(between) >= most:
                break
            if counted.end_ns < op.call_ns:
                between.append(counted)
        return between

    def _certain_between(self, earlier: Stats, op: Stats, most: int) -> int:
        return len(self._between(earlier, op, most))

    def judge_together(self, found: Findings) -> str:
        """Add that the reports together have no placement, if so; say why that is unknown, if it is."""
        least = max([0, *(value - self.possible(op.end_ns) for value, op in self.reports)])
        most = min(value - self.certain(op.call_ns) for value, op in self.reports)
        if self.baseline is not None:
            least, most = max(least, self.baseline), min(most, self.baseline)
        if (most - least) * len(self.counted) > SEARCH:
            return f"no report of {self.name} before the traffic: {most - least + 1} baselines are possible"
        looked_at: list[int] = [*range(len(self.counted))]
        for baseline in range(least, most + 1):
            proof = self._unplaceable(baseline)
            if proof is None:
                return ""
            looked_at = proof
        operations = [self.counted[i] for i in looked_at] + [op for _, op in self.reports]
        found.add("disagree", operations, _say_disagree, self.name, len(self.reports))
        return ""

    def _unplaceable(self, baseline: int) -> list[int] | None:
        """Whether the operations have no instants that agree with all reports: those looked at."""
        most = max(value for value, _ in self.reports) - baseline
        not_before = [-FOREVER] * max(most + 1, len(self.counted))
        not_after = [FOREVER] * most
        for value, op in self.reports:
            seen = value - baseline
            not_before[seen] = max(not_before[seen], op.call_ns)
            if seen:
                not_after[seen - 1] = min(not_after[seen - 1], op.end_ns)
        return unplaceable(
            self.calls,
            [op.end_ns for op in self.counted],
            not_before=list(accumulate(not_before, max)),
            not_after=list(accumulate(reversed(not_after), min))[::-1],
        )


def _higher(one: tuple[int, Stats], other: tuple[int, Stats]) -> tuple[int, Stats]:
    return other if other[0] > one[0] else one


def _counts(op: Grant | Invoke | Expand) -> bool:
    return op.outcome is not Outcome.FAIL and not (isinstance(op, Invoke) and op.input.dry_run)


def _say(kind: str, name: str, value: int, earlier: Stats | None, op: Stats, base: int) -> str:
    against = f"{base} in {named(earlier)}" if earlier else f"a baseline of {base}"
    said = f"{named(op)} reports {value} {name}, after {against}"
    return {
        "undercount": f"broke StatsWhole: {said} and more since then",
        "overcount": f"broke StatsWhole: {said} and not so many since then",
        "went_back": f"broke StatsForward: {said}",
    }[kind]


def _say_disagree(name: str, reports: int) -> str:
    return f"broke StatsWhole: no instants of what was counted agree with all {reports} reports of {name}"
