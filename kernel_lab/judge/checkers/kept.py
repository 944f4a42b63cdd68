"""The traces that a store keeps under a cap: a part of the claims `traces` and `streams`.

The oldest trace is removed first. So a trace is certainly kept while fewer than ``trace_cap`` others can have been
recorded after it. It is certainly removed once at least ``trace_cap`` others certainly were recorded after it.

An example with cap 2 and the invokes a [0, 1], b [2, 3], c [4, 8]. At a question [5, 6], a may have been removed (c can
have been recorded at 5), and b is certainly kept. At a question [9, 9], a has certainly been removed.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Sequence
from itertools import islice
from operator import attrgetter

from kernel_lab.judge.checkers.parameters import number
from kernel_lab.judge.history import FOREVER, OK, AnyOperation, Expand, Grant, Invoke
from kernel_lab.judge.verdict import Beside, Cell
from kernel_lab.judge.work import CutOff, spend

Action = Invoke | Expand
"""The operations that have an action of their own, and a trace of that action."""


class Kept:
    """The traces that are certainly kept or removed, from the cap and all that may have been recorded."""

    def __init__(self, history: Sequence[AnyOperation], cell: Cell) -> None:
        self.cap = cap = number(cell, "trace_cap", least=1)
        recorded: list[AnyOperation | Beside] = []
        if cap is not None:
            recorded = [op for op in history if (kind := type(op)) is Invoke or kind is Expand or _denied(op)]
            recorded += [op for op in cell.beside if op.f != "grant" or op.outcome is not OK]
        self.cut_off = ""
        """Why it was not decided for some traces whether they had been removed; empty if it was decided for all."""
        self.all = cap is None or len(recorded) <= cap
        """Whether every trace is certainly kept, because no more than the cap were recorded."""
        self._calls = [] if self.all else sorted([op.call_ns for op in recorded])
        self._ends = [] if self.all else sorted(map(_recorded_ns, recorded))
        sure = [] if self.all else [op for op in history if _records(op)]
        self._sure = sorted(sure, key=attrgetter("call_ns"))
        self._sure_calls = [op.call_ns for op in self._sure]
        self._sure_ends = sorted(map(_recorded_ns, self._sure))

    def certainly(self, action: AnyOperation, question: AnyOperation) -> bool:
        """Return whether the trace was there at every instant of the question."""
        if question.call_ns <= action.end_ns:
            return False
        if self.all or self.cap is None:
            return True
        return action.call_ns > self.since(question)

    def since(self, question: AnyOperation) -> int:
        """Return an instant. An action that was called after it is certainly kept until the question's return.

        Fewer than ``trace_cap`` other traces can have been recorded after such an action. Their number is at most the
        number of operations called by the question's return, less those that had ended before the action's call, and
        less the action itself.
        """
        by_then = bisect_right(self._calls, question.end_ns)
        ended = by_then - int(self.cap or 0)
        return self._ends[ended - 1] if ended > 0 else -FOREVER

    def certainly_not(self, action: AnyOperation, question: AnyOperation) -> bool:
        """Return whether the trace had been removed before the question was called, if the cap is kept."""
        if self.all or self.cap is None:
            return False
        # the actions that were called after this action had returned and were over before the question was asked
        over = bisect_left(self._sure_ends, question.call_ns)
        first = bisect_right(self._sure_calls, action.end_ns)
        if over - first >= self.cap or over - bisect_right(self._sure_ends, action.end_ns) < self.cap:
            return over - first >= self.cap
        # only operations that overlap either end can change the result, so look at each of those
        between = self._sure[first : bisect_left(self._sure_calls, question.call_ns)]
        try:
            spend(len(between), "the count of what was recorded between an action and a question")
        except CutOff as why:
            self.cut_off = str(why)
            return False
        return sum(op.recorded_ns < question.call_ns for op in between) >= self.cap

    def newer(self, action: AnyOperation, question: AnyOperation) -> list[AnyOperation]:
        """Return as many operations as the cap, each of which recorded a trace between an action and a question."""
        after, before = action.end_ns, question.call_ns
        between = (op for op in self._sure if op.call_ns > after and op.recorded_ns < before)
        return list(islice(between, int(self.cap or 0)))

    def all_at(self, question: AnyOperation) -> bool:
        """Return whether no trace can have been removed before the question returned."""
        return self.all or self.cap is None or bisect_right(self._calls, question.end_ns) <= self.cap


def _denied(op: AnyOperation) -> bool:
    return type(op) is Grant and op.outcome is not OK


def _recorded_ns(op: AnyOperation | Beside) -> int:
    """`recorded_ns`, seen at once of an invoke that is ok and was not closed."""
    if type(op) is Invoke and op.outcome is OK and (op.output is None or not op.output.closed):
        return FOREVER if op.return_ns is None else op.return_ns
    return op.recorded_ns


def _records(op: AnyOperation) -> bool:
    """Return whether an operation has certainly recorded a trace: an ok invoke or expand that names its action."""
    if type(op) is Invoke:
        whole = bool(op.output and op.output.action_id and (op.output.final or not op.input.stream))
        return op.outcome is OK and whole and not op.input.dry_run
    return type(op) is Expand and op.outcome is OK and bool(op.output and op.output.action_id)
