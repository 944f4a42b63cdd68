"""There is one instant from which every invoke of a revoked token is refused.

**What counts.** An ok invoke is an accept, and so is a stream that broke off after frames had come. A failure with
``token_revoked`` is a refusal. Tampered tokens belong to another claim. Any other failure proves nothing:
an expired token or an absent store says nothing of a revocation. An info proves nothing either.

**Which revokes.** A token is covered by its own revokes and by each ``revoke_all`` of its principal. A ``revoke_all``
covers every token whose grant had returned before its call. It may cover a token whose grant overlaps it. It never
covers a token whose grant was called after it returned. (A token whose grant is not in the history may be covered by
any of them.) A revoke that is ok takes effect within ``[call, return]``. A revoke that is info takes effect at any time
after its call, or never.

**Legal.** For each token there is an instant X with these properties. It lies within a revoke that covers the token
or may cover it. It is not later than the return of any ok revoke that certainly covers the token. Every accept was
called by X, and every refusal returned at X or later. If there is no refusal, and no ok revoke that certainly covers
the token, then no X is needed.

Let A be the latest call of an accept, F the earliest return of a refusal, and R the earliest return of an ok revoke
that certainly covers the token. Four conditions must hold:

- ``A <= R``. Otherwise an accept was called after a revoke had returned: **leak**.
- ``A <= F``. Otherwise an accept was called after a refusal had returned: **resurrection**, even if the revoke is info.
- A revoke was called by F. Otherwise a refusal came before any revoke was called: **phantom**.
- One of these revokes had not returned before A. Otherwise the accept disproves the only revokes that could explain the
  refusal: **unexplained**.

The four conditions are enough. With a certain revoke, take the revoke that returned at R, and X = max(its call, A) <=
min(R, F); or take the earlier revoke that explains the refusal. Without a certain revoke, take the revoke that explains
the refusal. And each condition is needed, so no legal history is accused.

revoke [10, 20], accept [15, 25]: legal, X = 16. Accept [20, 30]: it touches, X = 20. Accept [21, 30]: a
leak. revoke_all [10, 20] of a token granted [15, 18], accept [25, 26], refusal [30, 31]: the token may have been
covered or not, but not both, so it is unexplained.

**A stated bound.** ``max_stale_ms`` = S: a worker may hear of a revocation up to S late, for example with a cache. Then
an accept at t says only that X > t - S, so each accept counts as called S earlier. A worker that has heard of a
revocation does not forget it. So a later accept on the same worker that refused is a resurrection, even within S.

S = 5: revoke [10, 20], accept [24, 30] on another worker: legal. Accept [26, 30]: a leak.

**Lag** is a bracket for each worker and token, measured from the earliest certain ok revoke (`kernel_lab.judge.lag`).
Its lower end is the call of the last accept minus the return of the revoke, and at least 0. Its upper end is the return
of the first later refusal minus the call of the revoke. If a worker never refused the token as revoked, its upper end
is the time when the token expired. If the token did not expire either, the lag is open. The bracket of a token takes
the largest lower end and the largest upper end of its workers. A median or a maximum that falls on an open lag is
empty. ``lag_open_tokens`` says how many lags are open, and ``lag_end`` names the worst end that was seen.

**The leak rate** counts only invokes that could have been accepted. An invoke whose token had expired could not.

**What it cannot see.** Each token is judged by itself, so the checker cannot see whether a ``revoke_all`` takes effect
at one instant for all tokens. It does not judge the count in the reply of ``revoke_all``. It cannot see a lag shorter
than the pauses between invokes.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from math import inf
from statistics import median

from kernel_lab.judge.checkers.coverage import AnyRevoke, Case, cases
from kernel_lab.judge.checkers.finding import Findings, Judgement, conclude
from kernel_lab.judge.checkers.parameters import nanoseconds, number
from kernel_lab.judge.checkers.story import lasting, named, short
from kernel_lab.judge.history import FOREVER, OK, AnyOperation, Grant, Invoke, RevokeAll, ends_ns
from kernel_lab.judge.lag import Bracket, End, bracket, worst
from kernel_lab.judge.verdict import Cell, Measure, Verdict

CLAIM = "revocation"
JUDGES = frozenset({"grant", "invoke", "revoke", "revoke_all"})
EXPIRED = "token_expired"
KINDS = ("leak", "resurrection", "phantom", "unexplained")
NEVER = FOREVER + 1
"""An instant that is later than any end."""


def lacks(op: AnyOperation) -> str | None:
    """Return the missing field of an ok operation: a grant names its token."""
    if type(op) is Grant and op.outcome is OK and (op.output is None or not op.output.token_id):
        return "a grant that is ok has an output.token_id"
    return None


def check(history: Sequence[AnyOperation], cell: Cell) -> Verdict:
    """Return the verdict on a history. The module's docstring says what is legal."""
    return conclude(CLAIM, KINDS, judge, history, cell)


