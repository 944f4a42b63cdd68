"""The claim ``rate_limit`` for limits that are not a sliding window log: ``kind`` in ``cell.json``.

**The calls that are judged** are the same as in `rate_limit`: grants of one principal for one capability. An ok grant
is an admission. A failure with ``rate_limited`` is a denial. An info may have been an admission. Each principal and
capability has a limit of its own, and no call used it before the cell began.

**How they are judged.** `search.explains` decides whether a right limiter of that kind can have given all these
answers. If it can, the claim is valid. If it cannot, the calls are judged in parts:

- ``over_admission``: the admissions alone are impossible.
- ``wrongful_denial``: the admissions are possible, but not together with this one denial.
- ``contradiction``: each denial is possible beside the admissions, but all of them together are not.

Denials are judged only where the admissions are possible. Beside impossible admissions, no denial can be called
wrong, so ``wrongful_denials`` is empty then, not 0.

**No right limiter is accused.** A right limiter did choose an instant for each call, and the search finds
such a choice if there is one. A search that takes too many steps ends as unknown.

**Counter-examples** of an over-admission are impossible by themselves. For some limits, leaving out an admission can
make others wrong (windows that begin with the first hit). For these, admissions are left out only where the others are
impossible whether or not the left-out ones happened. The counter-example of a wrongful denial contains the admissions
that may have counted just before it.

Parameters: ``kind``, ``limit`` and ``window_s``. ``burst`` of a token bucket is otherwise the limit. ``epoch_ns`` is
the time on the history's clock at which the limiter's clock was at 0, for windows that are aligned to the clock;
without it, every alignment is considered possible. ``tolerance_ms`` is the largest difference between the limiter's
clock and ours, and widens each call's interval on both sides. ``capability`` is stated where only one capability has
this limit.
"""

from __future__ import annotations

from bisect import bisect_left
from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from operator import attrgetter

from kernel_lab.judge.checkers.finding import TOLD, Finding, Findings, Unjudgeable, in_order
from kernel_lab.judge.checkers.parameters import nanoseconds, needed, number, tolerance_ns
from kernel_lab.judge.checkers.story import lasting, named, tell
from kernel_lab.judge.history import INFO, OK, AnyOperation, Grant, of_kind, to_line
from kernel_lab.judge.limits.fixed_window import FixedWindowClock, FixedWindowFirstHit
from kernel_lab.judge.limits.search import GivenUp, Limiter, Span, Work, explains
from kernel_lab.judge.limits.sliding_counter import SlidingCounter
from kernel_lab.judge.limits.token_bucket import TokenBucket
from kernel_lab.judge.verdict import Anomaly, Cell, Measure, Validity, Verdict

CLAIM = "rate_limit"
SLIDING_LOG = "sliding_log"
DENIED = "rate_limited"
ANOMALIES = ("over_admission", "wrongful_denial", "contradiction")
WORK, WORK_EACH = 400_000, 200
"""The steps of all searches of one cell, and the further steps for each of its calls."""
SHRINKING = 200_000
"""The steps that are spent on making the counter-examples of one cell smaller."""
SMALL = 48
"""Up to this number of admissions, the search tries to leave out each of them."""
CONTEXT = 12
"""The most admissions that are shown before a wrongful denial."""

Key = tuple[str, str]


@dataclass(frozen=True, slots=True, kw_only=True)
class Numbers:
    """The parameters of a limit."""

    limit: int
    window_ns: int
    burst: int
    boundary_ns: int | None


LIMITERS: dict[str, Callable[[Numbers], Limiter]] = {
    "fixed_window_clock": lambda n: FixedWindowClock(n.limit, n.window_ns, n.boundary_ns),
    "fixed_window_first_hit": lambda n: FixedWindowFirstHit(n.limit, n.window_ns),
    "token_bucket": lambda n: TokenBucket(n.limit, n.window_ns, n.burst),
    "sliding_counter_clock": lambda n: SlidingCounter(n.limit, n.window_ns, n.boundary_ns),
    "sliding_counter_first_hit": lambda n: SlidingCounter(n.limit, n.window_ns, first_hit=True),
}
KINDS = (SLIDING_LOG, *LIMITERS)
"""Every kind of limit; the first is the default, and `rate_limit` judges it."""


