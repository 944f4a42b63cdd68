"""The policy with a shared limit: upstream's in everything but where the windows live."""

import logging
from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from weaver_kernel import (
    Capability,
    CapabilityRegistry,
    CapabilityRequest,
    DefaultPolicyEngine,
    HMACTokenProvider,
    Kernel,
    PolicyDenied,
    Principal,
    SafetyClass,
)
from weaver_kernel.rate_limit import RateLimiter

from lab.policy import CountingLimiter, SharedLimitPolicy, asked_limits, limit_key, worker_limits
from lab.settings import Settings

LIMITS = {SafetyClass.READ: (2, 60.0), SafetyClass.WRITE: (1, 60.0), SafetyClass.DESTRUCTIVE: (1, 60.0)}
READ = Capability("c.read", "", "", SafetyClass.READ)
WRITE = Capability("c.write", "", "", SafetyClass.WRITE)
WHY = "the auditors have asked for it"


class Acquiring(RateLimiter):
    """Upstream's window log with the atomic step of a shared one, on a clock of the test's."""

    def __init__(self) -> None:
        self.now_s = 0.0
        self.asked: list[tuple[str, int, float]] = []
        super().__init__(clock=lambda: self.now_s)

    def acquire(self, key: str, limit: int, window_seconds: float) -> bool:
        self.asked.append((key, limit, window_seconds))
        admitted = self.check(key, limit, window_seconds)
        if admitted:
            self.record(key)
        return admitted


def decide(policy: Any, capability: Capability, principal: Principal, justification: str = WHY) -> Any:
    """The decision, or the refusal as a pair of text and code."""
    request = CapabilityRequest(capability.capability_id, "")
    try:
        return policy.evaluate(request, capability, principal, justification=justification)
    except PolicyDenied as denied:
        return str(denied), denied.reason_code


@pytest.mark.parametrize(
    ("capability", "principal", "justification"),
    [
        (READ, Principal("alice"), ""),
        (WRITE, Principal("alice"), WHY),
        (WRITE, Principal("alice", ["writer"]), "short"),
        (WRITE, Principal("alice", ["writer"]), WHY),
        (READ, Principal("bot", ["service"]), ""),
    ],
)
def test_it_decides_as_upstream_does_grant_after_grant(
    capability: Capability, principal: Principal, justification: str
) -> None:
    ours = SharedLimitPolicy(CountingLimiter(Acquiring()), LIMITS)
    upstream = DefaultPolicyEngine(rate_limits=LIMITS, clock=lambda: 0.0)
    for _ in range(25):
        assert decide(ours, capability, principal, justification) == decide(
            upstream, capability, principal, justification
        )


def test_the_window_is_the_limiters_and_slides_on_its_clock() -> None:
    limiter = Acquiring()
    policy = SharedLimitPolicy(CountingLimiter(limiter), LIMITS)
    alice = Principal("alice")
    admitted = []
    for limiter.now_s in (0.0, 1.0, 2.0, 59.0, 60.0, 60.5, 61.0):
        admitted.append(not isinstance(decide(policy, READ, alice), tuple))
    assert admitted == [True, True, False, False, True, False, True]


def test_a_refusal_for_another_reason_asks_the_limiter_nothing() -> None:
    limiter = Acquiring()
    decide(SharedLimitPolicy(CountingLimiter(limiter), LIMITS), WRITE, Principal("alice"))
    assert limiter.asked == []


def test_a_service_has_ten_times_the_limit_under_a_key_of_principal_and_capability() -> None:
    limiter = Acquiring()
    decide(SharedLimitPolicy(CountingLimiter(limiter), LIMITS), READ, Principal("bot", ["service"]))
    assert limiter.asked == [(limit_key("bot", "c.read"), 20, 60.0)]


IDS = st.text() | st.text("1:|,", max_size=8)


@settings(deadline=None)
@given(first=st.tuples(IDS, IDS), second=st.tuples(IDS, IDS))
@example(first=("tenant", "ada:c.read"), second=("tenant:ada", "c.read"))
@example(first=("1:a", "b"), second=("1", "a:b"))
def test_the_key_of_a_pair_is_its_own(first: tuple[str, str], second: tuple[str, str]) -> None:
    assert (limit_key(*first) == limit_key(*second)) == (first == second)


def test_what_one_principal_uses_up_another_still_has() -> None:
    policy = SharedLimitPolicy(CountingLimiter(Acquiring()), LIMITS)
    long = Capability("ada:c.read", "", "", SafetyClass.READ)
    for _ in range(3):
        last = decide(policy, long, Principal("tenant"))
    assert last[1] == "rate_limited"
    assert not isinstance(decide(policy, READ, Principal("tenant:ada")), tuple)


def told_of_a_rate_limit(policy: Any, caplog: pytest.LogCaptureFixture) -> dict[str, Any]:
    """What the kernel's trace, its counters and the log say once `policy` has refused a third grant."""
    registry = CapabilityRegistry()
    registry.register(READ)
    kernel = Kernel(registry, policy=policy, token_provider=HMACTokenProvider("s"))
    asked = CapabilityRequest("c.read", ""), Principal("alice")
    for _ in range(2):
        kernel.grant_capability(*asked, justification="")
    caplog.clear()
    with caplog.at_level(logging.WARNING, "weaver_kernel.policy"), pytest.raises(PolicyDenied):
        kernel.grant_capability(*asked, justification="")
    trace, record = kernel.list_traces()[-1], caplog.records[-1]
    return {
        "trace": (trace.event_type, trace.reason_code, trace.error),
        "counted": dict(kernel.stats.denials_by_reason),
        "logged": (record.name, record.message, record.__dict__["reason"], record.__dict__["reason_code"]),
    }


def test_a_refusal_is_audited_counted_and_logged_as_upstreams_is(caplog: pytest.LogCaptureFixture) -> None:
    ours = told_of_a_rate_limit(SharedLimitPolicy(CountingLimiter(Acquiring()), LIMITS), caplog)
    assert ours == told_of_a_rate_limit(DefaultPolicyEngine(rate_limits=LIMITS), caplog)
    assert ours["counted"] == {"rate_limited": 1}


def test_explaining_is_upstreams() -> None:
    ours = SharedLimitPolicy(CountingLimiter(Acquiring()), LIMITS)
    request = CapabilityRequest("c.write", "")
    explained = ours.explain(request, WRITE, Principal("alice"), justification="")
    assert explained == DefaultPolicyEngine().explain(request, WRITE, Principal("alice"), justification="")


def test_upstreams_own_log_stays_out_of_the_way() -> None:
    policy = SharedLimitPolicy(CountingLimiter(Acquiring()), {**LIMITS, SafetyClass.READ: (1000, 60.0)})
    for _ in range(100):
        decide(policy, READ, Principal("alice"))
    (window,) = policy._inner._limiter._windows.values()
    assert len(window.timestamps) == 1


def test_limits_are_upstreams_with_those_asked_for_over_them() -> None:
    limits = asked_limits(Settings(secret="s", rate_limits={"WRITE": (3, 1.0)}))
    assert limits == {
        SafetyClass.READ: (60, 60.0),
        SafetyClass.WRITE: (3, 1.0),
        SafetyClass.DESTRUCTIVE: (2, 60.0),
    }


def test_a_split_limit_is_rounded_down_and_at_least_one() -> None:
    limits = worker_limits(Settings(secret="s", split_limit=4))
    assert [limit for limit, _ in limits.values()] == [15, 2, 1]
