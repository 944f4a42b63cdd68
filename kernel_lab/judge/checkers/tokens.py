"""A token minted on any worker verifies on every worker, for its holder and its life; a tampered one on none.

**Legal.** An invoke that presents a token as it was minted, by its own principal and for its own capability,
called after the grant had returned, is not refused with ``token_invalid`` (**rejected**). An invoke that presents a
tampered token is not ok (**forged**). An invoke by another principal than the grant's is not ok (**borrowed**).
Verification has no state, so no instant has to be placed: a token verifies everywhere, or the workers do not share a
secret. Tokens whose grant is not in the history are not judged, because it is not known how they were minted.

**Life.** The parameters ``token_ttl_s`` and ``token_ttls`` (by capability) state how long a token lives. Then
``token_expired`` is wrong if the invoke had returned less than one life after the call of the grant, since a token
cannot expire earlier (**expired_early**). And an invoke is not ok if it was called more than one life after the return
of the grant (**accepted_late**). The deployment's clock is not ours, so a life is shortened or lengthened by a
thousandth of itself and by ``tolerance_ms``, always in the deployment's favour.

    grant [0, 2] -> t; invoke t [5, 6] token_invalid: rejected. The same with a tampered t: right.
    grant [0, 2] -> t, life 10; invoke t [8, 9] token_expired: expired_early. [8, 11]: it may be right.
    grant [0, 2] -> t, life 10; invoke t [13, 14] ok: accepted_late. [12, 14]: it may be right.

**What it cannot see.** It does not judge other refusals (revoked, out of scope). It does not notice a tampered token,
or a stranger's, that is refused for the wrong reason.
"""

from __future__ import annotations

from collections.abc import Sequence

from kernel_lab.judge.checkers.finding import Findings, Judgement, Unjudgeable, conclude
from kernel_lab.judge.checkers.parameters import CLOCKS_DIFFER, nanoseconds, number, tolerance_ns
from kernel_lab.judge.checkers.story import lasting, named, short
from kernel_lab.judge.evidence import ACCEPTED, proves
from kernel_lab.judge.history import INFO, OK, AnyOperation, Grant, Invoke, of_kind
from kernel_lab.judge.verdict import Cell, Verdict

CLAIM = "tokens"
JUDGES = frozenset({"grant", "invoke"})
KINDS = ("forged", "borrowed", "accepted_late", "rejected", "expired_early")


def lacks(op: AnyOperation) -> str | None:
    """Return the missing field of an ok operation: a grant names its token."""
    if type(op) is Grant and op.outcome is OK and (op.output is None or not op.output.token_id):
        return "a grant that is ok has an output.token_id"
    return None


def check(history: Sequence[AnyOperation], cell: Cell) -> Verdict:
    """Return the verdict on a history. The module's docstring says what is legal."""
    return conclude(CLAIM, KINDS, judge, history, cell)


def judge(history: Sequence[AnyOperation], cell: Cell) -> Judgement:
    """Judge each invoke by itself, against the grant of its token."""
    lives_ns = Lives(cell)
    minted = {
        op.output.token_id: op
        for op in of_kind(history, Grant)
        if op.outcome is OK and op.output and op.output.token_id
    }
    found = Findings()
    verifications = tampered = strangers = 0
    for op in of_kind(history, Invoke):
        accepted = proves(op) is ACCEPTED
        if op.outcome is INFO and not accepted:
            continue
        asked = op.input
        if asked.tampered:
            tampered += 1
            if accepted:
                found.add("forged", [op], _say_forged, op)
            continue
        grant = minted.get(asked.token_id)
        if grant is None:
            continue
        if asked.principal not in ("", grant.input.principal):
            strangers += 1
            if accepted:
                found.add("borrowed", [grant, op], _say_borrowed, grant, op)
            continue
        if op.call_ns <= grant.end_ns or asked.capability not in ("", grant.input.capability):
            continue
        if accepted:
            verifications += 1
            life_ns = lives_ns.most(grant.input.capability)
            if life_ns is not None and op.call_ns > grant.end_ns + life_ns:
                found.add("accepted_late", [grant, op], _say_late, grant, op)
        elif op.error == "token_invalid":
            verifications += 1
            found.add("rejected", [grant, op], _say_rejected, grant, op)
        elif op.error == "token_expired" and (life_ns := lives_ns.least(grant.input.capability)) is not None:
            verifications += 1
            if op.end_ns < grant.call_ns + life_ns:
                found.add("expired_early", [grant, op], _say_expired, grant, op, life_ns)
    unknown = (
        ""
        if verifications or tampered or strangers
        else "nothing to judge: no token of a recorded grant was presented"
    )
    return Judgement(
        measures={
            "verifications": verifications,
            "rejected": found.counts["rejected"],
            "rejected_rate": found.counts["rejected"] / verifications if verifications else None,
            "tampered": tampered,
            "forged": found.counts["forged"],
            "expired_early": found.counts["expired_early"],
            "accepted_late": found.counts["accepted_late"],
            "strangers": strangers,
            "borrowed": found.counts["borrowed"],
        },
        found=found,
        unknown=unknown,
    )


class Lives:
    """The least and the most time that tokens live, in nanoseconds; None where it is not stated."""

    def __init__(self, cell: Cell) -> None:
        self._slack_ns = tolerance_ns(cell)
        default_s = number(cell, "token_ttl_s")
        self._default_ns = None if default_s is None else nanoseconds(default_s, 1_000_000_000)
        own = cell.parameters.get("token_ttls") or {}
        if not isinstance(own, dict) or not all(isinstance(s, int | float) for s in own.values()):
            raise Unjudgeable(f"cell.json: parameters.token_ttls is {own!r}; capability: seconds are needed")
        self._own_ns = {capability: nanoseconds(s, 1_000_000_000) for capability, s in own.items()}

    def least(self, capability: str) -> int | None:
        """Return the time that a token for a capability certainly lives."""
        life_ns = self._own_ns.get(capability, self._default_ns)
        return None if life_ns is None else life_ns - life_ns // CLOCKS_DIFFER - self._slack_ns

    def most(self, capability: str) -> int | None:
        """Return the longest time that a token for a capability can live."""
        life_ns = self._own_ns.get(capability, self._default_ns)
        return None if life_ns is None else life_ns + life_ns // CLOCKS_DIFFER + self._slack_ns


def _say_rejected(grant: Grant, op: Invoke) -> str:
    return (
        f"broke TokenPortable: {named(op)} called token {short(op.input.token_id)} invalid, which "
        f"{named(grant)} had minted"
    )


def _say_forged(op: Invoke) -> str:
    return f"broke TamperRefused: {named(op)} accepted tampered token {short(op.input.token_id)}"


def _say_borrowed(grant: Grant, op: Invoke) -> str:
    return (
        f"broke TokenScoped: {named(op)} accepted token {short(op.input.token_id)} from {op.input.principal}; "
        f"{named(grant)} had minted it for {grant.input.principal}"
    )


def _say_late(grant: Grant, op: Invoke) -> str:
    return (
        f"broke TokenExpires: {named(op)} accepted token {short(op.input.token_id)} "
        f"{lasting(op.call_ns - grant.end_ns)} after its grant, {named(grant)}, beyond its life"
    )


def _say_expired(grant: Grant, op: Invoke, life_ns: int) -> str:
    return (
        f"broke TokenPortable: {named(op)} called token {short(op.input.token_id)} expired within "
        f"{lasting(op.end_ns - grant.call_ns)} of its grant, {named(grant)}; it lives {lasting(life_ns)}"
    )
