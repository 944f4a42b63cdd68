"""rate_limit for other kinds of limit: decided as by trying everything; no right limiter accused."""

import random
from dataclasses import replace
from functools import cache, partial

import pytest
from limiters import RIGHT, Running, wrong
from sketch import ORACLE, cell, grant, history, invoke, kinds

from kernel_lab.judge.checkers import limit_kinds, rate_limit
from kernel_lab.judge.history import Outcome, parse_line
from kernel_lab.judge.limits.search import Work, explains
from kernel_lab.judge.verdict import Validity

FULL = ORACLE > 5000
"""KERNEL_LAB_ORACLE=100000: as many histories as that for each kind, 1,000 right runs, 100 wrong ones."""
HISTORIES = ORACLE if FULL else 80
RUNS = 1000 if FULL else 4
WRONG_RUNS = 100 if FULL else 1
NS = 1e-9
MS = 1_000_000
denied = partial(grant, error="rate_limited")
CLOCK = ("fixed_window_clock", "sliding_counter_clock")


def judged(operations, kind, limit, window, **more):
    of = cell("rate_limit", kind=kind, limit=limit, window_s=window * NS, **more)
    return rate_limit.check(operations, of)


def at(*instants):
    return [grant(t, t) for t in instants]


LEGAL = {
    "clock: two limits meet at a boundary": ("fixed_window_clock", 2, 10, at(8, 9, 10, 11)),
    "clock: a denial in a full window": ("fixed_window_clock", 1, 10, [*at(11), denied(19, 19)]),
    "first hit: a window opens at 0, the next at 10": ("fixed_window_first_hit", 2, 10, at(0, 9, 10, 11)),
    "first hit: one of them waits for the next window": (
        "fixed_window_first_hit", 1, 10, [grant(0, 20), grant(1, 2)],
    ),
    "first hit: an info may have opened the window": (
        "fixed_window_first_hit", 1, 10, [grant(0), grant(20, 20), denied(15, 15), grant(6)],
    ),
    "bucket: a token every 5": ("token_bucket", 2, 10, at(0, 0, 5, 10)),
    "bucket: a denial before the next token": ("token_bucket", 2, 10, [*at(0, 0), denied(4, 4)]),
    "counter: the estimate of 3.2 allows both answers": (
        "sliding_counter_clock", 4, 10, [*at(1, 1, 1, 1, 12), denied(12, 12)],
    ),
    "counter from the first hit: a denial in the second window keeps the windows going": (
        "sliding_counter_first_hit", 1, 10, [*at(0, 22, 31), denied(5, 15)],
    ),
    "counter from the first hit: idle for a window, it begins anew": (
        "sliding_counter_first_hit", 1, 10, at(3, 23),
    ),
}  # fmt: skip
ILLEGAL = {
    "clock: three in one window": ("fixed_window_clock", 2, 10, at(1, 2, 3), "over_admission"),
    "clock: a denial in the next window": (
        "fixed_window_clock", 1, 10, [*at(9), denied(10, 10)], "wrongful_denial",
    ),
    "first hit: the window that opened at 8 is open until 18": (
        "fixed_window_first_hit", 2, 10, at(8, 9, 11), "over_admission",
    ),
    "first hit: no window is open": (
        "fixed_window_first_hit", 1, 10, [grant(0, 20), grant(1, 2), denied(30, 31)], "wrongful_denial",
    ),
    "bucket: the token comes at 5": ("token_bucket", 2, 10, at(0, 0, 4), "over_admission"),
    "bucket: the token came at 5": ("token_bucket", 2, 10, [*at(0, 0), denied(6, 6)], "wrongful_denial"),
    "counter: the estimate is 4 at the boundary": (
        "sliding_counter_clock", 4, 10, at(1, 1, 1, 1, 10), "over_admission",
    ),
    "counter: the estimate is 0.8": (
        "sliding_counter_clock", 4, 10, [*at(1, 1, 1, 1), denied(18, 18)], "wrongful_denial",
    ),
    "each denial is possible, but not both": (
        "fixed_window_first_hit", 1, 10, [grant(0, 30), denied(2, 2), denied(28, 28)], "contradiction",
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", LEGAL)
def test_it_is_legal(name):
    kind, limit, window, operations = LEGAL[name]
    verdict = judged(history(*operations), kind, limit, window, epoch_ns=0)
    assert verdict.validity == Validity.VALID, verdict


@pytest.mark.parametrize("name", ILLEGAL)
def test_it_is_illegal(name):
    kind, limit, window, operations, found = ILLEGAL[name]
    verdict = judged(history(*operations), kind, limit, window, epoch_ns=0)
    assert (verdict.validity, kinds(verdict)) == (Validity.INVALID, {found}), verdict


def test_eight_in_a_window_of_four_are_right_for_a_fixed_window_and_wrong_for_a_log():
    operations = history(*at(6, 7, 8, 9, 10, 11, 12, 13))
    assert judged(operations, "fixed_window_clock", 4, 10).validity is Validity.VALID
    assert judged(operations, "sliding_log", 4, 10).validity is Validity.INVALID


def test_the_story_says_which_promise_was_broken():
    operations = history(*(grant(t, t, worker=f"r0/{t}/a") for t in range(9)))
    verdict = judged(operations, "fixed_window_clock", 4, 10)
    assert "4 in each window of 10 ns on the clock are promised" in verdict.anomalies[0].message
    # whatever the windows' alignment, one of two windows holds five
    assert len(verdict.counterexample) == 9
    assert verdict.measures["within_any_max"] == 8


@pytest.mark.parametrize(
    ("parameters", "said"),
    [
        ({"kind": "leaky"}, "one of: sliding_log, fixed_window_clock"),
        ({"kind": "token_bucket"}, "parameters.limit is missing"),
        ({"kind": "token_bucket", "limit": 2, "window_s": 0}, "a window has a length"),
        ({"kind": "token_bucket", "limit": 2, "window_s": 1, "epoch_ns": 1.5}, "whole nanoseconds"),
    ],
)
def test_without_its_numbers_it_is_unknown(parameters, said):
    verdict = rate_limit.check(history(grant(0, 1)), cell("rate_limit", **parameters))
    assert verdict.validity is Validity.UNKNOWN
    assert said in verdict.reason


def test_invokes_alone_say_nothing():
    verdict = judged(history(invoke(0, 1)), "token_bucket", 1, 10)
    assert verdict.validity is Validity.UNKNOWN


def test_a_search_that_takes_too_many_steps_is_unknown(monkeypatch):
    monkeypatch.setattr(limit_kinds, "WORK", 3)
    monkeypatch.setattr(limit_kinds, "WORK_EACH", 0)
    verdict = judged(history(*at(0, 1, 2, 3)), "token_bucket", 4, 10)
    assert verdict.validity is Validity.UNKNOWN
    assert "given up after" in verdict.reason


def test_the_limiters_clock_may_differ_by_the_tolerance():
    operations = history(*at(0, 0, 4))
    assert judged(operations, "token_bucket", 2, 10).validity is Validity.INVALID
    assert judged(operations, "token_bucket", 2, 10, tolerance_ms=NS * 1000).validity is Validity.VALID


def explained(operations, right):
    """Try every order, every instant and every alignment, with the textbook's limiter."""
    phases = range(right.window) if right.phase is None else (right.phase,)
    return any(_explained(operations, replace(right, phase=phase)) for phase in phases)


def _explained(operations, right):
    latest = max(op.end_ns for op in operations if op.outcome is not Outcome.INFO)
    spans = [(op.outcome, op.call_ns, min(op.end_ns, latest)) for op in operations]
    known = sum(1 << i for i, span in enumerate(spans) if span[0] is not Outcome.INFO)

    @cache
    def rest(done, now, state):
        if done & known == known:
            return True
        for i, (outcome, call, end) in enumerate(spans):
            if done >> i & 1:
                continue
            for instant in range(max(now, call), end + 1):
                may = right.ask(state, instant)
                # a call of unknown outcome may have been denied too, which keeps some windows going
                if outcome is not Outcome.OK and False in may:
                    after = right.at(state, instant) if hasattr(right, "at") else state
                    if rest(done | 1 << i, instant, after):
                        return True
                if (
                    outcome is not Outcome.FAIL
                    and True in may
                    and rest(done | 1 << i, instant, right.admit(state, instant))
                ):
                    return True
        return False

    return rest(0, -(1 << 30), right.start())


def random_history(rng, right, calls):
    """A right limiter seen from outside, some of whose answers are turned round."""
    running, now, operations = Running(right), rng.randrange(20), []
    for _ in range(calls):
        now += rng.choice([0, 0, 1, 2, 4, 9])
        admits = running.hit(now) ^ (rng.random() < 0.12)
        call, end = now - rng.choice([0, 0, 1, 3, 6]), now + rng.choice([0, 0, 1, 3, 6])
        if rng.random() < 0.08:
            operations.append(grant(call))
        else:
            operations.append(grant(call, end) if admits else denied(call, end))
    return operations


@pytest.mark.parametrize("known", [True, False], ids=["aligned", "alignment unknown"])
@pytest.mark.parametrize("kind", RIGHT)
def test_it_agrees_with_trying_everything(kind, known):
    if not known and kind not in CLOCK:
        pytest.skip("its windows are not aligned to the clock")
    rng = random.Random(kind)
    seen = set()
    for _ in range(HISTORIES):
        window = rng.randint(2, 8)
        right = RIGHT[kind](rng.randint(1, 3), window, rng.randrange(window), rng.randint(1, 4))
        if kind != "token_bucket":
            right = replace(right, burst=0)
        operations = history(*random_history(rng, right, rng.randint(2, 6)))
        if all(op.outcome is Outcome.INFO for op in operations):
            continue
        more = {"epoch_ns": right.phase} if known else {}
        verdict = judged(operations, kind, right.limit, window, burst=right.burst or right.limit, **more)
        wanted = explained(operations, right if known else replace(right, phase=None))
        assert (verdict.validity is Validity.VALID) == wanted, (right, operations, verdict)
        seen.add(wanted)
        if not wanted:
            assert verdict.validity is Validity.INVALID
            proof = history(*(parse_line(_bytes(line), where="proof") for line in verdict.counterexample))
            if "over_admission" in kinds(verdict):
                assert not explained(proof, right if known else replace(right, phase=None))
    assert seen == {True, False}


def _bytes(line):
    import msgspec

    return msgspec.json.encode(line)


def crowd(seed, limiter, *, calls=240):
    """Eight clients, four workers, some 4 ms a call: three windows or so, with bursts and pauses."""
    rng = random.Random(seed)
    free, asked = [seed % 50 * MS] * 8, []
    for number in range(calls):
        client = number % 8
        pause = 60 if number // 40 % 2 else 6
        call = free[client] + rng.randrange(pause * MS)
        now = call + rng.randrange(4 * MS)
        free[client] = now + rng.randrange(4 * MS)
        asked.append((now, call, free[client], rng.randrange(4)))
    answered = []
    for number, (now, call, end, worker) in enumerate(sorted(asked)):
        admits = limiter.hit(now, worker=worker, number=number)
        make = grant if admits else denied
        answered.append(make(call, end, worker=f"r0/{worker}/a"))
    return history(*answered)


@pytest.mark.parametrize("rounds", [True, False], ids=["rounds down", "exact"])
@pytest.mark.parametrize("kind", RIGHT)
def test_a_right_limiter_is_never_accused_and_always_judged(kind, rounds):
    rng = random.Random(7)
    for seed in range(RUNS):
        window = rng.choice([150, 200, 330]) * MS
        right = RIGHT[kind](rng.choice([1, 2, 5, 10]), window, rng.randrange(window))
        if hasattr(right, "rounds"):
            right = replace(right, rounds=rounds)
        operations = crowd(seed, Running(right))
        for more in [{"epoch_ns": right.phase}, *([{}] if kind in CLOCK else [])]:
            verdict = judged(operations, kind, right.limit, window, **more)
            assert verdict.validity is Validity.VALID, (seed, right, more, verdict)


WRONG = [(kind, name) for kind in RIGHT for name in wrong(RIGHT[kind](5, 200 * MS))]


@pytest.mark.parametrize(("kind", "name"), WRONG)
def test_a_wrong_limiter_is_caught_every_time(kind, name):
    right = RIGHT[kind](5, 200 * MS)
    if hasattr(right, "rounds"):
        right = replace(right, rounds=True)
    for seed in range(WRONG_RUNS):
        operations = crowd(seed, wrong(right)[name](), calls=480 if FULL else 240)
        verdict = judged(operations, kind, 5, 200 * MS, epoch_ns=0)
        assert verdict.validity is Validity.INVALID, (seed, verdict)
        assert verdict.story


def test_a_million_steps_are_the_most_a_search_takes():
    work = Work(10)
    with pytest.raises(Exception, match="given up"):
        explains(RIGHT_SEARCH, work, admitted=[(0, 100)] * 50)
    assert work.left < 0


RIGHT_SEARCH = limit_kinds.LIMITERS["fixed_window_first_hit"](
    limit_kinds.Numbers(limit=1, window_ns=1, burst=1, boundary_ns=None)
)