def judge(history: Sequence[AnyOperation], cell: Cell) -> Judgement:
    """Judge each token by itself."""
    found, totals, stale_ns = Findings(), Totals(), stated_bound(cell)
    for case in cases(history):
        judge_token(case, found, totals, stale_ns)
    unknown = (
        "" if totals.asked else "nothing to judge: no revoked token was invoked after its revoke was called"
    )
    stated: dict[str, Measure] = {"max_stale_ms": stale_ns / 1e6} if stale_ns else {}
    return Judgement(measures=totals.measures(found) | stated, found=found, unknown=unknown)


@dataclass(slots=True)
class Totals:
    """The counts over all tokens."""

    tokens: int = 0
    asked: int = 0
    """The number of invokes whose reply could show whether their token was revoked."""
    after: int = 0
    leaked: int = 0
    """The invokes called after a certain revoke had returned: those that could have been accepted, and those that
    were."""
    leaked_tokens: int = 0
    phantoms: int = 0
    lags: list[Bracket] = field(default_factory=list)

    def measures(self, found: Findings) -> dict[str, Measure]:
        """Return the columns of ``revocation.csv``, and a few more measures."""
        lowers, uppers = [lag.lower_ns for lag in self.lags], [lag.upper_ns for lag in self.lags]
        widths = [lag.width_ns for lag in self.lags if lag.end is not End.NOT_SEEN]
        return {
            "tokens": self.tokens,
            "leaked_tokens": self.leaked_tokens,
            "leaks": found.counts["leak"],
            "leak_rate": self.leaked / self.after if self.after else None,
            "invokes_after": self.after,
            "leaked_invokes": self.leaked,
            "lag_lower_ms_p50": _ms(median(lowers)) if lowers else None,
            "lag_lower_ms_max": _ms(max(lowers, default=inf)),
            "lag_upper_ms_p50": _ms(median(uppers)) if uppers else None,
            "lag_upper_ms_max": _ms(max(uppers, default=inf)),
            "lag_width_ms_p50": _ms(median(widths)) if widths else None,
            "lag_open_tokens": sum(lag.end is End.NOT_SEEN for lag in self.lags),
            "lag_expired_tokens": sum(lag.end is End.EXPIRY for lag in self.lags),
            "lag_end": worst(self.lags),
            "resurrected_tokens": found.counts["resurrection"],
            "phantoms": self.phantoms,
        }


def _ms(duration_ns: float) -> float | None:
    return None if duration_ns == inf else duration_ns / 1e6


def stated_bound(cell: Cell) -> int:
    """Return the longest time after which a worker hears of a revocation, in nanoseconds: ``max_stale_ms``, or 0."""
    return nanoseconds(number(cell, "max_stale_ms") or 0, 1_000_000)


