"""Lag: how long each worker went on accepting a revoked token, as a bracket of two measured ends.

For one worker and one token, counted from the earliest revoke that certainly took effect:

- the **lower** end is the call of the last accept, less the revoke's return, and at least 0: the worker had not
  heard of the revoke until then;
- the **upper** end is the return of the first later refusal, less the revoke's call: the worker had heard by
  then. Where the worker never refused the token as revoked, but later as expired, expiry is the end. Where it
  did neither, the bracket is open and its upper end is infinite.

The instant at which the worker began to refuse lies between the two. The width of the bracket depends only on how
often the worker was asked. A worker that accepted nothing after the revoke and never refused the token as revoked
tells nothing about its lag, and has no bracket. The bracket of a token takes the largest lower end, the largest upper
end and the worst kind of end of its workers.

    revoke [10, 12], accept [20, 22], refusal [31, 33] on one worker: lower 20 - 12 = 8, upper 33 - 10 = 23.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from enum import StrEnum
from math import inf
from typing import Final, NamedTuple

from kernel_lab.judge.operation import Invoke, ends_ns


class End(StrEnum):
    """The end of the time in which a worker accepted a revoked token. The worst end has the highest rank."""

    REFUSAL = "refusal"
    EXPIRY = "expiry"
    NOT_SEEN = "not seen"


_RANK = {End.REFUSAL: 0, End.EXPIRY: 1, End.NOT_SEEN: 2}
_REFUSAL: Final = End.REFUSAL
_OPEN: Final = (inf, End.NOT_SEEN)


class Bracket(NamedTuple):
    """The time for which a revoked token was accepted: at least `lower_ns`, at most `upper_ns`."""

    lower_ns: int
    upper_ns: float
    """Infinite where no end was seen."""
    end: End

    @property
    def width_ns(self) -> float:
        """The width of the bracket; infinite for an open bracket."""
        return self.upper_ns - self.lower_ns


def bracket(
    called_ns: int,
    revoked_ns: int,
    *,
    accepts: Sequence[Invoke],
    refusals: Sequence[Invoke],
    expired: Iterable[Invoke],
) -> Bracket | None:
    """One token's bracket over all its workers: until the last of them refused. None where no worker tells.

    Args:
        called_ns: The revoke's call.
        revoked_ns: The revoke's return.
        accepts: Invokes of the token that were accepted.
        refusals: The invokes of the token that were refused as revoked.
        expired: The invokes of the token that were refused as expired.
    """
    last: dict[str | None, int] = {}
    for op in accepts:
        call_ns = op.call_ns
        if call_ns > called_ns and call_ns > last.get(op.worker, called_ns):
            last[op.worker] = call_ns
    if not last:
        return _refused_at_once(called_ns, refusals)
    ends: dict[str | None, tuple[float, End]] = {}
    for op, end_ns in zip(refusals, ends_ns(refusals), strict=True):
        worker = op.worker
        known = ends.get(worker)
        if end_ns >= last.get(worker, called_ns) and (known is None or end_ns < known[0]):
            ends[worker] = end_ns, _REFUSAL
        elif known is None and end_ns >= called_ns:
            ends[worker] = _OPEN
    for worker, call_ns in last.items():
        if call_ns > revoked_ns:
            ends.setdefault(worker, _OPEN)
    for op in expired:
        known = ends.get(op.worker)
        if known and known[1] is not _REFUSAL and last.get(op.worker, called_ns) <= op.end_ns < known[0]:
            ends[op.worker] = op.end_ns, End.EXPIRY
    if not ends:
        return None
    accepted_ns = max([last.get(worker, revoked_ns) for worker in ends])
    uppers, kinds = zip(*ends.values(), strict=True)
    return Bracket(
        max(0, accepted_ns - revoked_ns), max(uppers) - called_ns, max(kinds, key=_RANK.__getitem__)
    )


def _refused_at_once(called_ns: int, refusals: Sequence[Invoke]) -> Bracket | None:
    """The bracket where no worker accepted the token after the revoke's call, as is nearly always so."""
    firsts: dict[str | None, int] = {}
    for op, end_ns in zip(refusals, ends_ns(refusals), strict=True):
        if end_ns >= called_ns and ((first := firsts.get(op.worker)) is None or end_ns < first):
            firsts[op.worker] = end_ns
    return Bracket(0, max(firsts.values()) - called_ns, _REFUSAL) if firsts else None


def worst(known: Iterable[Bracket]) -> End | None:
    """The worst end of several brackets; None without any."""
    return max((one.end for one in known), key=_RANK.__getitem__, default=None)
