"""tokens: minted anywhere, verified everywhere; tampered nowhere."""

import random
from functools import partial

import pytest
from sketch import ORACLE, cell, grant, history, invoke, kinds

from kernel_lab.judge.checkers import tokens
from kernel_lab.judge.verdict import Validity

rejected = partial(invoke, error="token_invalid")
expired = partial(invoke, error="token_expired")


def judged(*operations, **parameters):
    return tokens.check(history(*operations), cell("tokens", **parameters))


LEGAL = {
    "accepted after the grant": [grant(0, 1), invoke(2, 3)],
    "a tampered one refused": [rejected(2, 3, tampered=True)],
    "refused while its grant was under way": [grant(0, 5), rejected(5, 6), invoke(7, 8)],
    "of another principal": [grant(0, 1), rejected(2, 3, by="q"), invoke(4, 5)],
    "for another capability": [grant(0, 1), rejected(2, 3, of="d"), invoke(4, 5)],
    "minted by nobody we saw": [grant(0, 1, token="u"), rejected(2, 3), invoke(4, 5, token="u")],
    "revoked": [grant(0, 1), invoke(2, 3, error="token_revoked"), invoke(4, 5)],
    "expired, and nobody said when": [grant(0, 1), expired(2, 3), invoke(4, 5)],
    "a tampered one without an answer": [grant(0, 1), invoke(2, tampered=True), invoke(3, 4)],
}
ILLEGAL = {
    "a good token called invalid": ([grant(0, 1), rejected(2, 3)], "rejected"),
    "a tampered token accepted": ([invoke(2, 3, tampered=True)], "forged"),
}


@pytest.mark.parametrize("name", LEGAL)
def test_it_is_legal(name):
    verdict = judged(*LEGAL[name])
    assert verdict.validity is Validity.VALID, verdict


@pytest.mark.parametrize("name", ILLEGAL)
def test_it_is_illegal(name):
    operations, kind = ILLEGAL[name]
    verdict = judged(*operations)
    assert (verdict.validity, kinds(verdict)) == (Validity.INVALID, {kind})
    assert len(verdict.counterexample) == len(operations)


@pytest.mark.parametrize(
    ("operations", "validity"),
    [
        ([grant(0, 2), expired(8, 9)], Validity.INVALID),
        ([grant(0, 2), expired(8, 10)], Validity.VALID),
        ([grant(0, 2), expired(10, 11)], Validity.VALID),
        ([grant(0, 2, of="d"), expired(3, 4, of="d")], Validity.VALID),
        ([grant(0, 2, of="d"), expired(2, 2, of="d")], Validity.UNKNOWN),
    ],
)
def test_a_token_may_expire_when_its_life_is_over_and_not_before(operations, validity):
    assert judged(*operations, token_ttl_s=10e-9, token_ttls={"d": 3e-9}).validity is validity


def test_nothing_was_presented():
    assert "nothing to judge" in judged(grant(0, 1)).reason


def test_a_grant_without_its_token_is_a_malformed_line():
    assert "output.token_id" in tokens.lacks(grant(0, 1, token=None))
    assert tokens.lacks(grant(0, 1, error="rate_limited")) is None


def test_it_agrees_with_asking_for_each_pair():
    rng = random.Random(8)
    for _ in range(ORACLE):
        operations = [
            grant(call := rng.randint(0, 6), call + rng.randint(0, 3), token=token, to=rng.choice("pq"))
            for token in "tu"
        ]
        for _ in range(rng.randint(0, 4)):
            call, error = rng.randint(0, 9), rng.choice([None, "token_invalid", "token_revoked"])
            operations.append(
                invoke(call, call + 1, token=rng.choice("tuv"), by=rng.choice("pq"), error=error,
                       tampered=rng.random() < 0.3)
            )  # fmt: skip
        wrong = any(
            op.f == "invoke"
            and (
                (op.input.tampered and op.error is None)
                or (
                    not op.input.tampered
                    and op.error is None
                    and any(
                        g.f == "grant"
                        and g.output.token_id == op.input.token_id
                        and g.input.principal != op.input.principal
                        for g in operations
                    )
                )
                or (
                    not op.input.tampered
                    and op.error == "token_invalid"
                    and any(
                        g.f == "grant"
                        and (g.output.token_id, g.input.principal) == (op.input.token_id, op.input.principal)
                        and g.return_ns < op.call_ns
                        for g in operations
                    )
                )
            )
            for op in operations
        )
        assert (judged(*operations).validity is Validity.INVALID) == wrong, operations