def judge_token(case: Case, found: Findings, totals: Totals, stale_ns: int) -> None:
    """Judge one token, add the findings, and count."""
    certain, earliest = case.certain(), case.possible(-FOREVER)
    if certain:
        totals.tokens += 1
        lag = lag_of(certain, case)
        totals.lags += [lag] if lag else []
    revoked_ns = certain.end_ns if certain else FOREVER
    begins_ns = case.begins(earliest) if earliest else FOREVER
    called_ns = earliest.call_ns if earliest else NEVER
    accept: Invoke | None = None
    refusal: Invoke | None = None
    late = leaked = after = phantoms = asked = 0
    if case.accepts:
        calls = [op.call_ns for op in case.accepts]
        accept = case.accepts[calls.index(last_ns := max(calls))]
        asked = sum([end_ns >= called_ns for end_ns in ends_ns(case.accepts)])
        if last_ns > revoked_ns:
            leaked = sum([call_ns > revoked_ns for call_ns in calls])
            late = sum([call_ns - stale_ns > revoked_ns for call_ns in calls])
    if case.refusals:
        ends = ends_ns(case.refusals)
        refusal = case.refusals[ends.index(first_ns := min(ends))]
        after = sum([op.call_ns > revoked_ns for op in case.refusals])
        if first_ns < begins_ns:
            phantoms = sum([end_ns < begins_ns for end_ns in ends])
    totals.asked += asked + len(case.refusals)
    totals.leaked += leaked
    totals.leaked_tokens += leaked > 0
    # an expired token could not have been accepted, so it does not count as a trial
    totals.after += leaked + after
    if case.others:
        totals.after += sum(op.call_ns > revoked_ns and op.error != EXPIRED for op in case.others)
    proof: list[AnyOperation]
    if accept and certain and late:
        swept = case.grant if isinstance(certain, RevokeAll) else None
        proof = [op for op in (swept, certain, accept) if op]
        found.add("leak", proof, _say_leak, case, certain, accept, late)
    if refusal is None:
        return
    resurrected = accept is not None and accept.call_ns - stale_ns > refusal.end_ns
    again = (refusal, accept) if accept and resurrected else _on_one_worker(case) if stale_ns else None
    if again:
        found.add("resurrection", list(again), _say_resurrection, case, *again)
    if phantoms:
        totals.phantoms += phantoms
        found.add("phantom", [refusal], _say_phantom, case, refusal)
    elif accept and not late and not again:
        explains = case.possible(accept.call_ns - stale_ns)
        if explains is None or case.begins(explains) > refusal.end_ns:
            proof = [op for op in (case.grant, earliest, accept, refusal) if op]
            found.add("unexplained", proof, _say_unexplained, case, earliest, accept, refusal)


def _on_one_worker(case: Case) -> tuple[Invoke, Invoke] | None:
    """Return a refusal, and an accept by the same worker that was called after the refusal had returned."""
    first: dict[str | None, Invoke] = {}
    for op in case.refusals:
        if op.worker not in first or op.end_ns < first[op.worker].end_ns:
            first[op.worker] = op
    for op in case.accepts:
        refusal = first.get(op.worker)
        if op.worker is not None and refusal is not None and op.call_ns > refusal.end_ns:
            return refusal, op
    return None


def lag_of(revoke: AnyRevoke, case: Case) -> Bracket | None:
    """Return a token's lag, from a revoke that certainly covers it until its last worker refused."""
    return bracket(
        revoke.call_ns,
        revoke.end_ns,
        accepts=case.accepts,
        refusals=case.refusals,
        expired=[op for op in case.others if op.error == EXPIRED] if case.others else (),
    )


def _say_leak(case: Case, revoke: AnyRevoke, accept: Invoke, late: int) -> str:
    return (
        f"broke RevocationVisible: {named(accept)} accepted token {short(case.token)} "
        f"{lasting(accept.call_ns - revoke.end_ns)} after {revoke.f} {named(revoke)} had returned"
        + f"; it is the last of {late} such accepts"
        * (late > 1)
    )


def _say_resurrection(case: Case, refusal: Invoke, accept: Invoke) -> str:
    return (
        f"broke RevocationFinal: {named(accept)} accepted token {short(case.token)} "
        f"{lasting(accept.call_ns - refusal.end_ns)} after {named(refusal)} had refused it as revoked"
    )


def _say_phantom(case: Case, refusal: Invoke) -> str:
    return (
        f"broke RefusalAsked: {named(refusal)} refused token {short(case.token)} as revoked before a "
        "revoke that can cover it had been called"
    )


def _say_unexplained(case: Case, revoke: AnyRevoke, accept: Invoke, refusal: Invoke) -> str:
    return (
        f"broke RefusalAsked: {named(refusal)} refused token {short(case.token)} as revoked, but "
        f"{named(accept)} accepted it after {revoke.f} {named(revoke)}, which alone could be the "
        "reason, had returned"
    )
