"""What every store of every state does, upstream's in memory among them."""

import datetime as dt
from collections.abc import Callable
from typing import Any

import pytest
from bridged import open_state
from places import ALL, PATIENT, SHARED
from weaver_kernel import (
    AgentKernelError,
    BudgetConfigError,
    BudgetExhausted,
    HandleConstraintViolation,
    HandleExpired,
    HandleNotFound,
    TraceQuery,
)

from beside_upstream.servers import NOW, trace
from lab.state import State, StateOptions

Opened = Callable[..., State]
SOON = NOW + dt.timedelta(hours=1)


@pytest.fixture(params=ALL)
def state(request: pytest.FixtureRequest, opened: Opened) -> State:
    return opened(request.param)


@pytest.fixture(params=SHARED)
def shared(request: pytest.FixtureRequest, opened: Opened) -> State:
    return opened(request.param)


# -- revocations --------------------------------------------------------------------------------------


def test_a_token_is_good_until_it_is_revoked_and_never_again(state: State) -> None:
    state.revocations.track("alice", "t1", SOON)
    assert not state.revocations.is_revoked("t1")
    state.revocations.revoke("t1")
    state.revocations.revoke("t1")
    state.revocations.track("alice", "t1", SOON)
    assert state.revocations.is_revoked("t1")


def test_a_token_nobody_tracked_can_be_revoked(state: State) -> None:
    assert not state.revocations.is_revoked("stranger")
    state.revocations.revoke("stranger")
    assert state.revocations.is_revoked("stranger")


def test_revoke_principal_counts_the_newly_revoked_and_is_idempotent(state: State) -> None:
    for token_id in ("t1", "t2", "t3"):
        state.revocations.track("alice", token_id, SOON)
    state.revocations.track("bob", "b1", SOON)
    state.revocations.revoke("t1")
    assert state.revocations.revoke_principal("alice") == 2
    assert state.revocations.revoke_principal("alice") == 0
    assert [state.revocations.is_revoked(t) for t in ("t1", "t2", "t3", "b1")] == [True, True, True, False]


def test_revoke_principal_does_not_reach_tokens_issued_after_it(state: State) -> None:
    state.revocations.track("alice", "t1", SOON)
    state.revocations.revoke_principal("alice")
    state.revocations.track("alice", "t2", SOON)
    assert not state.revocations.is_revoked("t2")
    assert state.revocations.revoke_principal("alice") == 1


def test_an_unknown_principal_has_nothing_to_revoke(state: State) -> None:
    assert state.revocations.revoke_principal("nobody") == 0


def test_a_sweep_never_frees_a_live_token(state: State) -> None:
    state.revocations.track("alice", "t1", SOON)
    state.revocations.revoke("t1")
    assert state.revocations.sweep_expired(dt.datetime.now(dt.UTC)) == 0
    assert state.revocations.is_revoked("t1")


def test_a_sweep_by_a_host_whose_clock_is_ahead_frees_no_live_token(shared: State) -> None:
    shared.revocations.track("alice", "t1", dt.datetime.now(dt.UTC) + dt.timedelta(seconds=60))
    shared.revocations.revoke("t1")
    assert shared.revocations.sweep_expired(dt.datetime.now(dt.UTC) + dt.timedelta(days=365)) == 0
    assert shared.revocations.is_revoked("t1")


def test_ids_are_any_text(state: State) -> None:
    for token_id in ("", "a b", "ä{x}:*", "0'; --", "\n"):
        state.revocations.track("p{q}: r", token_id, SOON)
    assert state.revocations.revoke_principal("p{q}: r") == 5
    assert state.revocations.is_revoked("ä{x}:*")


def test_a_naive_expiry_is_utc(state: State) -> None:
    state.revocations.track("alice", "t1", SOON.replace(tzinfo=None))
    state.revocations.revoke("t1")
    assert state.revocations.is_revoked("t1")


# -- limiter ------------------------------------------------------------------------------------------


def take(state: State, key: str, limit: int, window_s: float) -> bool:
    admitted = state.limiter.check(key, limit, window_s)
    if admitted:
        state.limiter.record(key)
    return admitted


def test_a_window_admits_its_limit_and_no_more(state: State) -> None:
    assert [take(state, "alice:c", 3, 3600) for _ in range(5)] == [True, True, True, False, False]
    assert take(state, "bob:c", 3, 3600)


def test_an_empty_window_admits_one_whatever_its_limit(state: State) -> None:
    assert [take(state, "k", 0, 3600) for _ in range(2)] == [True, False]


def test_peek_tells_what_acquire_would_and_takes_nothing(shared: State) -> None:
    limiter: Any = shared.limiter
    assert [limiter.peek("k", 1, 3600) for _ in range(3)] == [True] * 3
    assert limiter.acquire("k", 1, 3600)
    assert not limiter.peek("k", 1, 3600)
    assert limiter.peek("k", 2, 3600)