def is_other(cell: Cell) -> bool:
    """Return whether the cell's limit is of a kind that this module judges."""
    return bool(cell.parameters.get("kind", SLIDING_LOG) != SLIDING_LOG)


@dataclass(slots=True)
class Attempts:
    """The grants of one principal for one capability, in the order of their calls."""

    admitted: list[Grant] = field(default_factory=list)
    denied: list[Grant] = field(default_factory=list)
    unknown: list[Grant] = field(default_factory=list)


def check(history: Sequence[AnyOperation], cell: Cell) -> Verdict:
    """Return the verdict on a history. The module's docstring says what is legal."""
    try:
        kind, numbers, slack_ns = _parameters(cell)
    except Unjudgeable as why:
        return Verdict(claim=CLAIM, validity=Validity.UNKNOWN, reason=str(why))
    by_key = _attempts(history, cell.parameters.get("capability"))
    calls = sum(len(a.admitted) + len(a.denied) + len(a.unknown) for a in by_key.values())
    case = _Case(LIMITERS[kind](numbers), numbers, slack_ns, Work(WORK + WORK_EACH * calls))
    if not by_key:
        case.unknown = "nothing to judge: no grant was admitted or denied by the limiter"
    for key, attempts in sorted(by_key.items()):
        case.judge(key, attempts)
    return _verdict(case, kind, by_key, calls)


def _parameters(cell: Cell) -> tuple[str, Numbers, int]:
    kind = cell.parameters.get("kind")
    if kind not in LIMITERS:
        raise Unjudgeable(f"cell.json: parameters.kind is {kind!r}; one of: {', '.join(KINDS)}")
    limit = int(needed(cell, "limit", least=1))
    window_ns = nanoseconds(needed(cell, "window_s"), 1_000_000_000)
    if window_ns < 1:
        raise Unjudgeable("cell.json: parameters.window_s is 0; a window has a length")
    burst = int(number(cell, "burst", least=1) or limit)
    epoch = cell.parameters.get("epoch_ns")
    if epoch is not None and (isinstance(epoch, bool) or not isinstance(epoch, int)):
        raise Unjudgeable(f"cell.json: parameters.epoch_ns is {epoch!r}; whole nanoseconds are needed")
    slack_ns = tolerance_ns(cell, below_ns=window_ns)
    return kind, Numbers(limit=limit, window_ns=window_ns, burst=burst, boundary_ns=epoch), slack_ns


def _attempts(history: Sequence[AnyOperation], capability: str | None) -> dict[Key, Attempts]:
    by_key: dict[Key, Attempts] = defaultdict(Attempts)
    for op in sorted(of_kind(history, Grant), key=attrgetter("call_ns", "index")):
        if capability not in (None, op.input.capability):
            continue
        attempts = by_key[op.input.principal, op.input.capability]
        if op.outcome is OK:
            attempts.admitted.append(op)
        elif op.outcome is INFO:
            attempts.unknown.append(op)
        elif op.error == DENIED:
            attempts.denied.append(op)
    return {key: attempts for key, attempts in by_key.items() if attempts.admitted or attempts.denied}


