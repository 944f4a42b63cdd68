"""Every checker has a verdict on every well-formed history; every counter-example is as small as can be."""

import random

import msgspec
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sketch import ORACLE, cell, history, kinds

from kernel_lab.judge.checkers import CHECKERS, finding, rate_limit
from kernel_lab.judge.history import KINDS, Called, Outcome, parse_line
from kernel_lab.judge.verdict import Validity

CODES = [
    None, "rate_limited", "token_revoked", "token_expired", "token_invalid", "handle_not_found",
    "handle_expired", "handle_principal_mismatch", "trace_not_found", "capability_not_found",
    "capability_exists", "budget_exhausted", "state_unavailable", "",
]  # fmt: skip
PARAMETERS = {
    "limit": 2, "window_s": 5e-9, "tolerance_ms": 1e-6, "total": 10, "request": 4, "handle_ttl_s": 8e-9,
    "handle_cap": 2, "trace_cap": 3, "token_ttl_s": 6e-9, "baseline": {"grants": 1},
}  # fmt: skip


class Source:
    """Values for an operation, from one source of chance."""

    def __init__(self, pick, claim):
        self.pick = pick
        judged = [*sorted(CHECKERS[claim].JUDGES), "grant", "invoke"]
        self.kinds = [*KINDS, *judged * 4]

    def operation(self, index=0):
        pick = self.pick
        outcome = pick([*Outcome, Outcome.OK])
        call = pick(range(24))
        of = {
            "token_id": pick("tu"), "principal": pick("pppq"), "capability": pick(["c", "c", ""]),
            "handle_id": pick("gh"), "action_id": pick("ab"), "limit": pick([None, None, 1]),
            "tampered": pick([False, False, True]), "stream": pick([False, True]),
            "dry_run": pick([False, False, False, True]),
        }  # fmt: skip
        answer = {
            "token_id": pick("tu"), "action_id": pick(["a", "b", None]), "frames": pick([0, 2, None]),
            "handle_id": pick(["g", "h", None]), "tokens": pick([0, 5, 9, None]),
            "final": pick([True, False, None]), "last_frame_ns": pick([None, 20]),
            "action_ids": pick([[], ["a"], ["a", "a", "x"], None]), "valid": pick([True, False, None]),
            "records": pick([0, 2, [], None]), "used": pick([0, 5, 20, None]), "total": 10,
            "grants": pick([0, 2, 9, None]), "invocations": pick([1, None]), "expansions": 0,
        }  # fmt: skip
        plain = {
            "f": pick(self.kinds), "index": index, "client": "c", "outcome": outcome, "call_ns": call,
            "return_ns": None if outcome is Outcome.INFO and pick([0, 1]) else call + pick(range(6)),
            "worker": pick(["a", "b", None]), "error": pick(CODES) if outcome is Outcome.FAIL else None,
            "input": of, "output": pick([answer, answer, answer, {}, None]),
        }  # fmt: skip
        return msgspec.convert(plain, Called)


def judge(claim, operations):
    return CHECKERS[claim].check(operations, cell(claim, **PARAMETERS))


@settings(max_examples=80, deadline=None, suppress_health_check=list(HealthCheck), derandomize=True)
@given(data=st.data())
def test_no_well_formed_history_is_too_odd(data):
    source = Source(lambda options: data.draw(st.sampled_from(list(options))), "revocation")
    operations = history(*(source.operation() for _ in range(data.draw(st.integers(0, 6)))))
    for claim in CHECKERS:
        assert judge(claim, operations).claim == claim


@pytest.mark.parametrize("claim", CHECKERS)
def test_a_counterexample_loses_its_anomaly_with_any_operation(claim):
    rng = random.Random(15)
    source = Source(lambda options: rng.choice(list(options)), claim)
    shrunk = 0
    for _ in range(ORACLE * 4):
        if shrunk > ORACLE // 20:
            break
        verdict = judge(claim, history(*(source.operation() for _ in range(rng.randint(1, 12)))))
        if verdict.validity is not Validity.INVALID:
            assert not verdict.counterexample
            continue
        shrunk += 1
        proof = [parse_line(msgspec.json.encode(line), where="proof") for line in verdict.counterexample]
        assert len(verdict.story) == len(proof)
        # some kind of anomaly is in the whole, was in the history, and goes with each operation left out
        assert any(
            all(kind not in kinds(judge(claim, proof[:i] + proof[i + 1 :])) for i in range(len(proof)))
            for kind in kinds(judge(claim, proof)) & kinds(verdict)
        ), verdict
        assert len(proof) <= (finding.SMALL if claim != rate_limit.CLAIM else len(proof))
    assert shrunk > ORACLE // 20


@pytest.mark.parametrize("claim", CHECKERS)
def test_a_verdict_does_not_depend_on_the_order_of_the_lines(claim):
    rng = random.Random(16)
    source = Source(lambda options: rng.choice(list(options)), claim)
    for _ in range(40):
        operations = history(*(source.operation() for _ in range(rng.randint(2, 12))))
        shuffled = rng.sample(operations, len(operations))
        one, other = judge(claim, operations), judge(claim, shuffled)
        assert (one.validity, kinds(one)) == (other.validity, kinds(other))