# -- handles ------------------------------------------------------------------------------------------

ROWS = [{"id": i, "name": f"n{i}", "price": i * 0.1, "deep": {"list": [True, None, "ä"]}} for i in range(20)]


def test_what_a_handle_gives_is_equal_to_what_was_stored(state: State) -> None:
    for data in (ROWS, [], {}, None, "text", 2**53, 0.1, [[[]]], {"": ""}):
        handle = state.handles.store("c", data)
        assert state.handles.get(handle.handle_id) == data
        assert handle.total_rows == (len(data) if isinstance(data, list) else 1)


def test_a_handle_found_by_its_id_is_the_one_that_was_given(state: State) -> None:
    given = state.handles.store("c", ROWS, principal_id="alice", constraints={"max_rows": 5}, ttl_seconds=60)
    assert state.handles.get_meta(given.handle_id) == given
    assert given.expires_at - given.created_at == dt.timedelta(seconds=60)


def test_an_expansion_keeps_to_the_constraints_of_the_grant(state: State) -> None:
    constraints = {"max_rows": 2, "allowed_fields": ["id"], "scope": {"name": "n7"}}
    given = state.handles.store("c", ROWS, principal_id="alice", constraints=constraints)
    handle = state.handles.get_meta(given.handle_id)
    assert state.handles.expand(handle, query={}, principal_id="alice").table_preview == [{"id": 7}]
    for query, principal in (({"limit": 3}, "alice"), ({"fields": ["name"]}, "alice"), ({}, "bob"), ({}, "")):
        with pytest.raises(HandleConstraintViolation):
            state.handles.expand(handle, query=query, principal_id=principal)


def test_a_handle_expires(state: State) -> None:
    handle = state.handles.store("c", ROWS, ttl_seconds=0)
    assert state.handles.get_meta(handle.handle_id) == handle
    with pytest.raises(HandleExpired):
        state.handles.get(handle.handle_id)


def test_the_expired_can_be_evicted(state: State) -> None:
    handles = [state.handles.store("c", ROWS, ttl_seconds=ttl_s) for ttl_s in (0, 60, 0)]
    assert state.handles.evict_expired() == 2
    assert state.handles.evict_expired() == 0
    assert state.handles.get(handles[1].handle_id) == ROWS
    for handle in (handles[0], handles[2]):
        with pytest.raises(HandleNotFound):
            state.handles.get(handle.handle_id)


@pytest.mark.parametrize("name", ALL)
def test_a_full_store_evicts_the_expired_and_then_the_oldest(name: str, opened: Opened) -> None:
    state = opened(name, StateOptions(handle_cap=3, timeout_ms=5000))
    handles = [state.handles.store("c", i, ttl_seconds=ttl_s) for i, ttl_s in enumerate((60, 60, 0, 60, 60))]

    def kept(handle_id: str) -> bool:
        try:
            state.handles.get_meta(handle_id)
        except HandleNotFound:
            return False
        return True

    assert [kept(handle.handle_id) for handle in handles] == [False, True, False, True, True]


def test_an_unknown_handle_is_not_found(state: State) -> None:
    for ask in (state.handles.get, state.handles.get_meta):
        with pytest.raises(HandleNotFound):
            ask("nowhere")


def test_a_store_knows_how_much_data_it_has(shared: State) -> None:
    assert shared.handles.current_bytes == 0
    shared.handles.store("c", "1234")
    shared.handles.store("c", [1])
    assert shared.handles.current_bytes == len(b'"1234"') + len(b"[1]")


# -- traces -------------------------------------------------------------------------------------------


def test_traces_are_found_by_their_action_and_listed_in_order(state: State) -> None:
    traces = [trace(f"a{i}", principal_id=f"p{i % 2}", error="no" if i == 3 else None) for i in range(5)]
    for one in traces:
        state.traces.record(one)
    assert state.traces.list_all() == traces
    assert state.traces.get("a3") == traces[3]
    assert state.traces.query(TraceQuery(principal_id="p1", outcome="succeeded")) == [traces[1]]


def test_an_unknown_action_has_no_trace(state: State) -> None:
    assert state.traces.list_all() == []
    with pytest.raises(AgentKernelError, match="No action trace found"):
        state.traces.get("nothing")


def test_an_action_is_recorded_once(shared: State) -> None:
    shared.traces.record(trace("a1"))
    with pytest.raises(AgentKernelError, match="already present"):
        shared.traces.record(trace("a1", principal_id="mallory"))
    assert shared.traces.list_all() == [trace("a1")]


