"""Once an invoke has returned, every worker explains its action, a listing holds it once, the chain verifies.

**What is certain.** An ok invoke names its action; a stream must have come to its final frame as well (one
whose caller hung up may have no trace). The trace is *certainly kept* at a question that was
called after the invoke had returned if fewer than ``trace_cap`` others can have been recorded after it and
before the question's return: every invoke and expand, and every grant that was not ok (upstream records
denials), may be one. Without the parameter traces are kept for ever.

**Legal.** A trace that is certainly kept is explained, not ``trace_not_found`` (lost_trace), and a listing
holds its action (missing_from_listing). A listing narrowed to a principal or a capability need only hold
theirs; one that was cut by ``limit`` or ``offset``, or asks for other events, is not held to be complete.
No listing holds an action of the history twice (doubled_in_listing). A chain that is asked to verify itself
does (broken_chain) and has at least as many records as ok invokes had returned before the question
(chain_short; judged while everything together fits ``trace_cap``). A chain that says null is none, and not
judged. Whatever touches or overlaps is not certain, so a right store is not accused.

    invoke [0, 2] → a, explain a [2, 3] not found: it touches, legal. Explain a [3, 4] not found: lost.

**What it cannot see.** Traces of expands and denials. What a trace says. A chain that forked and says it
verifies.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections import Counter, defaultdict
from collections.abc import Sequence

from kernel_lab.judge.checkers.finding import Findings, Judgement, conclude
from kernel_lab.judge.checkers.parameters import number
from kernel_lab.judge.checkers.story import lasting, named, short
from kernel_lab.judge.history import AnyOperation, Audit, Expand, Explain, Grant, Invoke, ListTraces, Outcome
from kernel_lab.judge.verdict import Beside, Cell, Measure, Verdict

CLAIM = "traces"
JUDGES = frozenset({"invoke", "explain", "list_traces", "audit"})
KINDS = ("lost_trace", "missing_from_listing", "doubled_in_listing", "broken_chain", "chain_short")
LOST = "trace_not_found"


def lacks(op: AnyOperation) -> str | None:
    """An ok invoke names its action, an ok listing its actions, an ok audit its outcome."""
    if op.outcome is not Outcome.OK or isinstance(op, Explain):
        return None
    if isinstance(op, Invoke) and (op.output is None or op.output.action_id is None) and not op.input.dry_run:
        return "an invoke that is ok has an output.action_id, unless its input says dry_run"
    if isinstance(op, ListTraces) and (op.output is None or op.output.action_ids is None):
        return "a list_traces that is ok has output.action_ids"
    if isinstance(op, Audit) and op.output is None:
        return "an audit that is ok has an output with valid (null where there is no chain) and records"
    return None


def check(history: Sequence[AnyOperation], cell: Cell) -> Verdict:
    """The verdict on a history. See the module."""
    return conclude(CLAIM, KINDS, judge, history, cell)


def judge(history: Sequence[AnyOperation], cell: Cell) -> Judgement:
    """Each question by itself, against the invokes."""
    actions: dict[str, Invoke] = {}
    for op in history:
        if not isinstance(op, Invoke) or op.outcome is not Outcome.OK or op.output is None:
            continue
        if op.output.action_id and (op.output.final or not op.input.stream):
            earlier = actions.get(op.output.action_id)
            if earlier is None or op.end_ns < earlier.end_ns:
                actions[op.output.action_id] = op
    kept = Kept(history, cell)
    found = Findings()
    explains, lists, audits = Explains(actions, kept), Lists(actions, kept), Audits(actions, kept)
    for op in history:
        if isinstance(op, Explain):
            explains.judge(op, found)
        elif isinstance(op, Invoke):
            continue
        elif isinstance(op, ListTraces) and op.outcome is Outcome.OK:
            lists.judge(op, found)
        elif isinstance(op, Audit) and op.outcome is Outcome.OK:
            audits.judge(op, found)
    asked = explains.count or lists.expected or audits.count or found.counts
    measures: dict[str, Measure] = {
        "explains": explains.count,
        "lost": found.counts["lost_trace"],
        "lost_rate": found.counts["lost_trace"] / explains.count if explains.count else None,
        "listings": lists.count,
        "missing_share": lists.missing / lists.expected if lists.expected else None,
        "doubled": found.counts["doubled_in_listing"],
        "audits": audits.count,
    }
    unknown = "" if asked else "nothing to judge: no trace was asked for after its invoke had returned"
    return Judgement(measures=measures, found=found, unknown=unknown)


class Kept:
    """Which traces are certainly kept: the cap, and everything that may have been recorded."""

    def __init__(self, history: Sequence[AnyOperation], cell: Cell) -> None:
        self._cap = cap = number(cell, "trace_cap", least=1)
        recorded: list[AnyOperation | Beside] = []
        if cap is not None:
            recorded = [op for op in history if _may_record(op)]
            recorded += [op for op in cell.beside if op.f != "grant" or op.outcome is not Outcome.OK]
        self.all = cap is None or len(recorded) <= cap
        """Nothing can have been pushed out."""
        self._calls = [] if self.all else sorted(op.call_ns for op in recorded)
        self._ends = [] if self.all else sorted(op.recorded_ns for op in recorded)

    def certainly(self, invoke: Invoke, question: AnyOperation) -> bool:
        """The trace was there at every instant of the question."""
        if question.call_ns <= invoke.end_ns:
            return False
        if self.all or self._cap is None:
            return True
        before_it = bisect_left(self._ends, invoke.call_ns)
        by_then = bisect_right(self._calls, question.end_ns)
        return by_then - before_it - 1 < self._cap  # itself is one of them

    def all_at(self, question: AnyOperation) -> bool:
        """Nothing can have been pushed out before the question returned."""
        return self.all or self._cap is None or bisect_right(self._calls, question.end_ns) <= self._cap


def _may_record(op: AnyOperation) -> bool:
    return isinstance(op, Invoke | Expand) or (isinstance(op, Grant) and op.outcome is not Outcome.OK)


class Explains:
    """Questions for one action."""

    def __init__(self, actions: dict[str, Invoke], kept: Kept) -> None:
        self._actions, self._kept = actions, kept
        self.count = 0

    def judge(self, op: Explain, found: Findings) -> None:
        """It was answered, if its trace is certainly kept."""
        invoke = self._actions.get(op.input.action_id)
        lost = op.outcome is Outcome.FAIL and op.error == LOST
        if invoke is None or not (lost or op.outcome is Outcome.OK):
            return
        if self._kept.certainly(invoke, op):
            self.count += 1
            if lost:
                found.add("lost_trace", [invoke, op], _say_lost, invoke, op)


class Lists:
    """Listings, and what each must hold."""

    def __init__(self, actions: dict[str, Invoke], kept: Kept) -> None:
        self._actions, self._kept = actions, kept
        self._of: dict[str | None, tuple[list[int], list[str]]] = {None: _by_end(actions)}
        groups: dict[str, dict[str, Invoke]] = defaultdict(dict)
        for action, invoke in actions.items():
            groups[invoke.input.principal][action] = invoke
        self._of |= {principal: _by_end(group) for principal, group in groups.items()}
        self.count = self.expected = self.missing = 0

    def judge(self, op: ListTraces, found: Findings) -> None:
        """It holds every action that it must, and none twice."""
        listed = (op.output and op.output.action_ids) or []
        given = set(listed)
        self.count += 1
        if len(given) < len(listed):
            for action, times in Counter(listed).items():
                if times > 1 and action in self._actions:
                    found.add(
                        "doubled_in_listing", [self._actions[action], op], _say_doubled, op, action, times
                    )
        for action in self._needed(op, len(listed)):
            self.expected += 1
            if action not in given:
                self.missing += 1
                invoke = self._actions[action]
                found.add("missing_from_listing", [invoke, op], _say_missing, invoke, op, action)

    def _needed(self, op: ListTraces, listed: int) -> list[str]:
        asked = op.input
        if asked is None:
            principal = capability = None
        else:
            cut = bool(asked.offset) or (asked.limit is not None and listed >= asked.limit)
            if cut or asked.event_type not in (None, "invoke"):
                return []
            principal = asked.principal or asked.principal_id
            capability = asked.capability or asked.capability_id
        ends, actions = self._of.get(principal, ([], []))
        needed = actions[: bisect_left(ends, op.call_ns)]
        if capability is not None:
            needed = [action for action in needed if self._actions[action].input.capability == capability]
        if not self._kept.all:
            needed = [action for action in needed if self._kept.certainly(self._actions[action], op)]
        return needed


def _by_end(actions: dict[str, Invoke]) -> tuple[list[int], list[str]]:
    ordered = sorted(actions.items(), key=lambda item: (item[1].end_ns, item[1].index))
    return [invoke.end_ns for _, invoke in ordered], [action for action, _ in ordered]


class Audits:
    """Chains that were asked to verify themselves."""

    def __init__(self, actions: dict[str, Invoke], kept: Kept) -> None:
        self._kept = kept
        self._invokes = sorted(actions.values(), key=lambda op: (op.end_ns, op.index))
        self._ends = [op.end_ns for op in self._invokes]
        self.count = 0

    def judge(self, op: Audit, found: Findings) -> None:
        """It verifies, and has a record of each action."""
        if op.output is None or op.output.valid is None:
            return
        self.count += 1
        if op.output.valid is False:
            found.add("broken_chain", [op], _say_broken, op)
            return
        records = op.output.records
        if records is None or not self._kept.all_at(op):
            return
        have = len(records) if isinstance(records, list) else records
        must = bisect_left(self._ends, op.call_ns)
        if have < must:
            proof: list[AnyOperation] = [*self._invokes[: max(0, have) + 1], op]
            found.add("chain_short", proof, _say_short, op, have, must)


def _say_lost(invoke: Invoke, op: Explain) -> str:
    return (
        f"broke ActionExplained: {named(op)} found no trace of action {short(op.input.action_id)}, "
        f"{lasting(op.call_ns - invoke.end_ns)} after {named(invoke)} had returned"
    )


def _say_missing(invoke: Invoke, op: ListTraces, action: str) -> str:
    return (
        f"broke ActionListed: the listing of {named(op)} lacks action {short(action)}, called "
        f"{lasting(op.call_ns - invoke.end_ns)} after {named(invoke)} had returned"
    )


def _say_doubled(op: ListTraces, action: str, times: int) -> str:
    return f"broke ActionListed: the listing of {named(op)} holds action {short(action)} {times} times"


def _say_broken(op: Audit) -> str:
    return f"broke ChainVerifies: {named(op)} says that the audit chain does not verify"


def _say_short(op: Audit, have: int, must: int) -> str:
    return (
        f"broke ChainVerifies: {named(op)} says that the audit chain verifies with {have} records; {must} ok "
        f"invokes had returned before"
    )
