"""handles: expanded by their principal, everywhere, until they expire or are pushed out; by nobody else."""

import random
from functools import partial
from itertools import product

import msgspec
import pytest
from sketch import ORACLE, cell, expand, history, invoke, kinds

from kernel_lab.judge import work
from kernel_lab.judge.checkers import handles
from kernel_lab.judge.history import Expand, Invoke, Outcome
from kernel_lab.judge.verdict import Beside, Validity

made = partial(invoke, handle="h")
missed = partial(expand, error="handle_not_found")
expired = partial(expand, error="handle_expired")
mismatched = partial(expand, error="handle_principal_mismatch")


def judged(*operations, ttl=None, cap=None):
    return handles.check(
        history(*operations),
        cell("handles", handle_ttl_s=None if ttl is None else ttl * 1e-9, handle_cap=cap),
    )


other = partial(invoke, handle="g")

CLOSED = {"stream": True, "closed": True, "final": False}

LEGAL = {
    "expanded after it was made": (None, None, [made(0, 2), expand(3, 4)]),
    "a miss while it was being made": (None, None, [made(0, 2), missed(2, 4), expand(5, 6)]),
    "a miss after its life": (10, None, [made(0, 2), expand(3, 4), missed(12, 13)]),
    "expired when its life may be over": (10, None, [made(0, 2), expand(3, 4), expired(5, 10)]),
    "expanded when its life may not be over": (10, None, [made(0, 2), expand(3, 9), expand(12, 13)]),
    "pushed out by another": (None, 1, [made(0, 1), expand(2, 2), other(3, 4), missed(5, 6)]),
    "pushed out by one without an answer": (None, 1, [made(0, 1), expand(2, 2), invoke(3), missed(5, 6)]),
    "pushed out by a stream": (
        None, 1, [made(0, 1), expand(2, 2), invoke(3, 4, stream=True, final=True), missed(5, 6)],
    ),
    "pushed out by a stream that its caller had closed long before": (
        None, 1, [invoke(0, 1, **CLOSED), made(2, 3), mismatched(4, 4, by="q"), missed(5, 6)],
    ),
    "pushed out by one made at the same time": (
        None, 1, [made(0, 9), other(2, 3), missed(10, 11), invoke(12, 13, handle="i"),
                  expand(14, 15, handle="i")],
    ),
    "a stranger refused, either way": (
        None, None, [made(0, 2), missed(3, 4, by="q"), mismatched(3, 4, by="q")],
    ),
    "a handle nobody saw being made": (None, None, [made(0, 2), expand(3, 4), missed(3, 4, handle="g")]),
    "more rows than the grant allows": (
        None, None, [made(0, 2), expand(3, 4), expand(3, 4, error="handle_constraint_violation")],
    ),
    "nobody said when it expires": (None, None, [made(0, 2), expand(3, 4), expired(5, 6)]),
    "a miss without an answer": (None, None, [made(0, 2), expand(3, 4), expand(5)]),
}  # fmt: skip
ILLEGAL = {
    "a miss": (None, None, [made(0, 2), missed(3, 4)], "miss"),
    "a miss within its life": (10, None, [made(0, 2), missed(8, 9)], "miss"),
    "a miss with room for both": (None, 2, [made(0, 2), other(3, 4), missed(5, 6)], "miss"),
    "a miss though the other was made earlier": (None, 1, [other(0, 1), made(2, 3), missed(5, 6)], "miss"),
    "a dry run pushes nothing out": (None, 1, [made(0, 2), invoke(3, 4, dry_run=True), missed(5, 6)], "miss"),
    "a refusal pushes nothing out": (
        None, 1, [made(0, 2), invoke(3, 4, error="token_revoked"), missed(5, 6)], "miss",
    ),
    "its own principal refused": (None, None, [made(0, 2), mismatched(3, 4)], "refused_owner"),
    "expired too early": (10, None, [made(0, 2), expired(8, 9)], "early_expiry"),
    "expanded too late": (10, None, [made(0, 2), expand(13, 14)], "late_expand"),
    "expanded by a stranger": (None, None, [made(0, 2), expand(3, 4, by="q")], "foreign_expand"),
    "expanded by a stranger at once": (None, None, [made(0, 2), expand(1, 4, by="q")], "foreign_expand"),
}  # fmt: skip


@pytest.mark.parametrize("name", LEGAL)
def test_it_is_legal(name):
    ttl, cap, operations = LEGAL[name]
    verdict = judged(*operations, ttl=ttl, cap=cap)
    assert verdict.validity is Validity.VALID, verdict


@pytest.mark.parametrize("name", ILLEGAL)
def test_it_is_illegal(name):
    ttl, cap, operations, kind = ILLEGAL[name]
    verdict = judged(*operations, ttl=ttl, cap=cap)
    assert (verdict.validity, kinds(verdict)) == (Validity.INVALID, {kind})
    assert [line["f"] for line in verdict.counterexample][-1] == "expand"
    assert len(verdict.counterexample) <= 2


