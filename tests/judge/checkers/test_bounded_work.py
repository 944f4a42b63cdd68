"""Histories made to keep a judge busy: the steps it takes grow no faster than n log n, or it is cut off.

What is counted is what the interpreter does: calls of functions, builtins and generators, as a profiler is
told of them. So it does not depend on the machine, nor on what the checkers themselves count against their
budget.
"""

import itertools
import math
import random
import sys

import msgspec
import pytest
from effort import effort
from sketch import (
    audit,
    budget,
    cell,
    expand,
    explain,
    grant,
    history,
    imported,
    invoke,
    listing,
    revoke,
    revoke_all,
    stats,
)  # fmt: skip

from kernel_lab.judge.checkers import CHECKERS
from kernel_lab.judge.verdict import Beside, Validity
from kernel_lab.judge.work import STEPS, STEPS_EACH

LARGEST = effort(2000, 4000, "KERNEL_LAB_ADVERSARY")
"""Operations of the largest history; KERNEL_LAB_ADVERSARY=64000 for all sizes."""
SIZES = [size for size in (1000, 2000, 4000, 8000, 16000, 32000, 64000) if size <= LARGEST]


def backtracking(n):
    """Found by looking for what takes the search longest: about n * n steps, were it not cut off."""
    rng = random.Random(0.851017036336783)
    calls = [rng.randint(0, int(5.1 * n)) for _ in range(n)]
    spans = [(call, call + rng.choice([30, 10, 10, 20]) * (n if rng.random() < 0.5 else 1)) for call in calls]
    return [grant(call, ret) for call, ret in spans], {"limit": 2, "window_s": 10e-9}


