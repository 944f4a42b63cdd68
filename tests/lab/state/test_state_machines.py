"""Any sequence of calls: a shared store answers as upstream's in-memory store does."""

import asyncio
import datetime as dt
import itertools
from collections.abc import Callable
from typing import Any, ClassVar

import pytest
from bridged import open_state
from effort import effort
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, rule, run_state_machine_as_test
from places import Clock
from weaver_kernel import (
    ActionTrace,
    AgentKernelError,
    BudgetExhausted,
    BudgetManager,
    HandleExpired,
    HandleNotFound,
    HandleStore,
    TraceQuery,
    TraceStore,
)
from weaver_kernel.rate_limit import RateLimiter
from weaver_kernel.stores import InMemoryRevocationStore

from lab.state import State, StateOptions

pytestmark = pytest.mark.counted

CHECKED = settings(
    max_examples=effort(8, 30),
    stateful_step_count=40,
    deadline=None,
    suppress_health_check=list(HealthCheck),
)
CAP = 4
Open = Callable[[], State]


class Machine(RuleBasedStateMachine):
    """Opens a fresh state for each run; `open` is set by the test."""

    open: ClassVar[Open]

    @initialize()
    def begin(self) -> None:
        self.state = type(self).open()

    def teardown(self) -> None:
        self.state.close()


class Revocations(Machine):
    principals = st.sampled_from("ab")
    numbers = st.integers(0, 3)

    def __init__(self) -> None:
        super().__init__()
        self.oracle = InMemoryRevocationStore()

    @rule(principal=principals, number=numbers)
    def track(self, principal: str, number: int) -> None:
        expires_at = dt.datetime.now(dt.UTC) + dt.timedelta(hours=1)
        for store in (self.oracle, self.state.revocations):
            store.track(principal, f"{principal}{number}", expires_at)

    @rule(principal=principals, number=numbers)
    def revoke(self, principal: str, number: int) -> None:
        for store in (self.oracle, self.state.revocations):
            store.revoke(f"{principal}{number}")

    @rule(principal=principals)
    def revoke_principal(self, principal: str) -> None:
        expected = self.oracle.revoke_principal(principal)
        assert self.state.revocations.revoke_principal(principal) == expected

    @rule()
    def sweep(self) -> None:
        now = dt.datetime.now(dt.UTC)
        assert self.state.revocations.sweep_expired(now) == self.oracle.sweep_expired(now)

    @rule()
    def compare(self) -> None:
        for token_id in [f"{principal}{number}" for principal in "ab" for number in range(4)]:
            assert self.state.revocations.is_revoked(token_id) == self.oracle.is_revoked(token_id)


class Windows(Machine):
    """Upstream's limiter and ours on one clock, which goes in steps that floats hold exactly."""

    limits: ClassVar[dict[str, tuple[int, float]]] = {"a": (3, 1.0), "b": (1, 0.25), "c": (0, 2.0)}
    clock: ClassVar[Any]

    def __init__(self) -> None:
        super().__init__()
        self.oracle = RateLimiter(clock=lambda: type(self).clock.now_s)

    @rule(wait_s=st.sampled_from([1 / 64, 0.25 - 1 / 64, 0.25, 0.5, 1.0 - 1 / 64, 1.0, 2.0]))
    def wait(self, wait_s: float) -> None:
        type(self).clock.now_s += wait_s

    @rule(key=st.sampled_from("abc"))
    def ask(self, key: str) -> None:
        limit, window_s = self.limits[key]
        limiter: Any = self.state.limiter
        expected = self.oracle.check(key, limit, window_s)
        assert limiter.peek(key, limit, window_s) == expected
        assert limiter.check(key, limit, window_s) == expected
        if expected:
            self.oracle.record(key)
            limiter.record(key)


class Handles(Machine):
    data = st.recursive(
        st.none() | st.booleans() | st.integers(-(2**63), 2**63) | st.floats(allow_nan=False) | st.text(),
        lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
        max_leaves=8,
    ).filter(lambda value: "Infinity" not in str(value) and "inf" not in str(value))

    def __init__(self) -> None:
        super().__init__()
        self.oracle = HandleStore(max_entries=CAP)
        self.pairs: list[tuple[Any, Any]] = []

    @rule(data=data, dead=st.booleans())
    def store(self, data: Any, dead: bool) -> None:
        ttl_s = 0 if dead else 3600
        self.pairs.append(
            (
                self.oracle.store("c", data, ttl_seconds=ttl_s, principal_id="p"),
                self.state.handles.store("c", data, ttl_seconds=ttl_s, principal_id="p"),
            )
        )

    @rule()
    def evict(self) -> None:
        assert self.state.handles.evict_expired() == self.oracle.evict_expired()

    @rule(offset=st.integers(0, 2), limit=st.integers(0, 2))
    def compare(self, offset: int, limit: int) -> None:
        for theirs, ours in self.pairs:
            answers = []
            for store, handle in ((self.oracle, theirs), (self.state.handles, ours)):
                query = {"offset": offset, "limit": limit}
                try:
                    known = store._meta.get(handle.handle_id) if store is self.oracle else None
                    known = known or store.get_meta(handle.handle_id)
                    if known.expires_at <= dt.datetime.now(dt.UTC):
                        answers.append("expired")
                        continue
                    answers.append(store.expand(handle, query=query, principal_id="p").table_preview)
                except HandleNotFound:
                    answers.append("gone")
                except HandleExpired:
                    answers.append("expired")
            assert answers[0] == answers[1]


