"""tokens: minted anywhere, verified everywhere; tampered nowhere."""

import random
from functools import partial

import pytest
from sketch import ORACLE, cell, grant, history, invoke, kinds

from kernel_lab.judge.checkers import tokens
from kernel_lab.judge.history import Grant, Invoke, Outcome
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


def legal(operations, life):
    """For each invoke: an instant of its token's grant and one of the invoke, at which its end is right."""
    minted = {op.output.token_id: op for op in operations if isinstance(op, Grant) and op.output}
    return all(
        any(
            _answers(op, now, issued, minted.get(op.input.token_id), life)
            for issued in _instants(minted.get(op.input.token_id))
            for now in _instants(op)
        )
        for op in operations
        if isinstance(op, Invoke)
    )


def _instants(op):
    return [0] if op is None else range(op.call_ns, 30 if op.outcome is Outcome.INFO else op.return_ns + 1)


def _answers(op, now, issued, granted, life):
    served = op.outcome is Outcome.OK or bool(op.input.stream and op.output and op.output.frames)
    if op.input.tampered:
        return not served
    if granted is None or (op.outcome is Outcome.INFO and not served):
        return True
    if op.input.principal != granted.input.principal:
        return not served
    if served:
        return life is None or now <= issued + life
    if op.error == "token_invalid":
        return now <= issued  # there is no token yet
    if op.error == "token_expired":
        return life is None or now <= issued or now >= issued + life
    return True


def test_it_agrees_with_trying_everything():
    rng = random.Random(8)
    seen = {True: 0, False: 0}
    for _ in range(ORACLE):
        life = rng.choice([None, 3, 6])
        operations = [
            grant(call := rng.randint(0, 6), call + rng.randint(0, 3), token=token, to=rng.choice("ppq"))
            for token in "tu"
        ]
        for _ in range(rng.randint(1, 4)):
            call = rng.randint(0, 16)
            error = rng.choice([None, None, "token_invalid", "token_expired", "token_revoked"])
            if error == "token_invalid" and call > 4 and rng.random() < 0.7:
                error = None
            how = {"token": rng.choice("ttuv"), "by": rng.choice("pppq"), "tampered": rng.random() < 0.1}
            if rng.random() < 0.2:  # nobody knows how it ended; of a stream some frames may have come
                operations.append(invoke(call, stream=rng.random() < 0.5, frames=rng.choice([0, 2]), **how))
            else:
                operations.append(invoke(call, call + rng.randint(0, 3), error=error, **how))
        wanted = legal(history(*operations), life)
        verdict = judged(*operations, token_ttl_s=None if life is None else life * 1e-9)
        assert (verdict.validity is not Validity.INVALID) == wanted, (life, operations, verdict)
        seen[wanted] += 1
    assert min(seen.values()) > ORACLE // 10
