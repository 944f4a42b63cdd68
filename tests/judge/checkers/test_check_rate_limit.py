"""rate_limit: upstream's window log, judged exactly; no right limiter accused."""

import random
from functools import partial

import pytest
from sketch import ORACLE, cell, grant, history, invoke, kinds
from test_placement import placeable

from kernel_lab.judge import work
from kernel_lab.judge.checkers import rate_limit
from kernel_lab.judge.history import Outcome
from kernel_lab.judge.verdict import Validity

NS = 1e-9
denied = partial(grant, error="rate_limited")


def judged(operations, limit, window, tolerance=0):
    of = cell("rate_limit", limit=limit, window_s=window * NS, tolerance_ms=tolerance * NS * 1000)
    return rate_limit.check(operations, of)


LEGAL = {
    "as many as the limit at once": (2, 10, [grant(0, 1), grant(0, 1)]),
    "one more, exactly a window later": (1, 10, [grant(0, 0), grant(10, 10)]),
    "a placement that the earliest return first does not find": (1, 10, [grant(0, 20), grant(1, 2)]),
    "an info may never have happened": (1, 10, [grant(0, 1), grant(2), grant(10, 12)]),
    "a denial while the limit may be full": (1, 10, [grant(0, 5), denied(5, 6)]),
    "a denial where only an info can have counted": (1, 10, [grant(0), denied(50, 60)]),
    "a denial that the grant touches": (1, 10, [denied(0, 5), grant(5, 9)]),
    "a denial for a role is not the limiter's": (1, 10, [grant(0, 1, error="missing_role")]),
    "each principal has a window": (1, 10, [grant(0, 1), grant(0, 1, to="q")]),
    "each capability has a window": (1, 10, [grant(0, 1), grant(0, 1, of="d")]),
    "invokes are not counted": (1, 10, [grant(0, 1), *(invoke(t, t + 1) for t in range(2, 9))]),
}
ILLEGAL = {
    "one more than the limit": (2, 10, [grant(0, 1), grant(2, 3), grant(4, 5)], "over_admission"),
    "one nanosecond early": (1, 10, [grant(0, 0), grant(9, 9)], "over_admission"),
    "long ones that only together have no room": (
        1,
        10,
        [grant(0, 15), grant(0, 15), grant(0, 15)],
        "over_admission",
    ),
    "a denial with nothing before it": (1, 10, [denied(0, 1)], "wrongful_denial"),
    "a denial when the window had passed": (1, 10, [grant(0, 1), denied(11, 12)], "wrongful_denial"),
    "a denial before the grant was called": (1, 10, [denied(0, 1), grant(2, 3)], "wrongful_denial"),
    "a denial while fewer than the limit count": (2, 10, [grant(0, 1), denied(2, 3)], "wrongful_denial"),
}


@pytest.mark.parametrize("name", LEGAL)
def test_it_is_legal(name):
    limit, window, operations = LEGAL[name]
    verdict = judged(history(*operations), limit, window)
    expected = Validity.UNKNOWN if name.startswith("a denial for a role") else Validity.VALID
    assert verdict.validity == expected, verdict


@pytest.mark.parametrize("name", ILLEGAL)
def test_it_is_illegal(name):
    limit, window, operations, kind = ILLEGAL[name]
    verdict = judged(history(*operations), limit, window)
    assert (verdict.validity, kinds(verdict)) == (Validity.INVALID, {kind})


def test_the_smallest_proof_of_over_admission_is_one_grant_more_than_the_limit():
    operations = history(*(grant(t, t + 3, worker=f"r0/{t % 4}/a") for t in range(0, 40, 2)))
    verdict = judged(operations, limit=4, window=100)
    assert [line["f"] for line in verdict.counterexample] == ["grant"] * 5
    assert len(verdict.story) == 5
    assert "4 in 100 ns are allowed" in verdict.anomalies[0].message
    assert verdict.measures["certain_max"] == 20
    assert verdict.measures["factor"] == 5


def test_what_is_certain_and_what_is_possible_in_one_window():
    verdict = judged(history(grant(0, 4), grant(3, 12), grant(8, 9)), limit=3, window=10)
    # wholly inside [3, 13) are two, and [0, 10) holds the first and the last; all three touch [0, 10)
    assert (verdict.measures["certain_max"], verdict.measures["possible_max"]) == (2, 3)


def test_two_hosts_clocks_may_differ_by_the_tolerance():
    early = history(grant(0, 0), grant(9, 9))
    late = history(grant(0, 1), denied(11, 12))
    for operations in (early, late):
        assert judged(operations, 1, 10).validity is Validity.INVALID
        assert judged(operations, 1, 10, tolerance=1).validity is Validity.VALID


def test_one_grant_and_many_invokes_are_counted():
    verdict = judged(history(grant(0, 1), *(invoke(t, t) for t in range(2, 9))), 1, 10)
    assert verdict.measures["invokes_per_grant_max"] == 7