class Traces(Machine):
    def __init__(self) -> None:
        super().__init__()
        self.oracle = TraceStore(max_entries=CAP)
        self.count = 0

    @rule(principal=st.sampled_from("ab"), failed=st.booleans(), args=st.dictionaries(st.text(), st.text()))
    def record(self, principal: str, failed: bool, args: dict[str, str]) -> None:
        self.count += 1
        trace = ActionTrace(
            action_id=f"a{self.count}",
            capability_id="c",
            principal_id=principal,
            token_id="t",
            invoked_at=dt.datetime.now(dt.UTC),
            args=args,
            response_mode="summary",
            driver_id="d",
            error="no" if failed else None,
        )
        for store in (self.oracle, self.state.traces):
            store.record(trace)

    @rule(principal=st.sampled_from([None, "a", "b"]), limit=st.sampled_from([None, 1, 2]))
    def compare(self, principal: str | None, limit: int | None) -> None:
        query = TraceQuery(principal_id=principal, limit=limit)
        assert self.state.traces.query(query) == self.oracle.query(query)
        assert self.state.traces.list_all() == self.oracle.list_all()
        assert self.state.traces.verify_chain().ok  # type: ignore[attr-defined]
        for n in range(1, self.count + 1):
            assert self._found(self.state.traces, n) == self._found(self.oracle, n)

    def _found(self, store: Any, n: int) -> Any:
        try:
            return store.get(f"a{n}")
        except AgentKernelError as error:
            return str(error)


class Budgets(Machine):
    def __init__(self) -> None:
        super().__init__()
        self.oracle = BudgetManager(100, default_request=30)
        self.reserved: list[int] = []
        self.loop = asyncio.new_event_loop()

    def teardown(self) -> None:
        super().teardown()
        self.loop.close()

    def both(self, call: Callable[[Any], Any]) -> list[Any]:
        answers = []
        for budget in (self.oracle, self.state.budget):
            try:
                answers.append(self.loop.run_until_complete(call(budget)))
            except BudgetExhausted:
                answers.append("exhausted")
        assert answers[0] == answers[1]
        return answers

    @rule(wanted=st.sampled_from([None, 0, 1, 20, 200]))
    def allocate(self, wanted: int | None) -> None:
        granted = self.both(lambda budget: budget.allocate(wanted))[0]
        if granted != "exhausted":
            self.reserved.append(granted)

    @rule(actual=st.integers(0, 25), nth=st.integers(0, 5))
    def settle(self, actual: int, nth: int) -> None:
        if nth < len(self.reserved):
            reserved = self.reserved.pop(nth)
            self.both(lambda budget: budget.record_usage(actual, reserved=reserved))

    @rule(nth=st.integers(0, 5))
    def release(self, nth: int) -> None:
        if nth < len(self.reserved):
            reserved = self.reserved.pop(nth)
            self.both(lambda budget: budget.release(reserved))

    @rule(mode=st.sampled_from(["raw", "table", "summary", "handle_only"]))
    def compare(self, mode: Any) -> None:
        ours: Any = self.state.budget
        assert (ours.used, ours.remaining) == (self.oracle.used, self.oracle.remaining)
        assert ours.usage_fraction == self.oracle.usage_fraction
        assert ours.suggested_mode(mode) == self.oracle.suggested_mode(mode)


OPTIONS = StateOptions(
    handle_cap=CAP, trace_cap=CAP, budget_total=100, budget_request=30, secret="s", timeout_ms=20_000
)


@pytest.mark.parametrize(
    ("name", "machine"),
    [
        *itertools.product(("sqlite", "redis"), (Revocations, Handles, Traces, Budgets)),
        ("cached+redis", Revocations),
    ],
)
def test_a_shared_store_answers_as_upstreams(
    name: str, machine: type[Machine], url_of: Callable[[str], str]
) -> None:
    this = type(
        machine.__name__, (machine,), {"open": staticmethod(lambda: open_state(url_of(name), OPTIONS))}
    )
    run_state_machine_as_test(this, settings=CHECKED)


def test_the_limiter_on_redis_admits_as_upstreams(told: Clock, url_of: Callable[[str], str]) -> None:
    this = type(
        "RedisWindows",
        (Windows,),
        {"open": staticmethod(lambda: open_state(url_of("redis"), OPTIONS)), "clock": told},
    )
    run_state_machine_as_test(this, settings=CHECKED)


def test_the_limiter_in_sqlite_admits_as_upstreams(url_of: Callable[[str], str]) -> None:
    clock = Clock(lambda now_s: None)

    def fresh() -> State:
        state = open_state(url_of("sqlite"), OPTIONS)
        state.limiter._file._clock = lambda: clock.now_s  # type: ignore[attr-defined]
        return state

    this = type("SQLiteWindows", (Windows,), {"open": staticmethod(fresh), "clock": clock})
    run_state_machine_as_test(this, settings=CHECKED)
