"""revocation: one instant from which every invoke of the token is refused, or a proof that there is none."""

import random
from functools import partial

import pytest
from revoked_when import legal
from sketch import ORACLE, cell, grant, history, invoke, kinds, revoke, revoke_all

from kernel_lab.judge.checkers import revocation
from kernel_lab.judge.verdict import Validity

refused = partial(invoke, error="token_revoked")


def judged(*operations, stale=0):
    return revocation.check(history(*operations), cell("revocation", max_stale_ms=stale * 1e-6))


LEGAL = {
    "refused after the revoke returned": [grant(0, 1), revoke(2, 3), refused(4, 5)],
    "accepted while the revoke was under way": [revoke(10, 20), invoke(15, 25)],
    "an accept that touches the revoke's return": [revoke(10, 20), invoke(20, 30)],
    "refused and then accepted, overlapping": [revoke(10, 20), refused(11, 14), invoke(12, 30)],
    "a refusal that touches the revoke's call": [refused(5, 10), revoke(10, 20)],
    "a revoke that failed revoked nothing": [revoke(0, 1, error="token_scope"), revoke(5), invoke(6, 7)],
    "a revoke without an answer may never happen": [revoke(0), invoke(5, 6)],
    "a revoke without an answer may happen late": [revoke(0), invoke(5, 6), refused(9, 10)],
    "an expired token proves nothing": [revoke(0), refused(5, 6), invoke(7, 8, error="token_expired")],
    "an invoke without an answer proves nothing": [revoke(0, 1), refused(2, 3), invoke(4)],
    "all of a principal's tokens": [grant(0, 1), revoke_all(2, 3), refused(4, 5)],
    "a token granted meanwhile may be covered": [grant(0, 5), revoke_all(2, 3), refused(6, 7)],
    "a token granted meanwhile may be spared": [grant(0, 5), revoke_all(2, 3), invoke(6, 7)],
    "a later token is spared": [revoke_all(0, 1), grant(2, 3), invoke(4, 5), revoke(6, 7), refused(8, 9)],
    "a token granted before anybody watched may be covered": [revoke_all(0, 1), refused(2, 3)],
    "another principal's tokens are spared": [
        grant(0, 1, to="q"), revoke_all(2, 3), invoke(4, 5, by="q"), revoke(6, 7), refused(8, 9, by="q"),
    ],
    "two revokes, refused after the first": [revoke(0, 1), refused(2, 3), revoke(9, 10), refused(11, 12)],
}  # fmt: skip
ILLEGAL = {
    "accepted after the revoke returned": ([revoke(10, 20), invoke(21, 30)], "leak"),
    "accepted after all were revoked": ([grant(0, 1), revoke_all(2, 3), invoke(4, 5)], "leak"),
    "accepted after the first of two revokes": ([revoke(0, 5), revoke(3, 50), invoke(6, 7)], "leak"),
    "accepted after a refusal, though the revoke had no answer": (
        [revoke(0), refused(5, 6), invoke(7, 8)], "resurrection",
    ),
    "refused though nobody revoked": ([refused(0, 1)], "phantom"),
    "refused before the revoke was called": ([refused(0, 1), revoke(2, 3)], "phantom"),
    "refused though it was granted after all were revoked": (
        [revoke_all(0, 1), grant(2, 3), refused(4, 5)], "phantom",
    ),
    "refused by another principal's revoke": (
        [grant(0, 1, to="q"), revoke_all(0, 1), refused(4, 5)], "phantom",
    ),
    "refused by a revoke that an accept disproved": (
        [grant(15, 18), revoke_all(10, 20), invoke(25, 26), refused(30, 31)], "unexplained",
    ),
    "refused by a revoke that failed": ([revoke(0, 1, error="token_scope"), refused(2, 3)], "phantom"),
}  # fmt: skip


@pytest.mark.parametrize("name", LEGAL)
def test_it_is_legal(name):
    verdict = judged(*LEGAL[name])
    assert verdict.validity is Validity.VALID, verdict


