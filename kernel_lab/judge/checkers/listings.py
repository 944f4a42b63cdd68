"""Listings of traces, and what each must hold: a part of the claim `traces`, which says what is legal.

Actions are sorted by their returns once for each principal and type of event that some listing is narrowed
to. Then what a listing must hold is a run of that order: all that had returned before the listing's call,
from the first on that the cap can have kept. While nothing can have been pushed out, it is enough to count
how many of a listing's entries belong to that run; else the run is gone through, and each step counts
against the cell's budget of work.

    actions a [0, 1], b [2, 3], c [4, 9] and a listing [5, 6] of a and b: whole, since c overlaps it.
    The same with cap 1, and only b in it: whole too, since b has pushed a out.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence

from kernel_lab.judge.checkers.finding import KEPT, Findings
from kernel_lab.judge.checkers.kept import Action, Kept
from kernel_lab.judge.checkers.story import lasting, named, short
from kernel_lab.judge.history import AnyOperation, Expand, Grant, ListTraces, Outcome
from kernel_lab.judge.work import spend

DENIALS = frozenset({"rate_limited", "missing_role"})
"""Refusals of a grant that the policy gives, and that upstream therefore records."""

LOOKED_AT = 8
"""Steps that it takes to see whether a listing must hold an action, and holds it."""


class Group:
    """The actions that a listing may be narrowed to: those of one principal, or all; of one type, or all."""

    def __init__(self) -> None:
        self.ends: list[int] = []
        self.actions: list[str] = []
        self.rank: dict[str, int] = {}

    def add(self, action: str, op: Action) -> None:
        """Add the next action, in the order of the returns."""
        self.rank[action] = len(self.actions)
        self.ends.append(op.end_ns)
        self.actions.append(action)


_NOBODY = Group()


class Lists:
    """Listings, and what each must hold."""

    def __init__(
        self, actions: Mapping[str, Action], kept: Kept, history: Sequence[AnyOperation], slack_ns: int
    ) -> None:
        self._actions, self._kept, self._slack_ns = actions, kept, slack_ns
        self._groups: dict[tuple[str | None, str | None], Group] = defaultdict(Group)
        asked = {_narrowed(op) for op in history if isinstance(op, ListTraces)}
        principals = {principal for principal, _ in asked}
        for action, op in sorted(actions.items(), key=lambda item: (item[1].end_ns, item[1].index)):
            for principal in {None, op.input.principal} & principals:
                for event in (None, op.f):
                    if (principal, event) in asked:
                        self._groups[principal, event].add(action, op)
        self._denied: dict[str, list[Grant]] = defaultdict(list)
        if any(event == "deny" for _, event in asked):
            for grant in history:
                if isinstance(grant, Grant) and grant.outcome is Outcome.FAIL and grant.error in DENIALS:
                    self._denied[grant.input.principal].append(grant)
        self.count = self.expected = self.missing = 0

    def judge(self, op: ListTraces, found: Findings) -> None:
        """Add what is wrong with a listing.

        Raises:
            CutOff: The cell's budget of work is spent.
        """
        listed = (op.output and op.output.action_ids) or []
        self.count += 1
        self._judge_doubled(op, listed, found)
        self._judge_order(op, listed, found)
        asked = op.input
        if self._kept.cap is not None and len(listed) > self._kept.cap:
            found.add("cap_exceeded", [op], _say_long, op, len(listed), self._kept.cap)
        if asked is not None and (asked.offset or (asked.limit is not None and len(listed) >= asked.limit)):
            return
        principal, event = _narrowed(op)
        if event == "deny":
            self._judge_denials(op, principal, len(listed), found)
        elif event in (None, "invoke", "expand"):
            self._judge_whole(op, self._groups.get((principal, event), _NOBODY), listed, found)

    def _judge_whole(self, op: ListTraces, group: Group, listed: list[str], found: Findings) -> None:
        """It holds every action that it must."""
        last = bisect_left(group.ends, op.call_ns)
        capability = (op.input.capability or op.input.capability_id) if op.input else None
        if self._kept.all and not capability:
            # each of the first `last` must be there: how many of them are
            held = sum(group.rank.get(action, last) < last for action in dict.fromkeys(listed))
            self.expected += last
            self.missing += last - held
            if held == last:
                return
            room = KEPT - found.counts["missing_from_listing"]
            needed = range(last)
        else:
            since = self._kept.since(op) if not self._kept.all else -(1 << 100)
            needed = range(bisect_right(group.ends, since), last)
            room = len(needed)
        spend(LOOKED_AT * len(needed), "the comparison of listings with the actions they must hold")
        given = set(listed)
        absent = 0
        for at in needed:
            action = group.actions[at]
            if not self._kept.all or capability:
                if not self._needed(self._actions[action], op, capability):
                    continue
                self.expected += 1
                self.missing += action not in given
            if action not in given:
                absent += 1
                if absent <= room:
                    one = self._actions[action]
                    found.add("missing_from_listing", [one, op], _say_missing, one, op, action)
        if absent > room:
            found.counts["missing_from_listing"] += absent - max(0, room)

    def _needed(self, action: Action, op: ListTraces, capability: str | None) -> bool:
        """Whether a listing narrowed to a capability must hold an action that the cap may have pushed out."""
        if capability and (isinstance(action, Expand) or action.input.capability != capability):
            return False
        return self._kept.certainly(action, op)

    def _judge_doubled(self, op: ListTraces, listed: list[str], found: Findings) -> None:
        if len(set(listed)) < len(listed):
            for action, times in Counter(listed).items():
                if times > 1 and action in self._actions:
                    proof = [self._actions[action], op]
                    found.add("doubled_in_listing", proof, _say_doubled, op, action, times)

    def _judge_order(self, op: ListTraces, listed: list[str], found: Findings) -> None:
        """It is in the order of the actions, or in the opposite order."""
        known = [self._actions[action] for action in listed if action in self._actions]
        forward, backward = _disordered(known, self._slack_ns), _disordered(known[::-1], self._slack_ns)
        if forward and backward:
            proof: dict[int, AnyOperation] = {one.index: one for one in (*forward, *backward)}
            found.add("out_of_order", [*proof.values(), op], _say_disorder, op, *forward)

    def _judge_denials(self, op: ListTraces, principal: str | None, listed: int, found: Findings) -> None:
        """It holds as many denials as the principal's grants were certainly refused."""
        if principal is None:
            return
        denied = self._denied.get(principal, ())
        spend(LOOKED_AT * len(denied), "the comparison of listings with the grants denied")
        must = [grant for grant in denied if self._kept.certainly(grant, op)]
        self.expected += len(must)
        if listed < len(must):
            self.missing += len(must) - listed
            proof: list[AnyOperation] = [*must[: listed + 1], op]
            found.add("missing_denials", proof, _say_denials, op, principal, listed, len(must))


