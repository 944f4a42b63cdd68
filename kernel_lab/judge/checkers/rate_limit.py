"""In every window of W seconds at most L grants are admitted, per principal and capability.

No grant is denied while fewer than L can have counted.

**What is judged.** Grants are judged and invokes are not, because the kernel does not limit the invokes of a token. A
grant that is ok is an admission. A failure with ``rate_limited`` is a denial. Other failures (policy, an unknown
capability) never reached the limiter. An info may have been an admission, or not.

**Admissions.** Upstream counts an admission at t while ``t > now - W``. So grants are legal exactly if an
instant can be chosen in each one's ``[call, return]`` such that, in their order, ``t(k) >= t(k - L) + W``.
`placement.unplaceable` decides that. It finds a placement if there is one, as its docstring proves, so no legal history
is accused. Infos are left out, because they may never have happened. L + 1 grants that begin and end
in less than W are the smallest proof.

L = 1, W = 10: [0, 20] and [1, 2] are legal, with the instants 11 and 1.
L = 1, W = 10: [0, 8] and [1, 2] are not: one of them is admitted less than 10 after the other.

**Denials.** A denial at instant d is right if L grants can lie in ``(d - W, d]``. A denial is wrongful if there is no
such d in its ``[call, return]``. An ok or info grant counts if it can have had its effect in that interval. The
number of grants that the limit allows there is ignored, so that one over-admission is not reported twice. A right
limiter denies only when L grants do lie there.

**What it cannot see.** Denials are judged one by one. So denials that are possible one by one and impossible together
are not found (in random histories about one in a hundred of the impossible ones). The checker learns nothing from a
window that was never full. A limiter with half the window passes if no attempt is made between half a window and a
whole window after an admission that counts. So attempts must be spread over 1.3 W or more. A history that was made to
defeat the search is cut off, and is unknown.

Parameters: ``limit`` and ``window_s``. ``kind`` is stated where the limit is no window log (see `limit_kinds`).
``tolerance_ms`` is stated where the clocks of two hosts differ: it narrows W for admissions and widens it for denials.
``capability`` is stated where only one capability has this limit.
"""

from __future__ import annotations

from bisect import bisect_right
from collections import Counter, defaultdict
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from itertools import islice
from operator import sub

from kernel_lab.judge.checkers import limit_kinds
from kernel_lab.judge.checkers.finding import Findings, Judgement, conclude
from kernel_lab.judge.checkers.parameters import nanoseconds, needed, tolerance_ns
from kernel_lab.judge.checkers.placement import in_order_of_calls, searched, unplaceable
from kernel_lab.judge.checkers.story import lasting, named
from kernel_lab.judge.history import FOREVER, INFO, OK, AnyOperation, Grant, Invoke, of_kind
from kernel_lab.judge.verdict import Cell, Verdict
from kernel_lab.judge.work import CutOff

CLAIM = "rate_limit"
JUDGES = frozenset({"grant"})
KINDS = ("over_admission", "wrongful_denial")
DENIED = "rate_limited"

Key = tuple[str, str]


def lacks(op: AnyOperation) -> str | None:
    """Return None, because no ok grant lacks a field: its outcome says whether it was admitted."""
    del op
    return None


def check(history: Sequence[AnyOperation], cell: Cell) -> Verdict:
    """Return the verdict on a history. `limit_kinds` judges other kinds of limit."""
    if limit_kinds.is_other(cell):
        return limit_kinds.check(history, cell)
    return conclude(CLAIM, KINDS, judge, history, cell)


@dataclass(slots=True)
class Attempts:
    """The grants of one principal for one capability, as the limiter saw them."""

    admitted: list[Grant] = field(default_factory=list)
    denied: list[Grant] = field(default_factory=list)
    unknown: list[Grant] = field(default_factory=list)


