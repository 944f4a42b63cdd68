"""What the stores do as their clock goes on, and when it goes back."""

import asyncio
import datetime as dt
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from places import Clock
from weaver_kernel import BudgetExhausted, HandleExpired, HandleNotFound

from beside_upstream.servers import Valkey
from lab.state import State, StateOptions, open_state
from lab.state.budget import LEASE_S
from lab.state.handles import KEPT_EXPIRED_S
from lab.state.revocations import MARGIN_S, UNTRACKED_S

OPTIONS = StateOptions(secret="s", budget_total=100, timeout_ms=5_000)


@pytest.fixture(params=["sqlite", "redis"])
def timed(
    request: pytest.FixtureRequest, url_of: Callable[[str], str], told: Clock
) -> Iterator[tuple[State, Clock]]:
    state = open_state(url_of(request.param), OPTIONS)
    if request.param == "sqlite":
        state.limiter._file._clock = lambda: told.now_s  # type: ignore[attr-defined]
    yield state, told
    state.close()


def test_what_a_dead_worker_had_reserved_is_free_after_its_lease(timed: tuple[State, Clock]) -> None:
    state, clock = timed
    budget: Any = state.budget
    assert asyncio.run(budget.allocate(80)) == 80
    clock.now_s += LEASE_S - 1
    assert budget.remaining == 20
    clock.now_s += 1
    assert budget.remaining == 100
    assert asyncio.run(budget.allocate(100)) == 100
    with pytest.raises(BudgetExhausted):
        asyncio.run(budget.allocate(1))


def test_a_late_settlement_still_counts_what_was_used(timed: tuple[State, Clock]) -> None:
    state, clock = timed
    budget: Any = state.budget
    reserved = asyncio.run(budget.allocate(80))
    clock.now_s += LEASE_S
    assert asyncio.run(budget.allocate(60)) == 60
    asyncio.run(budget.record_usage(70, reserved=reserved))
    assert (budget.used, budget.remaining) == (70, 0)


def test_an_admission_counts_for_less_than_a_window_and_not_a_moment_more(
    timed: tuple[State, Clock],
) -> None:
    state, clock = timed
    limiter: Any = state.limiter
    assert limiter.acquire("k", 1, 0.5)
    clock.now_s += 0.5 - 1e-6
    assert not limiter.peek("k", 1, 0.5)
    assert not limiter.acquire("k", 1, 0.5)
    clock.now_s += 1e-6
    assert limiter.peek("k", 1, 0.5)
    assert limiter.acquire("k", 1, 0.5)


def test_a_clock_that_is_set_back_frees_no_slot_before_a_whole_window(timed: tuple[State, Clock]) -> None:
    state, clock = timed
    limiter: Any = state.limiter
    assert limiter.acquire("k", 2, 10)
    clock.now_s += 5
    assert limiter.acquire("k", 2, 10)
    clock.now_s -= 3600
    assert not limiter.peek("k", 2, 10)
    assert not limiter.acquire("k", 2, 10)
    clock.now_s += 10 - 1e-6
    assert not limiter.acquire("k", 2, 10)
    clock.now_s += 1e-6
    assert limiter.peek("k", 2, 10)
    assert limiter.acquire("k", 2, 10)


def test_a_handle_is_known_as_expired_for_a_while(timed: tuple[State, Clock]) -> None:
    state, clock = timed
    handle_id = state.handles.store("c", [1], ttl_seconds=10).handle_id
    clock.now_s += 10 - 1e-6
    assert state.handles.get(handle_id) == [1]
    clock.now_s += 1e-6
    with pytest.raises(HandleExpired):
        state.handles.get(handle_id)
    clock.now_s += KEPT_EXPIRED_S
    state.handles.store("c", [2])
    with pytest.raises(HandleNotFound):
        state.handles.get(handle_id)


def test_a_revocation_outlives_its_token_by_the_margin(valkey: Valkey, url_of: Callable[[str], str]) -> None:
    state = open_state(url_of("redis"), OPTIONS)
    revocations: Any = state.revocations
    life_s = 50
    revocations.track("alice", "t1", dt.datetime.now(dt.UTC) + dt.timedelta(seconds=life_s))
    revocations.revoke_principal("alice")
    revocations.revoke("stranger")
    with valkey.client() as client:
        left_s = {token: client.pttl(revocations._token + token) / 1000 for token in ("t1", "stranger")}
    assert MARGIN_S < left_s["t1"] <= MARGIN_S + life_s
    assert UNTRACKED_S - 60 < left_s["stranger"] <= UNTRACKED_S
    state.close()