def _narrowed(op: ListTraces) -> tuple[str | None, str | None]:
    """The principal and the type of event that a listing is narrowed to."""
    if op.input is None:
        return None, None
    return op.input.principal or op.input.principal_id, op.input.event_type


def _disordered(listed: Sequence[Action], slack_ns: int) -> tuple[Action, Action] | None:
    """Return the first two that stand the wrong way round, the earlier first; None if there are none."""
    latest: Action | None = None
    for op in listed:
        if latest is not None and op.end_ns + slack_ns < latest.call_ns:
            return op, latest
        if latest is None or op.call_ns > latest.call_ns:
            latest = op
    return None


def _say_long(op: ListTraces, listed: int, cap: float) -> str:
    return (
        f"broke CapHolds: the listing of {named(op)} holds {listed} traces, and {cap:g} are said to be kept"
    )


def _say_missing(action: Action, op: ListTraces, name: str) -> str:
    return (
        f"broke ActionListed: the listing of {named(op)} lacks action {short(name)}, called "
        f"{lasting(op.call_ns - action.end_ns)} after {named(action)} had returned"
    )


def _say_denials(op: ListTraces, principal: str, listed: int, must: int) -> str:
    return (
        f"broke DenialListed: the listing of {named(op)} holds {listed} denials of {principal}; {must} of "
        "its grants had been refused before"
    )


def _say_doubled(op: ListTraces, action: str, times: int) -> str:
    return f"broke ActionListed: the listing of {named(op)} holds action {short(action)} {times} times"


def _say_disorder(op: ListTraces, earlier: Action, later: Action) -> str:
    return (
        f"broke ActionOrdered: the listing of {named(op)} puts {named(later)} before {named(earlier)}, which "
        "had returned before it was called, and has other pairs the other way round"
    )
