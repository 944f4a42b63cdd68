"""streams: authorised when they begin, explained when they have ended."""

import random
from functools import partial

import pytest
from revoked_when import legal as may_begin
from sketch import ORACLE, cell, explain, grant, history, invoke, kinds, revoke, revoke_all

from kernel_lab.judge.checkers import streams
from kernel_lab.judge.history import Explain, Invoke, Outcome
from kernel_lab.judge.verdict import Validity

stream = partial(invoke, stream=True, action="a", frames=3, final=True)
refused = partial(invoke, stream=True, error="token_revoked")
lost = partial(explain, error="trace_not_found")


def judged(*operations):
    return streams.check(history(*operations), cell("streams"))


LEGAL = {
    "begun before the revoke, and going on": [stream(0, 20, last_frame=19), revoke(5, 6)],
    "begun while it was revoked": [revoke(5, 6), stream(6, 20)],
    "refused after the revoke": [revoke(5, 6), stream(0, 4), refused(7, 8)],
    "explained after its end": [stream(0, 9), explain(10, 11)],
    "not yet explained": [stream(0, 9), lost(9, 10), explain(11, 12)],
    "closed by its caller": [stream(0, 9, final=False, closed=True), lost(10, 11)],
    "broken off": [stream(0, final=False), lost(50, 60)],
    "of a plain invoke too": [invoke(0, 1), revoke(2, 3), refused(4, 5)],
}
ILLEGAL = {
    "begun after the revoke": ([revoke(5, 6), stream(7, 20)], "leak", 2),
    "begun after all were revoked": ([grant(0, 1), revoke_all(5, 6), stream(7, 20)], "leak", 3),
    "begun after the revoke, and broken off": ([revoke(5, 6), stream(7, final=False)], "leak", 2),
    "begun after a refusal": ([revoke(5), refused(7, 8), stream(9, 20)], "resurrection", 2),
    "refused before anybody revoked": ([refused(0, 1), revoke(5, 6)], "phantom", 1),
    "without a trace after its end": ([stream(0, 9), lost(10, 11)], "lost_trace", 2),
    "ended without its end": ([stream(0, 9, final=False)], "cut_short", 1),
}


@pytest.mark.parametrize("name", LEGAL)
def test_it_is_legal(name):
    verdict = judged(*LEGAL[name])
    assert verdict.validity is Validity.VALID, verdict


@pytest.mark.parametrize("name", ILLEGAL)
def test_it_is_illegal(name):
    operations, kind, size = ILLEGAL[name]
    verdict = judged(*operations)
    assert (verdict.validity, kinds(verdict)) == (Validity.INVALID, {kind})
    assert len(verdict.counterexample) == size


def test_what_is_so_in_one_process_too_is_measured():
    verdict = judged(
        stream(0, 20_000_000, last_frame=19_000_000),
        revoke(1_000_000, 2_000_000),
        stream(0, final=False, action="b", token="u", last_frame=5),
        lost(30_000_000, 30_000_001, action="b"),
    )
    assert verdict.validity is Validity.VALID
    assert (verdict.measures["outlived_streams"], verdict.measures["outlived_ms_max"]) == (1, 17)
    assert verdict.measures["untraced_breaks"] == 1


def test_a_stream_that_began_after_the_revoke_is_a_leak_and_outlived_nothing():
    verdict = judged(revoke(1, 2), stream(3, 20, last_frame=19))
    assert kinds(verdict) == {"leak"}
    assert verdict.measures["outlived_streams"] == 0


def test_no_stream_no_verdict():
    verdict = judged(grant(0, 1), revoke(2, 3), invoke(4, 5, error="token_revoked"))
    assert verdict.validity is Validity.UNKNOWN
    assert "nothing to judge" in verdict.reason


def test_a_stream_that_is_ok_says_what_came_of_it():
    assert "frames and final" in streams.lacks(invoke(0, 1, stream=True))
    assert streams.lacks(stream(0, 1)) is None
    assert streams.lacks(invoke(0, stream=True)) is None


def legal(operations):
    """Every instant at which its token may have been revoked; and each end, and each question for one."""
    return may_begin(operations, 0) and all(
        _ends(op) if isinstance(op, Invoke) else _told(op, operations)
        for op in operations
        if isinstance(op, Invoke | Explain)
    )


def _ends(op):
    """It came to its end, or its caller hung up, or nobody knows."""
    served = op.input.stream and op.outcome is Outcome.OK
    return not served or op.output.closed or (op.output.final and op.output.frames == 3)


def _told(op, operations):
    """At some instant of the question the trace may not yet have been recorded."""
    whole = [
        i for i in operations
        if isinstance(i, Invoke) and i.outcome is Outcome.OK and i.input.stream and i.output.final
        and i.output.action_id == op.input.action_id
    ]  # fmt: skip
    return op.error is None or all(
        any(
            now <= at
            for at in range(i.call_ns, i.return_ns + 1)
            for now in range(op.call_ns, op.return_ns + 1)
        )
        for i in whole
    )


def random_history(rng):
    since = rng.randint(2, 16)
    call = rng.randint(0, 4)
    operations = [grant(call, call + rng.randint(0, 4))] if rng.random() < 0.8 else []
    for _ in range(rng.randint(0, 2)):
        call = since - rng.randint(0, 3)
        ret = None if rng.random() < 0.3 else since + rng.randint(0, 4)
        operations.append(rng.choice([revoke, revoke_all])(call, ret))
    for number in range(rng.randint(1, 4)):
        call = rng.randint(2, 18)
        ret = call + rng.randint(0, 4)
        how = rng.choice(["whole", "whole", "closed", "broken", "lost"])
        if rng.random() < 0.05:
            how = "short"
        if rng.randint(call, ret) >= since and rng.random() < 0.9:
            operations.append(refused(call, ret))
            continue
        came = {"action": f"a{number}", "frames": 3 if how == "whole" else 2, "final": how == "whole"}
        if how == "lost":
            operations.append(invoke(call, stream=True))
        else:
            ended = None if how == "broken" else ret
            operations.append(invoke(call, ended, stream=True, closed=how == "closed", **came))
        if rng.random() < 0.7:
            call = ret + rng.randint(-2, 5)
            asked = lost if how != "whole" or rng.random() < 0.15 else explain
            operations.append(asked(call, call + rng.randint(0, 2), action=f"a{number}"))
    return history(*operations)


def test_it_agrees_with_trying_everything():
    rng = random.Random(18)
    seen = {True: 0, False: 0}
    for _ in range(ORACLE):
        operations = random_history(rng)
        verdict = streams.check(operations, cell("streams", stream_frames=3))
        wanted = legal(operations)
        assert (verdict.validity is not Validity.INVALID) == wanted, (operations, verdict)
        seen[wanted] += 1
    assert min(seen.values()) > ORACLE // 10