def test_only_the_stated_capability_is_judged():
    operations = history(grant(0, 1), grant(0, 1, of="other"), grant(0, 1, of="other"))
    of = cell("rate_limit", limit=1, window_s=1, capability="c")
    assert rate_limit.check(operations, of).measures["attempts"] == 1


@pytest.mark.parametrize("parameters", [{}, {"limit": 0, "window_s": 1}, {"limit": "ten", "window_s": 1}])
def test_without_a_limit_it_is_unknown(parameters):
    verdict = rate_limit.check(history(grant(0, 1)), cell("rate_limit", **parameters))
    assert verdict.validity is Validity.UNKNOWN
    assert "parameters.limit" in verdict.reason


def test_a_search_that_is_cut_off_is_unknown(monkeypatch):
    monkeypatch.setattr(work, "STEPS", -200)
    verdict = judged(history(grant(0, 20), grant(1, 2)), 1, 10)
    assert verdict.validity is Validity.UNKNOWN
    assert "given up" in verdict.reason


def right_limiter(rng, limit, window, attempts):
    """Upstream's window log at instants of its own, seen from outside."""
    log, operations, now = [], [], 0
    for _ in range(attempts):
        now += rng.choice([0, 0, 1, 2, 5])
        log = [t for t in log if t > now - window]
        call, ret = now - rng.choice([0, 1, 4, 9]), now + rng.choice([0, 1, 4, 9])
        if len(log) < limit:
            log.append(now)
            operations.append(grant(call, None if rng.random() < 0.1 else ret))
        else:
            operations.append(denied(call, ret))
    return operations


def test_a_right_limiter_is_never_accused():
    rng = random.Random(4)
    for _ in range(ORACLE):
        limit, window = rng.randint(1, 4), rng.randint(1, 15)
        operations = right_limiter(rng, limit, window, attempts=rng.randint(1, 25))
        verdict = judged(history(*operations), limit, window)
        assert verdict.validity is not Validity.INVALID, (limit, window, operations, verdict)


def legal(operations, limit, window):
    """Try every order of the admissions; look for each denial at every instant."""
    oks = [op for op in operations if op.outcome is Outcome.OK]
    if not placeable([op.call_ns for op in oks], [op.return_ns for op in oks], limit, window):
        return False
    maybe = [op for op in operations if op.outcome is not Outcome.FAIL]
    return all(
        any(
            sum(op.call_ns <= now and op.end_ns > now - window for op in maybe) >= limit
            for now in range(denial.call_ns, denial.return_ns + 1)
        )
        for denial in operations
        if denial.outcome is Outcome.FAIL
    )


def test_it_agrees_with_trying_everything():
    rng = random.Random(5)
    seen = set()
    for _ in range(ORACLE):
        limit, window = rng.randint(1, 3), rng.randint(1, 12)
        operations = right_limiter(rng, limit, window, attempts=rng.randint(2, 8))
        wrong = limit + rng.choice([-1, 0, 1]), window + rng.choice([-3, 0, 3])
        verdict = judged(history(*operations), max(1, wrong[0]), max(1, wrong[1]))
        wanted = legal(operations, max(1, wrong[0]), max(1, wrong[1]))
        assert (verdict.validity is not Validity.INVALID) == wanted, (operations, wrong, verdict)
        seen.add(wanted)
    assert seen == {True, False}


MS = 1_000_000


def eight_clients(rng, limit, window, attempts=240):
    """A window log asked by eight clients in turn, each call taking some 4 ms, for three windows."""
    log, operations, free = [], [], [0] * 8
    for number in range(attempts):
        client = number % 8
        call = free[client] + rng.randrange(20 * MS)
        now = call + rng.randrange(4 * MS)
        free[client] = now + rng.randrange(4 * MS)
        operations.append((now, call, free[client]))
    answered = []
    for now, call, ret in sorted(operations):
        log = [t for t in log if t > now - window]
        admitted = len(log) < limit
        log += [now] * admitted
        answered.append(grant(call, ret) if admitted else denied(call, ret))
    return history(*answered)


@pytest.mark.parametrize(
    ("limit", "window", "found"),
    [
        (5, 200 * MS, set()),
        (6, 200 * MS, {"over_admission"}),
        (4, 200 * MS, {"wrongful_denial"}),
        (5, 100 * MS, {"over_admission"}),
        (5, 400 * MS, {"wrongful_denial"}),
    ],
)
def test_a_limiter_off_by_one_or_by_half_a_window_is_caught_every_time(limit, window, found):
    for seed in range(max(10, ORACLE // 50)):
        verdict = judged(eight_clients(random.Random(seed), limit, window), 5, 200 * MS)
        assert kinds(verdict) == found, (seed, verdict)
