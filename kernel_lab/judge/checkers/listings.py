"""Listings of traces, and the actions that each must contain: a part of the claim `traces`, which says what is legal.

Actions are sorted by their returns, once for each principal and type of event that some listing is narrowed
to. Then the actions that a listing must contain are consecutive in that order: all that had returned before the
listing's call, from the first one that the cap can have kept. While no trace can have been removed, it is enough to
count how many of a listing's entries are among these. Otherwise they are compared one by one, and each step counts
against the cell's budget of work. The grants that were denied are sorted by their calls in the same way.

An example: actions a [0, 1], b [2, 3], c [4, 9], and a listing [5, 6] of a and b. It is complete, since c overlaps it.
The same listing with cap 1, and only b in it, is complete too, since b has removed a.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from functools import cached_property
from operator import attrgetter

from kernel_lab.judge.checkers.finding import KEPT, Findings
from kernel_lab.judge.checkers.kept import Action, Kept
from kernel_lab.judge.checkers.story import lasting, named, short
from kernel_lab.judge.history import (
    FAIL,
    FOREVER,
    AnyOperation,
    Expand,
    Grant,
    Invoke,
    ListTraces,
    of_kind,
)
from kernel_lab.judge.work import spend

DENIALS = frozenset({"rate_limited", "missing_role"})
"""Reason codes of refused grants that the policy gives, and that upstream therefore records."""

LOOKED_AT = 8
"""The steps of work for finding out whether a listing must contain an action, and contains it."""
COMPARISON = "the comparison of listings with the actions they must hold"


class Group:
    """Actions that a listing may be narrowed to: of one principal or of all, and of one type of event or of all."""

    def __init__(self) -> None:
        self.ends: list[int] = []
        """The returns of the actions, in order."""
        self.actions: list[str] = []
        """The actions in the order of their returns."""

    def fill(self, entries: list[tuple[int, int, str]]) -> None:
        """Take the actions of the group: the end, the index and the name of each."""
        entries.sort()
        self.ends = [end_ns for end_ns, _, _ in entries]
        self.actions = [name for _, _, name in entries]

    @cached_property
    def rank(self) -> dict[str, int]:
        """The place of each action in that order."""
        return {action: at for at, action in enumerate(self.actions)}


_NOBODY = Group()

Narrowed = tuple[str | None, str | None]
"""The principal and the type of event that a listing is narrowed to; None where it is not."""

Denials = tuple[list[Grant], list[int]]
"""The denied grants of one principal in the order of their calls, and the times of these calls."""
_NO_DENIALS: Denials = ([], [])


def _by_call(grants: list[Grant]) -> Denials:
    grants.sort(key=attrgetter("call_ns", "index"))
    return grants, [grant.call_ns for grant in grants]


class Lists:
    """The listings of a history, judged one by one."""

    def __init__(
        self, actions: Mapping[str, Action], kept: Kept, history: Sequence[AnyOperation], slack_ns: int
    ) -> None:
        self._actions, self._kept, self._slack_ns = actions, kept, slack_ns
        asked = {_narrowed(op) for op in of_kind(history, ListTraces)}
        self._groups = {narrowed: Group() for narrowed in asked if narrowed[1] != "deny"}
        self._sort_into_groups()
        denied: dict[str, list[Grant]] = defaultdict(list)
        if any(event == "deny" for _, event in asked):
            for grant in of_kind(history, Grant):
                if grant.outcome is FAIL and grant.error in DENIALS:
                    denied[grant.input.principal].append(grant)
        self._denied = {principal: _by_call(grants) for principal, grants in denied.items()}
        self.count = self.expected = self.missing = 0

    def _sort_into_groups(self) -> None:
        """Give each group its actions."""
        if not self._groups:
            return
        entries: dict[Narrowed, list[tuple[int, int, str]]] = {narrowed: [] for narrowed in self._groups}
        of_one: dict[str | None, dict[str, list[tuple[int, int, str]]]] = defaultdict(dict)
        for (principal, event), some in entries.items():
            if principal is not None:
                of_one[event][principal] = some
        # a listing of one type of event, or of all, may be asked for: by one principal, or by nobody in particular
        ways = {
            kind: (
                [of_one[event] for event in (kind.f, None) if event in of_one],
                [entries[None, event] for event in (kind.f, None) if (None, event) in entries],
            )
            for kind in (Invoke, Expand)
        }
        for name, op in self._actions.items():
            own, of_all = ways[type(op)]
            principal = op.input.principal
            for by_principal in own:
                if (one := by_principal.get(principal)) is not None:
                    one.append((op.end_ns, op.index, name))
            for one in of_all:
                one.append((op.end_ns, op.index, name))
        while entries:
            narrowed, some = entries.popitem()
            self._groups[narrowed].fill(some)

    def judge(self, op: ListTraces, found: Findings) -> None:
        """Judge one listing, and add the findings.

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
        """Judge that a listing contains every action that it must contain."""
        last = bisect_left(group.ends, op.call_ns)
        capability = (op.input.capability or op.input.capability_id) if op.input else None
        since = self._kept.since(op)
        if since == -FOREVER and not capability:
            # each of the first `last` actions must be in the listing, so count those that are
            rank = group.rank
            held = sum([rank.get(action, last) < last for action in set(listed)])
            self.expected += last
            self.missing += last - held
            if held == last:
                return
            spend(LOOKED_AT * last, COMPARISON)
            must = group.actions[:last]
        else:
            first = bisect_right(group.ends, since)
            spend(LOOKED_AT * max(0, last - first), COMPARISON)
            # an action that ended after `since` may have been called before it
            must = [
                name
                for name in group.actions[first:last]
                if (one := self._actions[name]).call_ns > since and (not capability or _of(one, capability))
            ]
            self.expected += len(must)
            self.missing += len(must) - len(set(listed).intersection(must))
        given = set(listed)
        absent = [name for name in must if name not in given]
        told = max(0, KEPT - found.counts["missing_from_listing"])
        for name in absent[:told]:
            found.add(
                "missing_from_listing", [self._actions[name], op], _say_missing, self._actions[name], op, name
            )
        if absent[told:]:
            found.counts["missing_from_listing"] += len(absent) - told

    def _judge_doubled(self, op: ListTraces, listed: list[str], found: Findings) -> None:
        if len(set(listed)) < len(listed):
            for action, times in Counter(listed).items():
                if times > 1 and action in self._actions:
                    proof = [self._actions[action], op]
                    found.add("doubled_in_listing", proof, _say_doubled, op, action, times)

    def _judge_order(self, op: ListTraces, listed: list[str], found: Findings) -> None:
        """Judge that a listing is in the order of the actions, or in the opposite order."""
        known = [self._actions[action] for action in listed if action in self._actions]
        forward = _disordered(known, self._slack_ns)
        if forward and (backward := _disordered(known[::-1], self._slack_ns)):
            proof: dict[int, AnyOperation] = {one.index: one for one in (*forward, *backward)}
            found.add("out_of_order", [*proof.values(), op], _say_disorder, op, *forward)

    def _judge_denials(self, op: ListTraces, principal: str | None, listed: int, found: Findings) -> None:
        """Judge that a listing contains as many denials as the principal's grants were certainly refused."""
        if principal is None:
            return
        since = self._kept.since(op)
        denied, calls = self._denied.get(principal, _NO_DENIALS)
        first, last = bisect_right(calls, since), bisect_left(calls, op.call_ns)
        spend(LOOKED_AT * max(0, last - first), "the comparison of listings with the grants denied")
        must = [grant for grant in denied[first:last] if grant.end_ns < op.call_ns]
        self.expected += len(must)
        if listed < len(must):
            self.missing += len(must) - listed
            proof: list[AnyOperation] = [*must[: listed + 1], op]
            found.add("missing_denials", proof, _say_denials, op, principal, listed, len(must))


def _of(action: Action, capability: str) -> bool:
    """Return whether an action belongs to a capability. An expansion belongs to none."""
    return isinstance(action, Invoke) and action.input.capability == capability


def _narrowed(op: ListTraces) -> Narrowed:
    """Return the principal and the type of event that a listing is narrowed to."""
    if op.input is None:
        return None, None
    return op.input.principal or op.input.principal_id, op.input.event_type


def _disordered(listed: Sequence[Action], slack_ns: int) -> tuple[Action, Action] | None:
    """Return the first two entries in the wrong order, the earlier first; None if there are none."""
    latest: Action | None = None
    latest_ns = -FOREVER
    for op in listed:
        if latest is not None and op.end_ns + slack_ns < latest_ns:
            return op, latest
        if op.call_ns > latest_ns:
            latest, latest_ns = op, op.call_ns
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
