"""Stale authority: the results of invokes of revoked tokens, by the time since the revoke had returned.

Only tokens count that were revoked by themselves, by a revoke that is ok. An invoke that is answered
``token_expired`` counts as refused, because stale authority ends with the token's life at the latest.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass

from kernel_lab.judge.history import AnyOperation, Invoke, Outcome, Revoke


@dataclass(frozen=True, slots=True)
class Since:
    """One invoke of a revoked token."""

    after_s: float
    """The time from the revoke's return to the invoke's call."""
    accepted: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Slice:
    """The invokes called within one slice of time after their revoke."""

    begin_s: float
    end_s: float
    accepted: int
    asked: int


def since_revoke(history: Sequence[AnyOperation], capabilities: Collection[str]) -> list[Since]:
    """Every answered invoke of a revoked token of these capabilities that was called after the revoke."""
    revoked_ns: dict[str, int] = {}
    for op in history:
        if isinstance(op, Revoke) and op.outcome is Outcome.OK:
            token = op.input.token_id
            revoked_ns[token] = min(op.end_ns, revoked_ns.get(token, op.end_ns))
    return [
        Since((op.call_ns - revoked_ns[op.input.token_id]) / 1e9, op.outcome is Outcome.OK)
        for op in history
        if isinstance(op, Invoke)
        and op.input.capability in capabilities
        and op.outcome is not Outcome.INFO
        and op.call_ns > revoked_ns.get(op.input.token_id, op.call_ns)
    ]


def slices(invokes: Iterable[Since], *, width_s: float) -> list[Slice]:
    """The invokes, counted by slices of time; a slice in which nobody asked is left out."""
    answers: dict[int, list[bool]] = defaultdict(list)
    for one in invokes:
        answers[int(one.after_s / width_s)].append(one.accepted)
    return [
        Slice(begin_s=at * width_s, end_s=(at + 1) * width_s, accepted=sum(told), asked=len(told))
        for at, told in sorted(answers.items())
    ]