def judge(history: Sequence[AnyOperation], cell: Cell) -> Judgement:
    """Judge the windows of each principal and capability by themselves."""
    limit = int(needed(cell, "limit", least=1))
    window_ns = nanoseconds(needed(cell, "window_s"), 1_000_000_000)
    slack_ns = tolerance_ns(cell, below_ns=window_ns)
    by_key = _attempts(history, cell.parameters.get("capability"))
    found = Findings()
    unknown = "" if by_key else "nothing to judge: no grant was admitted or denied by the limiter"
    certain = possible = 0
    hard: list[tuple[Key, list[Grant], Spans]] = []
    apart_ns = max(0, window_ns - slack_ns)
    for key, attempts in sorted(by_key.items()):
        spans = Spans.of(attempts)
        inside, touching = spans.certain_max(window_ns), spans.possible_max(window_ns)
        certain, possible = max(certain, inside), max(possible, touching)
        # if no window touches more than the limit, the effects may lie anywhere in their intervals
        if touching > limit and not _settled(key, attempts.admitted, spans, limit, apart_ns, found):
            hard.append((key, attempts.admitted, spans))
        _judge_denials(attempts.denied, spans, limit, window_ns + slack_ns, found)
    # keys that need a search come last, the short ones first, so that a cut-off costs no other key its verdict
    for key, admitted, spans in sorted(hard, key=lambda one: len(one[1])):
        try:
            _search(key, admitted, spans, limit, apart_ns, found)
        except CutOff as why:
            unknown = f"{key[0]}, {key[1]}: {why}"
    return Judgement(
        measures={
            "limit": limit,
            "window_s": window_ns / 1e9,
            "attempts": sum(len(a.admitted) + len(a.denied) + len(a.unknown) for a in by_key.values()),
            "admitted": sum(len(a.admitted) for a in by_key.values()),
            "certain_max": certain,
            "possible_max": possible,
            "factor": certain / limit,
            "wrongful_denials": found.counts["wrongful_denial"],
            "invokes_per_grant_max": _invokes_per_grant_max(history),
        },
        found=found,
        unknown=unknown,
        small=limit + 1,
    )


def _attempts(history: Sequence[AnyOperation], capability: str | None) -> dict[Key, Attempts]:
    by_key: dict[Key, Attempts] = defaultdict(Attempts)
    for op in of_kind(history, Grant):
        asked = op.input
        if capability is not None and asked.capability != capability:
            continue
        attempts = by_key[asked.principal, asked.capability]
        if op.outcome is OK:
            attempts.admitted.append(op)
        elif op.outcome is INFO:
            attempts.unknown.append(op)
        elif op.error == DENIED:
            attempts.denied.append(op)
    return {key: attempts for key, attempts in by_key.items() if attempts.admitted or attempts.denied}


def _invokes_per_grant_max(history: Sequence[AnyOperation]) -> int:
    invokes = Counter(op.input.token_id for op in of_kind(history, Invoke) if op.outcome is OK)
    return max(invokes.values(), default=0)


@dataclass(frozen=True, slots=True)
class Spans:
    """The times at which the grants of one key were called and returned."""

    calls: list[int]
    returns: list[int]
    """The returns of the admitted grants, in the order of `Attempts.admitted`."""
    began: list[int]
    ended: list[int]
    """The calls and the returns, each sorted by itself."""
    called: list[int]
    """The calls of all grants that may have been admitted, in order."""

    @classmethod
    def of(cls, attempts: Attempts) -> Spans:
        """Return the times of these attempts."""
        calls = [op.call_ns for op in attempts.admitted]
        returns = [op.return_ns or 0 for op in attempts.admitted]
        unknown = [op.call_ns for op in attempts.unknown]
        began = sorted(calls)
        return cls(calls, returns, began, sorted(returns), sorted(began + unknown) if unknown else began)

    def short(self, window_ns: int) -> tuple[list[int], list[int]]:
        """Return the sorted calls and the sorted returns of the admitted grants that took less than a window."""
        if max(map(sub, self.returns, self.calls), default=0) < window_ns:
            return self.began, self.ended
        short = [(c, end) for c, end in zip(self.calls, self.returns, strict=True) if end - c < window_ns]
        return sorted(call for call, _ in short), sorted(end for _, end in short)

    def certain_max(self, window_ns: int) -> int:
        """The most admitted grants that lie wholly inside one half-open window."""
        began, ended = self.short(window_ns)
        # each grant that began earlier has ended in the window of its own call, so it lies in this window too
        most, count = 0, len(ended)
        for before, call in enumerate(began):
            while before + most < count and ended[before + most] < call + window_ns:
                most += 1
        return most

    def possible_max(self, window_ns: int) -> int:
        """The most admitted grants that touch one half-open window."""
        began = self.began
        most, count = 0, len(began)
        for before, end in enumerate(self.ended):
            while before + most < count and began[before + most] < end + window_ns:
                most += 1
        return most

    def next_full(self, limit: int, window_ns: int) -> list[int]:
        """Return, for each call, the position of the first call, this or a later one, where the limit may be reached.

        The position is past the end if there is no such call.
        """
        after = [len(self.called)] * (len(self.called) + 1)
        gone = len(self.ended)
        for at in range(len(self.called) - 1, -1, -1):
            while gone and self.ended[gone - 1] > self.called[at] - window_ns:
                gone -= 1
            after[at] = at if at + 1 - gone >= limit else after[at + 1]
        return after