@dataclass(slots=True)
class _Case:
    """One limit, and the findings about it so far."""

    limiter: Limiter
    numbers: Numbers
    slack_ns: int
    work: Work
    found: Findings = field(default_factory=Findings)
    unknown: str = ""
    over: bool = False
    """Whether some admissions are impossible. Denials beside them were not judged."""

    def judge(self, key: Key, attempts: Attempts) -> None:
        """Judge the attempts of one key, and add the findings."""
        admitted = self.spans(attempts.admitted)
        denied = self.spans(attempts.denied)
        maybe = [op.call_ns - self.slack_ns for op in attempts.unknown]
        try:
            if explains(self.limiter, self.work, admitted=admitted, denied=denied, maybe=maybe):
                return
        except GivenUp as why:
            self.unknown = f"{key[0]}, {key[1]}: {why}"
        try:
            # this search has steps of its own: even if the whole took too many, its parts may be easy
            work = Work(self.work.allowed)
            if not explains(self.limiter, work, admitted=admitted, maybe=maybe):
                self.over, self.unknown = True, ""
                proof = self.smaller(attempts, maybe)
                self.found.add("over_admission", proof, self.say_over, key, proof)
                return
            wrongful = [
                op
                for op, span in zip(attempts.denied, denied, strict=True)
                if not explains(self.limiter, work, admitted=admitted, denied=[span], maybe=maybe)
            ]
        except GivenUp as why:
            self.unknown = f"{key[0]}, {key[1]}: {why}"
            return
        for op in wrongful:
            self.found.add("wrongful_denial", [*self.before(op, attempts), op], self.say_denial, op)
        if wrongful:
            self.unknown = ""
        elif not self.unknown:
            everything = [*attempts.admitted, *attempts.denied]
            self.found.add("contradiction", everything, self.say_contradiction, key, attempts)

    def spans(self, operations: Sequence[Grant]) -> list[Span]:
        """Return the intervals in which each attempt can have taken effect, on the limiter's clock."""
        return [(op.call_ns - self.slack_ns, op.end_ns + self.slack_ns) for op in operations]

    def smaller(self, attempts: Attempts, maybe: list[int]) -> list[Grant]:
        """Return admissions that are impossible by themselves, as few as a short search finds."""
        proof, left_out = list(attempts.admitted), list[Grant]()
        work = Work(SHRINKING)

        def impossible(kept: list[Grant], others: list[Grant]) -> bool:
            perhaps = list(maybe)
            if not self.limiter.fewer_is_easier:
                perhaps += [op.call_ns - self.slack_ns for op in others]
            try:
                return not explains(self.limiter, work, admitted=self.spans(kept), maybe=perhaps)
            except GivenUp:
                return False

        first = (
            bisect_left(range(1, len(proof) + 1), True, key=lambda n: impossible(proof[:n], proof[n:])) + 1
        )
        if impossible(proof[:first], proof[first:]):
            proof, left_out = proof[:first], proof[first:]
        if self.limiter.fewer_is_easier:
            last = (
                bisect_left(range(1, len(proof) + 1), True, key=lambda n: impossible(proof[-n:], proof[:-n]))
                + 1
            )
            if impossible(proof[-last:], []):
                proof = proof[-last:]
        else:
            proof = self.recent(proof, impossible)
        for op in list(proof) if len(proof) <= SMALL else ():
            rest = [other for other in proof if other is not op]
            if rest and impossible(rest, [*left_out, op]):
                proof, left_out = rest, [*left_out, op]
        return proof

    def recent(
        self, proof: list[Grant], impossible: Callable[[list[Grant], list[Grant]], bool]
    ) -> list[Grant]:
        """Return the admissions after the last pause that ended every window, if they are impossible."""
        for at in range(len(proof) - 1, 0, -1):
            ended = max(op.end_ns for op in proof[:at])
            quiet = proof[at].call_ns - ended - 2 * self.slack_ns
            if quiet >= 2 * self.numbers.window_ns and impossible(proof[at:], []):
                return proof[at:]
        return proof

    def before(self, denial: Grant, attempts: Attempts) -> list[Grant]:
        """Return the admissions that may have counted just before a denial."""
        earliest = denial.call_ns - self.numbers.window_ns - 2 * self.slack_ns
        counted = [op for op in attempts.admitted if op.end_ns > earliest and op.call_ns <= denial.end_ns]
        return counted[-CONTEXT:]

    def promise(self) -> str:
        return self.limiter.promise(lasting(self.numbers.window_ns))

    def say_over(self, key: Key, proof: list[Grant]) -> str:
        took_ns = max(op.end_ns for op in proof) - min(op.call_ns for op in proof)
        workers = len({op.worker for op in proof if op.worker is not None})
        by = f" by {workers} worker{'s' * (workers > 1)}" if workers else ""
        return (
            f"broke LimitHolds: {len(proof)} grants of {key[1]} to {key[0]} were admitted within "
            f"{lasting(took_ns)}{by}, where {self.promise()}: ops "
            + ", ".join(str(op.index) for op in proof[:12])
            + ", …" * (len(proof) > 12)
        )

    def say_denial(self, op: Grant) -> str:
        return (
            f"broke DenialEarned: {named(op)} denied {op.input.principal} a grant of {op.input.capability} "
            f"at a time when the limit cannot have been reached, where {self.promise()}"
        )

    def say_contradiction(self, key: Key, attempts: Attempts) -> str:
        return (
            f"broke LimitHolds: {len(attempts.admitted)} admissions and {len(attempts.denied)} denials of "
            f"{key[1]} to {key[0]} cannot all be right, in whatever order they took effect, "
            f"where {self.promise()}"
        )