def test_the_share_of_misses():
    verdict = judged(made(0, 1), expand(2, 3), missed(4, 5), missed(6, 7), expand(8, 9), missed(0, 1))
    assert (verdict.measures["expansions"], verdict.measures["misses"]) == (4, 2)
    assert verdict.measures["miss_rate"] == 0.5


def test_what_others_stored_pushes_out_too():
    operations = history(made(0, 2), expand(3, 3), missed(9, 10))
    alone = cell("handles", handle_cap=2)
    beside = (Beside("invoke", 4, 5, Outcome.OK), Beside("invoke", 8))
    told = msgspec.structs.replace(alone, beside=beside)
    assert kinds(handles.check(operations, alone)) == {"miss"}
    assert handles.check(operations, told).validity is Validity.VALID
    stored_nothing = (beside[0], Beside("invoke", 6, 7, Outcome.FAIL), Beside("expand", 6, 7, Outcome.OK))
    told = msgspec.structs.replace(alone, beside=stored_nothing)
    assert kinds(handles.check(operations, told)) == {"miss"}


def test_nothing_was_expanded():
    assert "nothing to judge" in judged(made(0, 1), missed(2, 3, handle="g")).reason


def legal(operations, ttl, cap):
    """For each expand: some instants of all stores, and of the expand, at which the right store says so."""
    invokes = [op for op in operations if isinstance(op, Invoke)]
    spans = [
        [*range(op.call_ns, 16 if op.outcome is Outcome.INFO or op.input.stream else op.return_ns + 1)]
        + ([None] if op.outcome is Outcome.INFO or op.input.stream else [])
        for op in invokes
    ]
    return all(
        any(
            _answers(op, now, dict(zip(invokes, stored, strict=True)), ttl, cap)
            for stored in product(*spans)
            for now in range(op.call_ns, op.return_ns + 1)
        )
        for op in operations
        if isinstance(op, Expand) and op.outcome is not Outcome.INFO
    )


def _answers(op, now, stored, ttl, cap):
    owner = next((i for i in stored if i.output and i.output.handle_id == op.input.handle_id), None)
    if owner is None:
        return True
    if op.input.principal != owner.input.principal:
        return op.outcome is not Outcome.OK
    at = stored[owner]
    there = at <= now
    over = ttl is not None and now >= at + ttl
    # equal instants may be in either order: the one that excuses
    newer = sum(other is not owner and t is not None and at <= t <= now for other, t in stored.items())
    pushed_out = cap is not None and newer >= cap
    if op.error == "handle_not_found":
        return not there or now == at or pushed_out or over
    if op.error == "handle_expired":
        return over
    if op.error == "handle_principal_mismatch":
        return False
    # an end may be touched: only what lies beyond is wrong
    if cap is not None and sum(t is not None and at < t < now for t in stored.values()) >= cap:
        return False
    return not there or ttl is None or now <= at + ttl


def test_it_agrees_with_trying_everything():
    rng = random.Random(9)
    seen = {True: 0, False: 0}
    for _ in range(ORACLE):
        ttl, cap = rng.choice([None, 4, 7]), rng.choice([None, 1, 2])
        operations = []
        for number in range(rng.randint(1, 3)):
            call = rng.randint(0, 6)
            ret = None if number and rng.random() < 0.2 else call + rng.randint(0, 3)
            closed = CLOSED if number and rng.random() < 0.15 else {"handle": f"h{number}"}
            operations.append(invoke(call, ret, **closed))
        for _ in range(rng.randint(1, 3)):
            call = rng.randint(0, 12)
            error = rng.choice([None, None, "handle_not_found", "handle_not_found", "handle_expired"])
            error = "handle_principal_mismatch" if rng.random() < 0.03 else error
            if error == "handle_expired" and ttl is None:
                error = None
            by = "q" if rng.random() < 0.1 else "p"
            operations.append(
                expand(call, call + rng.randint(0, 3), handle=f"h{rng.randint(0, 2)}", by=by, error=error)
            )
        verdict = judged(*operations, ttl=ttl, cap=cap)
        wanted = legal(history(*operations), ttl, cap)
        assert (verdict.validity is not Validity.INVALID) == wanted, (ttl, cap, operations, verdict)
        seen[wanted] += 1
    assert min(seen.values()) > ORACLE // 10


def test_a_count_that_is_cut_off_is_unknown_and_accuses_nobody(monkeypatch):
    monkeypatch.setattr(work, "STEPS", -1000)
    told = [
        made(3, 3),
        made(2, 2, handle="g"),
        made(2, 4, handle="i"),
        expand(5, 6, handle="i"),
        expand(4, 5, handle="g"),
    ]
    verdict = judged(*told, cap=1)
    assert verdict.validity is Validity.UNKNOWN
    assert "given up" in verdict.reason


def test_one_under_way_at_the_end_does_not_hide_that_another_was_pushed_out():
    told = [made(3, 3), made(2, 2, handle="g"), made(2, 4, handle="i"), expand(4, 5, handle="g")]
    assert kinds(judged(*told, cap=1)) == {"cap_exceeded"}