def _settled(
    key: Key, admitted: list[Grant], spans: Spans, limit: int, window_ns: int, found: Findings
) -> bool:
    """Judge a key without a search, if possible: a crowd is a fault, and grants that fit in their order are legal."""
    crowd = _crowd(admitted, spans, limit, window_ns)
    if crowd:
        found.add("over_admission", crowd, _say_crowd, key, crowd, limit, window_ns)
        return True
    return in_order_of_calls(spans.calls, spans.returns, limit, window_ns)


def _search(
    key: Key, admitted: list[Grant], spans: Spans, limit: int, window_ns: int, found: Findings
) -> None:
    """Add the first proof that these admissions cannot all be right, if there is one.

    Raises:
        CutOff: The cell's budget of work is spent.
    """
    proof = searched(spans.calls, spans.returns, limit=limit, apart_ns=window_ns)
    if proof is not None:
        tangle = _recent([admitted[i] for i in proof], limit, window_ns)
        found.add("over_admission", tangle, _say_tangle, key, limit, window_ns)


def _crowd(admitted: list[Grant], spans: Spans, limit: int, window_ns: int) -> list[Grant]:
    """Return the first L + 1 grants that began and ended within less than one window; empty where there are none."""
    began, ended = spans.short(window_ns)
    # as in `certain_max`, each grant that began earlier has ended by then
    for call_ns, end_ns in zip(began, ended[limit:], strict=False):
        if end_ns < call_ns + window_ns:
            within = (
                op for op in _by_call(admitted) if call_ns <= op.call_ns and op.end_ns < call_ns + window_ns
            )
            return list(islice(within, limit + 1))
    return []


def _recent(proof: list[Grant], limit: int, window_ns: int) -> list[Grant]:
    """Return the last of these grants that are a proof by themselves. Older grants are left out."""
    proof = _by_call(proof)
    size = 2 * (limit + 1)
    while size < len(proof):
        tail = proof[-size:]
        with suppress(CutOff):
            if unplaceable(
                [op.call_ns for op in tail], [op.end_ns for op in tail], limit=limit, apart_ns=window_ns
            ):
                return tail
        size *= 2
    return proof


def _judge_denials(denied: list[Grant], spans: Spans, limit: int, window_ns: int, found: Findings) -> None:
    """Add the wrongful denials."""
    full: list[int] = []
    called = spans.called
    # the number of grants that can lie in (now - W, now]: all that were called by now, less those that had ended by
    # now - W
    ended = spans.ended + [FOREVER] * (len(called) - len(spans.ended))
    for op in denied:
        call_ns = op.call_ns
        first = bisect_right(called, call_ns)
        if first >= limit and ended[first - limit] > call_ns - window_ns:
            continue
        # the number can grow only at a call, so look at the calls during the denial: is the limit reached at one of
        # them?
        full = full or spans.next_full(limit, window_ns)
        last = bisect_right(called, op.end_ns)
        if full[first] >= last:
            found.add("wrongful_denial", [op], _say_denial, op, limit, window_ns)


def _by_call(grants: list[Grant]) -> list[Grant]:
    return sorted(grants, key=lambda op: (op.call_ns, op.index))


def _say_crowd(key: Key, crowd: list[Grant], limit: int, window_ns: int) -> str:
    took_ns = max(op.end_ns for op in crowd) - min(op.call_ns for op in crowd)
    workers = len({op.worker for op in crowd})
    return (
        f"broke LimitHolds: {len(crowd)} grants of {key[1]} to {key[0]} were admitted within "
        f"{lasting(took_ns)} by {workers} worker{'s' * (workers > 1)}, "
        f"where {limit} in {lasting(window_ns)} are allowed: ops "
        + ", ".join(str(op.index) for op in crowd[:12])
        + ", …" * (len(crowd) > 12)
    )


def _say_tangle(key: Key, limit: int, window_ns: int) -> str:
    return (
        f"broke LimitHolds: grants of {key[1]} to {key[0]} were admitted that have no instants at which no "
        f"more than {limit} lie in {lasting(window_ns)}"
    )


def _say_denial(op: Grant, limit: int, window_ns: int) -> str:
    return (
        f"broke DenialEarned: {named(op)} denied {op.input.principal} a grant of {op.input.capability} "
        f"though fewer than {limit} grants can have counted in the {lasting(window_ns)} before it"
    )
