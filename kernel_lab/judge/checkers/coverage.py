"""Coverage: which revokes reach a token.

Its own; and each ``revoke_all`` of its principal: certainly, if the token's grant had returned before the
call; perhaps, if the two overlap or the grant is not in the history; never, if the grant was called after
the return.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from itertools import accumulate

from kernel_lab.judge.evidence import ACCEPTED, REVOKED, proves
from kernel_lab.judge.history import (
    FAIL,
    FOREVER,
    OK,
    AnyOperation,
    Grant,
    Invoke,
    Revoke,
    RevokeAll,
    of_kind,
)

AnyRevoke = Revoke | RevokeAll


@dataclass(slots=True)
class Case:
    """All that the history says of one token."""

    token: str
    grant: Grant | None = None
    granted_ns: tuple[int, int] = (-FOREVER, FOREVER)
    """Call and return of its grant: at any time, where it is not in the history."""
    revokes: list[Revoke] = field(default_factory=list)
    accepts: list[Invoke] = field(default_factory=list)
    refusals: list[Invoke] = field(default_factory=list)
    others: list[Invoke] = field(default_factory=list)
    """Invokes that prove nothing."""
    sweeps: Sweeps | None = None
    """Every ``revoke_all`` of its principal."""

    def certain(self) -> AnyRevoke | None:
        """The revoke that returned first of those that are ok and certainly cover the token."""
        first: AnyRevoke | None = self.sweeps.first_called_after(self.granted_ns[1]) if self.sweeps else None
        for op in self.revokes:
            if op.outcome is OK and (first is None or op.end_ns < first.end_ns):
                first = op
        return first

    def possible(self, not_ended_before: int) -> AnyRevoke | None:
        """The first to be called of those that may cover the token and had not ended before an instant."""
        since = max(not_ended_before, self.granted_ns[0])
        first: AnyRevoke | None = self.sweeps.first_ended_from(since) if self.sweeps else None
        for op in self.revokes:
            if op.end_ns >= not_ended_before and (first is None or op.call_ns < self.begins(first)):
                first = op
        return first

    def begins(self, revoke: AnyRevoke) -> int:
        """The first instant at which a revoke can reach the token."""
        return revoke.call_ns if isinstance(revoke, Revoke) else max(revoke.call_ns, self.granted_ns[0])


@dataclass(frozen=True, slots=True)
class Sweeps:
    """The ``revoke_all`` of one principal."""

    calls: list[int]
    """The calls of those that are ok, in order."""
    first_end: list[RevokeAll]
    """For each of `calls`: of those called then or later, the one that returned first."""
    ends: list[int]
    """The ends of all, in order; an info never ends."""
    first_call: list[RevokeAll]
    """For each of `ends`: of those ended then or later, the one that was called first."""

    @classmethod
    def of(cls, sweeps: Iterable[RevokeAll]) -> Sweeps:
        """Those that may have happened."""
        by_end = sorted((op for op in sweeps if op.outcome is not FAIL), key=_end)
        by_call = sorted((op for op in by_end if op.outcome is OK), key=lambda op: op.call_ns)
        return cls(
            [op.call_ns for op in by_call],
            list(accumulate(reversed(by_call), _ended_first))[::-1],
            [op.end_ns for op in by_end],
            list(accumulate(reversed(by_end), _called_first))[::-1],
        )

    def first_called_after(self, instant: int) -> RevokeAll | None:
        """The first to return of the ok ones called after an instant."""
        at = bisect_right(self.calls, instant)
        return self.first_end[at] if at < len(self.calls) else None

    def first_ended_from(self, instant: int) -> RevokeAll | None:
        """The first to be called of those that had not ended before an instant."""
        at = bisect_left(self.ends, instant)
        return self.first_call[at] if at < len(self.ends) else None


def cases(history: Sequence[AnyOperation]) -> list[Case]:
    """The tokens that may have been revoked, or were refused as revoked."""
    grants: dict[str, Grant] = {}
    swept: dict[str, list[RevokeAll]] = defaultdict(list)
    cases = _ByToken()
    for op in history:
        if type(op) is Invoke:
            if op.outcome is FAIL and proves(op) is REVOKED and not op.input.tampered:
                cases[op.input.token_id]  # made by asking for it
        elif type(op) is Grant:
            if op.outcome is OK and op.output and op.output.token_id:
                grants[op.output.token_id] = op
        elif type(op) is Revoke:
            if op.outcome is not FAIL:
                cases[op.input.token_id].revokes.append(op)
        elif type(op) is RevokeAll and op.outcome is not FAIL:
            swept[op.input.principal].append(op)
    sweeps = {principal: Sweeps.of(ops) for principal, ops in swept.items()}
    for token, grant in grants.items():
        case, sweep = cases.get(token), sweeps.get(grant.input.principal)
        if case is None:
            if sweep is None:
                continue  # nobody has revoked it
            case = cases[token] = Case(token)
        case.grant, case.sweeps, case.granted_ns = grant, sweep, (grant.call_ns, grant.end_ns)
    for op in of_kind(history, Invoke):
        if (asked := cases.get(op.input.token_id)) is None or op.input.tampered:
            continue
        proven = proves(op)
        if proven is ACCEPTED:
            asked.accepts.append(op)
        elif proven is REVOKED and op.outcome is FAIL:
            asked.refusals.append(op)
        else:
            asked.others.append(op)
    everybody = Sweeps.of([op for ops in swept.values() for op in ops])
    for case in cases.values():
        if case.grant is None:
            # it is not known whose token it is: a stranger may have presented it
            case.sweeps = everybody
    return list(cases.values())


def _end(op: AnyOperation) -> int:
    return op.end_ns


def _ended_first(one: RevokeAll, other: RevokeAll) -> RevokeAll:
    return min(one, other, key=_end)


def _called_first(one: RevokeAll, other: RevokeAll) -> RevokeAll:
    return one if one.call_ns <= other.call_ns else other


class _ByToken(dict[str, Case]):
    def __missing__(self, token: str) -> Case:
        case = self[token] = Case(token)
        return case
