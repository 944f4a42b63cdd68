"""Once an invoke has returned, every worker explains its action, a listing holds it once, the chain verifies.

**Actions.** An ok invoke and an ok expand name their actions (``output.action_id``). A stream counts only if it came to
its final frame: a stream whose caller hung up may have no trace.

**What is certain.** The trace of an action is *certainly kept* at a question that was called after the
action had returned, if fewer than ``trace_cap`` other traces can have been recorded after it and before the
question's return. Every invoke and expand, and every grant that was not ok (upstream records denials), may
have recorded one; so may the calls of ``cell.beside``. It is *certainly pushed out* if at least
``trace_cap`` others were recorded after it and before the question's call, for certain. Without the
parameter, traces are kept for ever.

**Legal.**

- A trace that is certainly kept is explained, and not ``trace_not_found`` (**lost_trace**). The explanation says what
  was done: principal, capability, token, handle, arguments, status and type of event (**wrong_trace**). A field that
  the explanation leaves out is not compared.
- A listing holds every action that is certainly kept (**missing_from_listing**). A listing that is narrowed to a
  principal, a capability or a type of event need only hold the actions of that filter. A listing that is cut by
  ``limit`` or ``offset`` need not be complete.
- No listing holds an action of the history twice (**doubled_in_listing**).
- Where one action had returned before another was called, a listing holds them in that order, or in the
  opposite order for all pairs (**out_of_order**).
- A listing of a principal's denials has one entry for each refused grant (``rate_limited``, ``missing_role``) whose
  trace is certainly kept (**missing_denials**).
- A trace that is certainly pushed out is not explained, and no listing has more than ``trace_cap`` entries
  (**cap_exceeded**).
- An audit must answer that the chain verifies (**broken_chain**). The chain must have at least as many records as ok
  invokes had returned before the audit (**chain_short**; judged while everything together fits ``trace_cap``). An audit
  that answers null has no chain, and is not judged.

Where operations touch or overlap, nothing is certain, so a right store is not accused.

    invoke [0, 2] -> a, explain a [2, 3] not found: legal, they touch. Explain a [3, 4] not found: lost_trace.
    cap 1: invoke [0, 1] -> a, invoke [2, 3] -> b, explain a [4, 5] ok: cap_exceeded.

**What it cannot see.** It cannot see whether the time in a trace is right. The order of listings is judged, and
upstream orders them by that time, but a clock that is wrong by the same amount everywhere is not noticed. It cannot see
a chain that forked and still says that it verifies, or a missing denial with another reason code.

**How long it takes.** Each listing is compared with the actions that it must hold, starting at the first that
the cap can have kept. This work is counted against the cell's budget of work; listings beyond the budget are not
judged.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Mapping, Sequence
from functools import cached_property
from operator import attrgetter

from kernel_lab.judge.checkers.finding import KEPT, Findings, Judgement, conclude
from kernel_lab.judge.checkers.kept import Action, Kept
from kernel_lab.judge.checkers.listings import Lists
from kernel_lab.judge.checkers.parameters import tolerance_ns
from kernel_lab.judge.checkers.story import lasting, named, short
from kernel_lab.judge.history import (
    FAIL,
    OK,
    AnyOperation,
    Audit,
    Expand,
    Explain,
    Invoke,
    ListTraces,
)
from kernel_lab.judge.operation import ExplainOutput
from kernel_lab.judge.verdict import Cell, Measure, Verdict
from kernel_lab.judge.work import CutOff

CLAIM = "traces"
JUDGES = frozenset({"invoke", "explain", "list_traces", "audit"})
KINDS = (
    "lost_trace", "wrong_trace", "missing_from_listing", "missing_denials", "doubled_in_listing",
    "out_of_order", "cap_exceeded", "broken_chain", "chain_short",
)  # fmt: skip
LOST = "trace_not_found"
TOLD = ("principal", "handle_id", "status", "event_type", "capability", "token_id", "args")
"""The fields in which a trace describes its action."""


def lacks(op: AnyOperation) -> str | None:
    """Return the missing field of an ok operation, such as the action of an invoke or the actions of a listing."""
    if op.outcome is not OK or type(op) is Explain:
        return None
    if type(op) is Invoke:
        if (op.output is not None and op.output.action_id is not None) or op.input.dry_run:
            return None
        return "an invoke that is ok has an output.action_id, unless its input says dry_run"
    if type(op) is ListTraces and (op.output is None or op.output.action_ids is None):
        return "a list_traces that is ok has output.action_ids"
    if type(op) is Audit and op.output is None:
        return "an audit that is ok has an output with valid (null where there is no chain) and records"
    return None


def check(history: Sequence[AnyOperation], cell: Cell) -> Verdict:
    """Return the verdict on a history. The module's docstring says what is legal."""
    return conclude(CLAIM, KINDS, judge, history, cell)


def judge(history: Sequence[AnyOperation], cell: Cell) -> Judgement:
    """Judge each question by itself, against the actions."""
    actions: dict[str, Action] = {}
    for op in history:
        if type(op) is Invoke:
            if op.outcome is not OK or op.output is None or not (op.output.final or not op.input.stream):
                continue
        elif type(op) is not Expand or op.outcome is not OK or op.output is None:
            continue
        name = op.output.action_id
        # of several with one name, the one that returned first
        if name and actions.setdefault(name, op) is not op and op.end_ns < actions[name].end_ns:
            actions[name] = op
    kept = Kept(history, cell)
    found = Findings()
    explains, audits = Explains(actions, kept), Audits(actions, kept)
    lists = Lists(actions, kept, history, tolerance_ns(cell))
    cut_off = ""
    for op in history:
        if type(op) is Explain:
            explains.judge(op, found)
        elif type(op) is ListTraces and op.outcome is OK:
            try:
                lists.judge(op, found)
            except CutOff as why:
                cut_off = str(why)
        elif type(op) is Audit and op.outcome is OK:
            audits.judge(op, found)
    asked = explains.count or lists.expected or audits.count or found.counts
    measures: dict[str, Measure] = {
        "explains": explains.count,
        "lost": found.counts["lost_trace"],
        "lost_rate": found.counts["lost_trace"] / explains.count if explains.count else None,
        "listings": lists.count,
        "missing_share": lists.missing / lists.expected if lists.expected and not cut_off else None,
        "doubled": found.counts["doubled_in_listing"],
        "audits": audits.count,
    }
    unknown = "" if asked else "nothing to judge: no trace was asked for after its invoke had returned"
    return Judgement(measures=measures, found=found, unknown=cut_off or kept.cut_off or unknown)