def _verdict(case: _Case, kind: str, by_key: dict[Key, Attempts], calls: int) -> Verdict:
    limit, window_ns = case.numbers.limit, case.numbers.window_ns
    certain = max((_certain_max(a.admitted, window_ns) for a in by_key.values()), default=0)
    measures: dict[str, Measure] = {
        "kind": kind,
        "limit": limit,
        "window_s": window_ns / 1e9,
        "attempts": calls,
        "admitted": sum(len(a.admitted) for a in by_key.values()),
        "certain_max": certain,
        "possible_max": max((_possible_max(a.admitted, window_ns) for a in by_key.values()), default=0),
        "within_any_max": case.limiter.within_any(),
        "factor": certain / limit,
        "wrongful_denials": None if case.over or case.unknown else case.found.counts["wrongful_denial"],
        "anomalies": case.found.counts.total(),
    }
    found = [finding for anomaly in ANOMALIES for finding in case.found.kept.get(anomaly, ())]
    if not found:
        validity = Validity.UNKNOWN if case.unknown else Validity.VALID
        return Verdict(claim=CLAIM, validity=validity, measures=measures, reason=case.unknown)
    told = min(found, key=lambda f: (ANOMALIES.index(f.kind), len(f.operations)))
    proof = in_order(told.operations)
    reason = case.unknown
    if len(proof) > TOLD:
        reason, proof = f"the smallest counter-example found has {len(proof)} operations", []
    return Verdict(
        claim=CLAIM,
        validity=Validity.INVALID,
        measures=measures,
        reason=reason,
        anomalies=tuple(_anomaly(finding) for finding in found),
        counterexample=tuple(to_line(op) for op in proof),
        story=tell(proof),
    )


def _anomaly(finding: Finding) -> Anomaly:
    return Anomaly(
        kind=finding.kind,
        message=finding.message,
        operations=tuple(op.index for op in in_order(finding.operations)),
    )


def _certain_max(admitted: Sequence[Grant], window_ns: int) -> int:
    """Return the most admissions that begin and end within less than one window."""
    short = [op for op in admitted if op.end_ns - op.call_ns < window_ns]
    began, ended = sorted(op.call_ns for op in short), sorted(op.end_ns for op in short)
    return max((bisect_left(ended, call + window_ns) - at for at, call in enumerate(began)), default=0)


def _possible_max(admitted: Sequence[Grant], window_ns: int) -> int:
    """Return the most admissions that touch a span of one window."""
    began, ended = sorted(op.call_ns for op in admitted), sorted(op.end_ns for op in admitted)
    return max((bisect_left(began, end + window_ns) - at for at, end in enumerate(ended)), default=0)