@pytest.mark.parametrize("name", ILLEGAL)
def test_it_is_illegal(name):
    operations, kind = ILLEGAL[name]
    verdict = judged(*operations)
    assert (verdict.validity, kinds(verdict)) == (Validity.INVALID, {kind})


@pytest.mark.parametrize(
    "operations",
    [
        [],
        [grant(0, 1), invoke(2, 3)],
        [grant(0, 1), invoke(2, 3), revoke(4, 5)],
        [grant(0, 1), revoke(2, 3), invoke(4, 5, error="token_expired")],
        [revoke(0, 1), invoke(2, 3, tampered=True)],
    ],
)
def test_what_was_never_asked_is_not_judged(operations):
    verdict = judged(*operations)
    assert verdict.validity is Validity.UNKNOWN
    assert "nothing to judge" in verdict.reason


def test_a_leak_is_told_in_three_lines():
    verdict = judged(
        grant(0, 1_000_000, worker="r0/11/aa"),
        revoke_all(2_000_000, 3_000_000, worker="r0/12/bb"),
        *(invoke(t * 1_000_000, t * 1_000_000 + 5, worker="r0/13/cc") for t in range(4, 9)),
    )
    assert [line["f"] for line in verdict.counterexample] == ["grant", "revoke_all", "invoke"]
    assert verdict.story[1] == "+2.0 ms  c0 @r0/12  revoke all of p → ok (returned +3.0 ms)"
    assert "op 6 (worker r0/13/cc) accepted token t 5 ms after" in verdict.anomalies[0].message


def test_the_share_of_invokes_that_leaked():
    verdict = judged(
        revoke(0, 1),
        invoke(2, 3),
        refused(4, 5),
        invoke(6, 7, error="token_expired"),
        invoke(8),
        revoke(9, 9),
    )
    assert (verdict.measures["tokens"], verdict.measures["leaked_tokens"]) == (1, 1)
    # the expired one could not have been accepted
    assert verdict.measures["leak_rate"] == 1 / 3


MS = 1_000_000


def test_the_lag_is_bracketed_on_the_worker_that_took_longest():
    verdict = judged(
        revoke(10 * MS, 11 * MS, worker="a"),
        refused(12 * MS, 13 * MS, worker="a"),
        invoke(20 * MS, 21 * MS, worker="b"),
        invoke(31 * MS, 32 * MS, worker="b"),
        refused(40 * MS, 42 * MS, worker="b"),
    )
    assert (verdict.measures["lag_lower_ms_max"], verdict.measures["lag_upper_ms_max"]) == (20, 32)
    assert verdict.measures["lag_open_tokens"] == 0


def test_the_lag_is_open_where_a_worker_never_refused():
    verdict = judged(revoke(0, 1), refused(2, 3, worker="a"), invoke(2 * MS, 2 * MS, worker="b"))
    assert verdict.measures["lag_upper_ms_max"] is None
    assert verdict.measures["lag_upper_ms_p50"] is None
    assert verdict.measures["lag_open_tokens"] == 1
    assert verdict.measures["lag_end"] == "not seen"


def test_expiry_ends_the_lag_of_a_worker_that_never_refused():
    verdict = judged(
        revoke(0, 1 * MS),
        refused(2 * MS, 3 * MS, worker="a"),
        invoke(5 * MS, 6 * MS, worker="b"),
        invoke(20 * MS, 22 * MS, worker="b", error="token_expired"),
    )
    assert (verdict.measures["lag_lower_ms_max"], verdict.measures["lag_upper_ms_max"]) == (4, 22)
    assert (verdict.measures["lag_open_tokens"], verdict.measures["lag_expired_tokens"]) == (0, 1)
    assert (verdict.measures["lag_end"], verdict.measures["lag_width_ms_p50"]) == ("expiry", 18)