class Explains:
    """Questions for one action."""

    def __init__(self, actions: Mapping[str, Action], kept: Kept) -> None:
        self._actions, self._kept = actions, kept
        self.count = 0

    def judge(self, op: Explain, found: Findings) -> None:
        """Judge one answer, if it is certain whether the trace is there, and add the findings."""
        action = self._actions.get(op.input.action_id)
        lost = op.outcome is FAIL and op.error == LOST
        if action is None or not (lost or op.outcome is OK):
            return
        if self._kept.certainly(action, op):
            self.count += 1
            if lost:
                found.add("lost_trace", [action, op], _say_lost, action, op)
        if lost:
            return
        if type(op.output) is ExplainOutput and (wrong := _wrong(op.output, action)):
            found.add("wrong_trace", [action, op], _say_wrong, action, op, wrong)
        elif not self._kept.all and self._kept.certainly_not(action, op):
            proof = [action, *self._kept.newer(action, op), op] if found.counts["cap_exceeded"] < KEPT else []
            found.add("cap_exceeded", proof, _say_beyond, action, op, self._kept.cap)


def _wrong(said: ExplainOutput, action: Action) -> str:
    """Return the statement of a trace that is wrong (``"principal 'q' instead of 'p'"``), or an empty string."""
    was: tuple[object, ...]
    if type(action) is Invoke:
        if _all_right(said, action):
            return ""
        asked, made = action.input, action.output.handle_id if action.output else None
        was = (
            asked.principal or None, made, "succeeded", "invoke", asked.capability or None, asked.token_id,
            asked.args,
        )  # fmt: skip
    else:
        was = (
            action.input.principal or None,
            action.input.handle_id,
            "succeeded",
            "expand",
            None,
            None,
            None,
        )
    told = (
        said.principal, said.handle_id, said.status, said.event_type, said.capability, said.token_id, said.args
    )  # fmt: skip
    for name, tells, value in zip(TOLD, told, was, strict=True):
        if tells is not None and value is not None and tells != value:
            return f"{name} {tells!r} instead of {value!r}"
    return ""


def _all_right(said: ExplainOutput, action: Invoke) -> bool:
    """Whether a trace describes its invoke correctly. Nearly every trace does, and this test is fast."""
    asked = action.input
    return (
        (said.status is None or said.status == "succeeded")
        and (said.event_type is None or said.event_type == "invoke")
        and (said.principal is None or said.principal == asked.principal or not asked.principal)
        and (said.capability is None or said.capability == asked.capability or not asked.capability)
        and (said.token_id is None or said.token_id == asked.token_id)
        and (
            said.handle_id is None
            or (made := action.output.handle_id if action.output else None) is None
            or said.handle_id == made
        )
        and (said.args is None or asked.args is None or said.args == asked.args)
    )


class Audits:
    """Chains that were asked to verify themselves."""

    def __init__(self, actions: Mapping[str, Action], kept: Kept) -> None:
        self._actions, self._kept = actions, kept
        self.count = 0

    @cached_property
    def _invokes(self) -> list[Invoke]:
        """Return the ok invokes in the order of their returns. They are needed only where the history has an audit."""
        invokes = [op for op in self._actions.values() if type(op) is Invoke]
        return sorted(invokes, key=attrgetter("end_ns", "index"))

    @cached_property
    def _ends(self) -> list[int]:
        return [op.end_ns for op in self._invokes]

    def judge(self, op: Audit, found: Findings) -> None:
        """Judge one answer: the chain must verify, and must have a record of each action."""
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
            proof: list[AnyOperation] = []
            if found.counts["chain_short"] < KEPT:
                proof = [*self._invokes[: max(0, have) + 1], op]
            found.add("chain_short", proof, _say_short, op, have, must)


def _say_lost(action: Action, op: Explain) -> str:
    return (
        f"broke ActionExplained: {named(op)} found no trace of action {short(op.input.action_id)}, "
        f"{lasting(op.call_ns - action.end_ns)} after {named(action)} had returned"
    )


def _say_wrong(action: Action, op: Explain, wrong: str) -> str:
    return (
        f"broke ActionTold: {named(op)} explains action {short(op.input.action_id)} of {named(action)} with "
        f"{wrong}"
    )


def _say_beyond(action: Action, op: Explain, cap: float) -> str:
    return (
        f"broke CapHolds: {named(op)} explains action {short(op.input.action_id)} of {named(action)}, though "
        f"{cap:g} newer traces, as many as the deployment says it keeps, had been recorded"
    )


def _say_broken(op: Audit) -> str:
    return f"broke ChainVerifies: {named(op)} says that the audit chain does not verify"


def _say_short(op: Audit, have: int, must: int) -> str:
    return (
        f"broke ChainVerifies: {named(op)} says that the audit chain verifies with {have} records; {must} ok "
        f"invokes had returned before"
    )