def nearly_full(n):
    """As many long admissions as fit, short ones between: each short one takes a long one back."""
    longs = [grant(0, 30 * n) for _ in range(n // 2)]
    return longs + [grant(20 * k + 1, 20 * k + 2) for k in range(n // 2)], {"limit": 1, "window_s": 10e-9}


def impossible(n):
    """The same, with no room for the last: everything is looked at, and then made smaller."""
    longs = [grant(0, 10 * n) for _ in range(n // 2 + 2)]
    return longs + [grant(20 * k + 1, 20 * k + 2) for k in range(n // 2 - 2)], {"limit": 1, "window_s": 10e-9}


def denied_for_long(n):
    """Denials as long as the history, none of them earned."""
    grants = [grant(10 * k, 10 * k + 1) for k in range(n // 2)]
    return grants + [grant(k, 10 * n, error="rate_limited") for k in range(n // 2)], {
        "limit": n, "window_s": 1e-9,
    }  # fmt: skip


def refused_for_long(n):
    """Refusals that overlap every invoke, none of them earned; and many overspends."""
    served = [invoke(10 * k, 10 * k + 1, cost=1) for k in range(n // 2)]
    refused = [invoke(k, 10 * n, error="budget_exhausted") for k in range(n // 4)]
    return served + refused + [budget(10 * n, 10 * n + k, used=0) for k in range(n // 4)], {
        "total": 10 * n, "request": 1,
    }  # fmt: skip


def overspent(n):
    return [invoke(2 * k, 2 * k + 1, cost=3) for k in range(n)], {"total": 30, "request": 1}


def empty_listings(n):
    """Listings that hold nothing, of everything that was done; half of them narrowed."""
    acted = [invoke(2 * k, 2 * k + 1, action=f"a{k}") for k in range(n // 2)]
    asked = [{}, {"capability": "c"}, {"principal": "p"}, {"event_type": "invoke"}]
    return acted + [listing(2 * n, 2 * n + 1, **asked[k % 4]) for k in range(n // 2)], {}


def capped_listings(n):
    """The same under a cap that keeps half of them, and more denials than anybody lists."""
    acted, _ = empty_listings(n)
    denied = [grant(2 * n, 2 * n + 1, error="rate_limited") for _ in range(n // 4)]
    lists = [listing(3 * n, 3 * n + 1, principal="p", event_type="deny") for _ in range(n // 4)]
    return acted + denied + lists, {"trace_cap": n // 4}


def kept_too_long(n):
    """A small cap, and every old action explained all the same."""
    acted = [invoke(2 * k, 2 * k + 1, action=f"a{k}") for k in range(n // 2)]
    return acted + [explain(2 * n, 2 * n + 1, action=f"a{k}") for k in range(n // 2)], {"trace_cap": n // 8}


def short_chains(n):
    acted = [invoke(2 * k, 2 * k + 1, action=f"a{k}") for k in range(n // 2)]
    return acted + [audit(2 * n, 2 * n + 1, records=0) for _ in range(n // 2)], {}


def disagreeing_reports(n):
    """Long operations, and reports side by side that count each other's out."""
    counted = [grant(2 * k, 2 * k + n) for k in range(n // 2)]
    reports = [stats(n // 2 + k, 4 * n - k, grants=k % (n // 2)) for k in range(n // 2)]
    return counted + reports, {}


def small_reports(n):
    counted = [grant(2 * k, 2 * k + 1) for k in range(n // 2)]
    return counted + [stats(3 * n + k, 4 * n + k, grants=k % 7) for k in range(n // 2)], {
        "baseline": {"grants": 0}
    }


def missed_handles(n):
    made = [invoke(2 * k, 2 * k + 1, handle=f"h{k}") for k in range(n // 2)]
    gone = [expand(2 * n + k, 3 * n, handle=f"h{k}", error="handle_not_found") for k in range(n // 2)]
    return made + gone, {"handle_cap": n // 4, "handle_ttl_s": 1}


def kept_handles(n):
    made = [invoke(2 * k, 2 * k + 1, handle=f"h{k}") for k in range(n // 2)]
    return made + [expand(2 * n + k, 3 * n, handle=f"h{k % 9}") for k in range(n // 2)], {"handle_cap": 4}


def swept(n):
    """Many revokes of everything, many tokens, all of them accepted and refused for ever after."""
    grants = [grant(2 * k, 2 * k + 1, token=f"t{k}") for k in range(n // 4)]
    sweeps = [revoke_all(k, 2 * k + 1) for k in range(n // 4)]
    accepted = [invoke(3 * n, 3 * n + 1, token=f"t{k}") for k in range(n // 4)]
    return grants + sweeps + accepted + [
        invoke(2 * n, 3 * n, token=f"t{k % 5}", error="token_revoked", worker=str(k)) for k in range(n // 4)
    ], {"max_stale_ms": 1e-6}


def one_token(n):
    revokes = [revoke(k, k + 1) for k in range(n // 2)]
    return revokes + [invoke(n + k, n + k + 1, stream=True, final=True, frames=1) for k in range(n // 2)], {}


def imported_for_ever(n):
    imports = [imported(k, None if k % 2 else k + 1) for k in range(n // 2)]
    return imports + [grant(n + k, n + k + 1, error="capability_not_found") for k in range(n // 2)], {}


def rejected(n):
    grants = [grant(k, k + 1, token=f"t{k}") for k in range(n // 2)]
    return grants + [invoke(n, n + 1, token=f"t{k}", error="token_invalid") for k in range(n // 2)], {}


ADVERSARIES = {
    "tokens": [rejected], "revocation": [swept, one_token], "handles": [missed_handles, kept_handles],
    "rate_limit": [backtracking, nearly_full, impossible, denied_for_long],
    "capabilities": [imported_for_ever],
    "traces": [empty_listings, capped_listings, kept_too_long, short_chains], "streams": [one_token],
    "budget": [refused_for_long, overspent], "stats": [disagreeing_reports, small_reports],
}  # fmt: skip
EACH = [(claim, made) for claim, some in ADVERSARIES.items() for made in some]


def judged(claim, operations, parameters, beside=()):
    """The verdict, and how many calls the interpreter made for it."""
    told = msgspec.structs.replace(cell(claim, **parameters), beside=beside)
    steps = itertools.count()
    operations = history(*operations)
    sys.setprofile(lambda *_: next(steps))
    try:
        verdict = CHECKERS[claim].check(operations, told)
    finally:
        sys.setprofile(None)
    return verdict, next(steps)


def test_every_claim_has_an_adversary():
    assert set(ADVERSARIES) == set(CHECKERS)


@pytest.mark.parametrize(("claim", "made"), EACH, ids=[made.__name__ for _, made in EACH])
def test_the_steps_grow_no_faster_than_n_log_n_or_are_cut_off(claim, made):
    for size in SIZES:
        operations, parameters = made(size)
        verdict, steps = judged(claim, operations, parameters)
        print(f"{claim:12} {made.__name__:20} {size:6} {steps:12,} {verdict.validity} {verdict.reason[:60]}")
        bound = 60 * size * math.log2(size)
        if "given up" in verdict.reason or verdict.validity is Validity.INVALID:
            # a search or a proof may spend the budget: then this is all it spends
            bound += STEPS + STEPS_EACH * size
        assert steps < bound, (size, steps)


def test_an_over_admission_that_was_found_stays_invalid_beside_a_search_that_is_cut_off(monkeypatch):
    from kernel_lab.judge import work

    crowd = [grant(0, 1, to="q"), grant(2, 3, to="q")]
    hard, parameters = nearly_full(400)
    monkeypatch.setattr(work, "STEPS", -40 * 400)
    verdict, _ = judged("rate_limit", crowd + hard, parameters)
    assert verdict.validity is Validity.INVALID
    assert "given up" in verdict.reason


def test_what_is_beside_is_counted_too():
    beside = tuple(Beside("invoke", k) for k in range(2000))
    operations, parameters = missed_handles(1000)
    _, alone = judged("handles", operations, parameters)
    _, steps = judged("handles", operations, parameters, beside)
    assert steps < 20 * alone