def test_a_worker_that_only_saw_the_token_expired_tells_nothing_of_the_lag():
    verdict = judged(
        revoke(0, 1 * MS),
        refused(2 * MS, 3 * MS, worker="a"),
        invoke(20 * MS, 22 * MS, worker="b", error="token_expired"),
    )
    assert (verdict.measures["lag_upper_ms_max"], verdict.measures["lag_end"]) == (3, "refusal")


def test_an_expiry_before_the_last_accept_ends_nothing():
    verdict = judged(
        revoke(0, 1 * MS),
        invoke(5 * MS, 6 * MS, worker="b", error="token_expired"),
        invoke(10 * MS, 11 * MS, worker="b"),
    )
    assert verdict.measures["lag_end"] == "not seen"


WITHIN = {
    "accepted elsewhere within the bound": ([revoke(10, 20), invoke(25, 30, worker="b")], set()),
    "accepted elsewhere, beyond it": ([revoke(10, 20), invoke(26, 30, worker="b")], {"leak"}),
    "refused here and accepted there within the bound": (
        [revoke(10, 20), refused(21, 22, worker="a"), invoke(25, 26, worker="b")], set(),
    ),
    "refused and accepted by one worker": (
        [revoke(10, 20), refused(21, 22, worker="a"), invoke(23, 24, worker="a")], {"resurrection"},
    ),
    "refused here and accepted there, beyond the bound, though the revoke had no answer": (
        [revoke(10), refused(21, 22, worker="a"), invoke(28, 29, worker="b")], {"resurrection"},
    ),
    "refused before the revoke was called": ([refused(8, 9, worker="a"), revoke(10, 20)], {"phantom"}),
}  # fmt: skip


@pytest.mark.parametrize("name", WITHIN)
def test_a_stated_bound_is_granted_and_no_more(name):
    operations, wrong = WITHIN[name]
    assert kinds(judged(*operations, stale=5)) == wrong


def test_what_was_accepted_within_the_bound_is_counted_all_the_same():
    verdict = judged(revoke(10, 20), invoke(24, 30, worker="b"), refused(40, 41, worker="b"), stale=5)
    assert verdict.validity is Validity.VALID
    assert (verdict.measures["leaked_tokens"], verdict.measures["leak_rate"]) == (1, 1 / 2)


def random_history(rng):
    operations = []
    for token in ("t", "u"):
        if rng.random() < 0.8:
            call = rng.randint(0, 8)
            operations.append(grant(call, call + rng.randint(0, 4), token=token))
    for _ in range(rng.randint(0, 3)):
        call = rng.randint(0, 14)
        ret = None if rng.random() < 0.3 else call + rng.randint(0, 5)
        token = rng.choice("ttu")
        operations.append(revoke_all(call, ret) if rng.random() < 0.5 else revoke(call, ret, token=token))
    since = rng.randint(4, 16)
    for _ in range(rng.randint(1, 4)):
        call = rng.randint(2, 18)
        ret = call + rng.randint(0, 4)
        was_refused = rng.random() < 0.2 if rng.random() < 0.15 else rng.randint(call, ret) >= since
        how = (
            rng.choice(["token_expired", None])
            if rng.random() < 0.1
            else "token_revoked"
            if was_refused
            else ""
        )
        token = rng.choice("tttu")
        # of a stream that broke off some frames may have come: it was accepted
        frames = rng.choice([0, 0, 0 if call > since else 2])
        operations.append(
            invoke(call, token=token, stream=frames > 0, frames=frames, worker=rng.choice("ab"))
            if how is None
            else invoke(call, ret, token=token, error=how or None, worker=rng.choice("ab"))
        )
    return operations


@pytest.mark.parametrize("stale", [0, 3])
def test_it_agrees_with_trying_everything(stale):
    rng = random.Random(6)
    seen = {True: 0, False: 0}
    for _ in range(ORACLE * 3):
        operations = random_history(rng)
        verdict = judged(*operations, stale=stale)
        wanted = legal(operations, stale)
        assert (verdict.validity is not Validity.INVALID) == wanted, (operations, verdict)
        seen[wanted] += 1
    assert min(seen.values()) > ORACLE // 10
