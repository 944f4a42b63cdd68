"""What the end of an invoke proves, and what must have succeeded before a claim may be valid."""

import pytest
from sketch import cell, expand, grant, history, invoke, revoke

from kernel_lab.judge.checkers import CHECKERS, revocation, tokens
from kernel_lab.judge.completeness import judge_history
from kernel_lab.judge.evidence import ERRORS, Proves, proves, untried
from kernel_lab.judge.verdict import Validity


def judged(claim, *operations):
    return judge_history(history(*operations), cell(claim), CHECKERS[claim])


@pytest.mark.parametrize("error", [error for error, shown in ERRORS.items() if shown is Proves.ACCEPTED])
def test_a_call_that_failed_after_the_verification_was_accepted(error):
    """Upstream verifies a token before its driver runs: the driver was reached with a revoked token."""
    verdict = judged("revocation", grant(0, 1), revoke(2, 3), invoke(4, 5, error=error))
    assert verdict.validity is Validity.INVALID, error
    assert verdict.measures["leak_rate"] == 1.0
    assert judged("tokens", grant(0, 1), invoke(2, 3, error=error)).measures["verifications"] == 1


def test_a_tampered_token_that_reached_the_driver_is_forged():
    verdict = judged("tokens", grant(0, 1), invoke(2, 3, error="driver_failed", tampered=True))
    assert verdict.measures["forged"] == 1


@pytest.mark.parametrize(
    "error", ["token_expired", "state_unavailable", "internal_error", "ReadTimeout", "anything"]
)
def test_any_other_failure_proves_nothing(error):
    (_, op) = history(grant(0, 1), invoke(4, 5, error=error))
    assert proves(op) is Proves.NOTHING


@pytest.mark.parametrize(
    ("claim", "operations"),
    [
        ("revocation", [grant(0, 1), revoke(2, 3), invoke(4, 5, error="policy_denied")]),
        ("tokens", [grant(0, 1), invoke(2, 3, error="policy_denied")]),
        ("rate_limit", [grant(0, 1, error="rate_limited")]),
        ("handles", [grant(0, 1), invoke(2, 3, handle="h"), expand(4, 5, error="state_unavailable")]),
    ],
)
def test_a_claim_of_which_nothing_succeeded_is_never_valid(claim, operations):
    assert untried(claim, history(*operations)).startswith("nothing was tried: no ")
    assert judged(claim, *operations).validity is not Validity.VALID


def test_a_claim_with_every_kind_of_success_is_judged():
    held = history(grant(0, 1), invoke(2, 3), revoke(4, 5), invoke(6, 7, error="token_revoked"))
    assert untried("revocation", held) == ""
    assert judge_history(held, cell("revocation"), revocation).validity is Validity.VALID
    assert judge_history(held[:2], cell("tokens"), tokens).validity is Validity.VALID