def test_the_chain_verifies_under_the_secret_it_was_written_with(shared: State) -> None:
    store: Any = shared.traces
    assert store.verify_chain().ok
    for i in range(4):
        shared.traces.record(trace(f"a{i}", args={1: "a key that JSON turns into text", 10: 0, 2: 0}))
    result = store.verify_chain()
    assert (result.ok, result.records_checked) == (True, 4)
    store._secret = lambda: "another"
    assert not store.verify_chain().ok


@pytest.mark.parametrize("name", ALL)
def test_a_full_log_drops_the_oldest(name: str, opened: Opened) -> None:
    state = opened(name, StateOptions(trace_cap=3, secret="s", timeout_ms=5000))
    for i in range(7):
        state.traces.record(trace(f"a{i}"))
    assert [one.action_id for one in state.traces.list_all()] == ["a4", "a5", "a6"]
    assert state.traces.evicted_count == 4  # type: ignore[attr-defined]
    assert state.traces.get("a4") == trace("a4")
    with pytest.raises(AgentKernelError):
        state.traces.get("a3")


@pytest.mark.parametrize("name", SHARED)
def test_the_chain_verifies_from_the_last_record_that_was_dropped(name: str, opened: Opened) -> None:
    store: Any = opened(name, StateOptions(trace_cap=3, secret="s", timeout_ms=5000)).traces
    for i in range(7):
        store.record(trace(f"a{i}"))
    result = store.verify_chain()
    assert (result.ok, result.records_checked) == (True, 3)
    checkpoint, lines = store._read()
    assert checkpoint == lines[0].prev_hash


def test_a_trace_that_is_no_json_is_refused_by_name(shared: State) -> None:
    with pytest.raises(AgentKernelError, match=r"a1.*datetime"):
        shared.traces.record(trace("a1", args={"when": NOW}))
    assert shared.traces.list_all() == []


# -- budget -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ALL)
async def test_a_budget_is_reserved_spent_and_given_back(name: str, opened: Opened) -> None:
    budget = opened(name, StateOptions(budget_total=1000, budget_request=400, timeout_ms=5000)).budget
    assert budget is not None
    assert (await budget.allocate(), budget.remaining, budget.used) == (400, 600, 0)
    await budget.record_usage(100, reserved=400)
    assert (budget.remaining, budget.used, budget.usage_fraction) == (900, 100, 0.1)
    assert [await budget.allocate(600), await budget.allocate()] == [600, 300]
    with pytest.raises(BudgetExhausted):
        await budget.allocate(1)
    await budget.release(300)
    assert budget.remaining == 300
    assert budget.suggested_mode("raw") == "table"
    await budget.record_usage(5000)
    assert (budget.remaining, budget.used) == (0, 1000)
    assert budget.suggested_mode("raw") == "handle_only"


@pytest.mark.parametrize("name", ALL)
async def test_a_budget_takes_no_negative_amount(name: str, opened: Opened) -> None:
    budget = opened(name).budget
    assert budget is not None
    for nonsense in (budget.allocate(-1), budget.record_usage(-1), budget.release(-1)):
        with pytest.raises(BudgetConfigError):
            await nonsense
    with pytest.raises(BudgetConfigError):
        await budget.record_usage(1, reserved=-1)


@pytest.mark.parametrize("name", ALL)
def test_without_a_total_there_is_no_budget(name: str, opened: Opened) -> None:
    assert opened(name, StateOptions()).budget is None


# -- all of them --------------------------------------------------------------------------------------


def test_a_kernel_keeps_every_store_it_is_given(state: State) -> None:
    # upstream takes `store or Default()`: one that is falsy when it is empty would be dropped in silence
    for store in (state.revocations, state.limiter, state.handles, state.traces, state.budget):
        assert store


def test_closing_twice_is_harmless(state: State) -> None:
    state.revocations.is_revoked("t1")
    state.close()
    state.close()


@pytest.mark.parametrize("name", SHARED)
def test_what_one_state_wrote_another_reads(name: str, url_of: Callable[[str], str]) -> None:
    url = url_of(name)
    one, other = open_state(url, PATIENT), open_state(url, PATIENT)
    try:
        one.revocations.track("alice", "t1", SOON)
        assert other.revocations.revoke_principal("alice") == 1
        handle = one.handles.store("c", ROWS, principal_id="alice")
        assert other.handles.get_meta(handle.handle_id) == handle
        assert other.handles.get(handle.handle_id) == ROWS
        one.traces.record(trace("a1"))
        other.traces.record(trace("a2"))
        one.traces.record(trace("a3"))
        assert [t.action_id for t in other.traces.list_all()] == ["a1", "a2", "a3"]
        assert one.limiter.check("k", 1, 3600)
        assert not other.limiter.check("k", 1, 3600)
    finally:
        one.close()
        other.close()
