"""Coverage: the revokes that reach a token.

A token's own revokes reach it. A ``revoke_all`` of its principal reaches it certainly if the token's grant had
returned before the call of the ``revoke_all``. It may reach it if the two overlap, or if the grant is not in the
history. It never reaches it if the grant was called after the ``revoke_all`` had returned.
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
)

AnyRevoke = Revoke | RevokeAll


@dataclass(slots=True)
class Case:
    """The operations of one token."""

    token: str
    grant: Grant | None = None
    granted_ns: tuple[int, int] = (-FOREVER, FOREVER)
    """Call and return of its grant. If the grant is not in the history, it may have been at any time."""
    revokes: list[Revoke] = field(default_factory=list)
    accepts: list[Invoke] = field(default_factory=list)
    refusals: list[Invoke] = field(default_factory=list)
    others: list[Invoke] = field(default_factory=list)
    """Invokes that prove nothing about a revocation."""
    sweeps: Sweeps | None = None
    """Every ``revoke_all`` of its principal."""

    def certain(self) -> AnyRevoke | None:
        """Return the revoke that returned first, of the ok revokes that certainly cover the token."""
        first: AnyRevoke | None = self.sweeps.first_called_after(self.granted_ns[1]) if self.sweeps else None
        for op in self.revokes:
            if op.outcome is OK and (first is None or op.end_ns < first.end_ns):
                first = op
        return first

    def possible(self, not_ended_before: int) -> AnyRevoke | None:
        """Return the revoke called first, of those that may cover the token and had not ended before an instant."""
        since = max(not_ended_before, self.granted_ns[0])
        first: AnyRevoke | None = self.sweeps.first_ended_from(since) if self.sweeps else None
        for op in self.revokes:
            if (first is None or op.call_ns < self.begins(first)) and op.end_ns >= not_ended_before:
                first = op
        return first

    def begins(self, revoke: AnyRevoke) -> int:
        """Return the first instant at which a revoke can reach the token."""
        return revoke.call_ns if isinstance(revoke, Revoke) else max(revoke.call_ns, self.granted_ns[0])


@dataclass(frozen=True, slots=True)
class Sweeps:
    """The ``revoke_all`` of one principal."""

    calls: list[int]
    """The calls of the ok operations, in order."""
    first_end: list[RevokeAll]
    """For each of `calls`: the operation that returned first, of those called at that time or later."""
    ends: list[int]
    """The ends of all operations, in order. An info never ends."""
    first_call: list[RevokeAll]
    """For each of `ends`: the operation that was called first, of those that ended at that time or later."""

    @classmethod
    def of(cls, sweeps: Iterable[RevokeAll]) -> Sweeps:
        """Return the tables of those ``revoke_all`` that may have happened."""
        by_end = sorted((op for op in sweeps if op.outcome is not FAIL), key=_end)
        by_call = sorted((op for op in by_end if op.outcome is OK), key=lambda op: op.call_ns)
        return cls(
            [op.call_ns for op in by_call],
            list(accumulate(reversed(by_call), _ended_first))[::-1],
            [op.end_ns for op in by_end],
            list(accumulate(reversed(by_end), _called_first))[::-1],
        )

    def first_called_after(self, instant: int) -> RevokeAll | None:
        """Return the ok operation that returned first, of those called after an instant."""
        at = bisect_right(self.calls, instant)
        return self.first_end[at] if at < len(self.calls) else None

    def first_ended_from(self, instant: int) -> RevokeAll | None:
        """Return the operation that was called first, of those that had not ended before an instant."""
        at = bisect_left(self.ends, instant)
        return self.first_call[at] if at < len(self.ends) else None


def cases(history: Sequence[AnyOperation]) -> list[Case]:
    """Return the cases of all tokens that may have been revoked, or that were refused as revoked."""
    grants: dict[str, Grant] = {}
    swept: dict[str, list[RevokeAll]] = defaultdict(list)
    cases = _ByToken()
    accepts: list[Invoke] = []
    others: list[Invoke] = []
    for op in history:
        if type(op) is Invoke:
            if op.input.tampered:
                continue
            if op.outcome is OK or (proven := proves(op)) is ACCEPTED:
                accepts.append(op)
            elif proven is REVOKED and op.outcome is FAIL:
                cases[op.input.token_id].refusals.append(op)  # reading the missing entry creates it
            else:
                others.append(op)
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
                continue  # no revoke covers this token
            case = cases[token] = Case(token)
        case.grant, case.sweeps, case.granted_ns = grant, sweep, (grant.call_ns, grant.end_ns)
    for op in accepts:
        if (asked := cases.get(op.input.token_id)) is not None:
            asked.accepts.append(op)
    for op in others:
        if (asked := cases.get(op.input.token_id)) is not None:
            asked.others.append(op)
    everybody = Sweeps.of([op for ops in swept.values() for op in ops])
    for case in cases.values():
        if case.grant is None:
            # the token's principal is not known, because the principal that presented it may be another
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
