"""A grant that asks a Redis once keeps what a grant that asks it twice keeps."""

import asyncio
from collections.abc import Callable
from typing import Any

import pytest
from weaver_kernel import CapabilityRequest, Kernel, PolicyDenied, Principal, TokenRevoked

from beside_upstream.servers import SECRET, Valkey
from lab import kernel as two_trips
from lab import one_trip
from lab.settings import read_settings

ALICE = Principal(principal_id="alice", roles=["writer"])
REQUEST = CapabilityRequest(capability_id="billing.update_invoice", goal="correct it")
LIMIT = 3

Build = Callable[[str], Kernel]


@pytest.fixture
def build(url_of: Callable[[str], str], monkeypatch: pytest.MonkeyPatch) -> Build:
    monkeypatch.setenv("WEAVER_KERNEL_SECRET", SECRET)
    monkeypatch.setenv("LAB_RATE_LIMITS", f"WRITE={LIMIT}/3600")
    monkeypatch.setenv("LAB_STORE_TIMEOUT_MS", "5000")

    def built(name: str) -> Kernel:
        monkeypatch.setenv("LAB_STATE", url_of(name))
        return one_trip.build_kernel(read_settings())

    return built


def grant(kernel: Kernel) -> Any:
    return kernel.get_token(REQUEST, ALICE, justification="the auditors have asked for it")


def provider(kernel: Kernel) -> Any:
    return kernel._token_provider


def test_a_grant_asks_once_and_two_trips_ask_twice(
    build: Build, valkey: Valkey, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = {}
    for name, kernel in (
        ("one", build("redis")),
        ("two", two_trips.build_kernel(read_settings())),
    ):
        monkeypatch.setattr(kernel._policy, "_limits", dict.fromkeys(kernel._policy._limits, (1000, 3600.0)))  # type: ignore[attr-defined]
        grant(kernel)  # connect, and tell the scripts
        link = provider(kernel)._revocation.server._plain
        calls: list[Any] = []
        call = link._connection.send_command
        monkeypatch.setattr(
            link._connection,
            "send_command",
            lambda *words, call=call, calls=calls: calls.append(words) or call(*words),
        )
        for _ in range(10):
            grant(kernel)
        asked[name] = len(calls)
    assert asked == {"one": 10, "two": 20}


def test_the_limit_and_its_refusal_are_upstreams(build: Build) -> None:
    kernel = build("redis")
    for _ in range(LIMIT):
        grant(kernel)
    with pytest.raises(PolicyDenied, match="Rate limit exceeded") as refusal:
        grant(kernel)
    assert refusal.value.reason_code == "rate_limited"
    assert [trace.reason_code for trace in kernel.list_traces()] == ["rate_limited"]
    assert kernel.stats.denials == 1


@pytest.mark.parametrize("name", ["redis", "cached+redis", "redis+cluster", "sqlite", "memory"])
def test_revoke_all_covers_and_counts_every_token_and_no_refusal(name: str, build: Build) -> None:
    kernel = build(name)
    tokens = [grant(kernel) for _ in range(LIMIT)]
    for token in tokens:
        provider(kernel).verify(
            token, expected_principal_id="alice", expected_capability_id=token.capability_id
        )
    with pytest.raises(PolicyDenied):
        grant(kernel)
    assert provider(kernel).revoke_all("alice") == LIMIT
    for token in tokens:
        with pytest.raises(TokenRevoked):
            provider(kernel).verify(
                token, expected_principal_id="alice", expected_capability_id=token.capability_id
            )


def test_the_pair_is_used_where_one_server_has_both(build: Build) -> None:
    used = {
        name: isinstance(provider(build(name)), one_trip.OneTripTokens)
        for name in ("redis", "redis+unix", "cached+redis", "redis+cluster", "sqlite", "memory")
    }
    assert used == {
        "redis": True,
        "redis+unix": True,
        "cached+redis": True,
        "redis+cluster": False,
        "sqlite": False,
        "memory": False,
    }


def test_a_token_that_was_tracked_is_issued_to_nobody_else(build: Build) -> None:
    kernel = build("redis")
    tokens, limiter = provider(kernel), kernel._policy._limiter  # type: ignore[attr-defined]
    assert limiter.admit("alice", "billing.update_invoice", 9, 60)
    tracked = tokens._tracked._token.get().token_id
    assert tokens.issue("billing.update_invoice", "bob").token_id != tracked
    assert tokens.issue("billing.update_invoice", "alice").token_id != tracked, "nor later"
    assert tokens.revoke_all("alice") == 2
    assert tokens.revoke_all("bob") == 1


async def test_each_of_two_grants_that_overlap_issues_the_token_that_it_tracked(build: Build) -> None:
    kernel = build("redis")
    tokens, limiter = provider(kernel), kernel._policy._limiter  # type: ignore[attr-defined]
    issued: dict[str, str] = {}
    everybody_has_tracked = asyncio.Barrier(2)

    async def granted(name: str) -> None:
        assert limiter.admit("alice", "billing.update_invoice", 9, 60)
        tracked = tokens._tracked._token.get().token_id
        await everybody_has_tracked.wait()
        issued[tracked] = tokens.issue("billing.update_invoice", "alice").token_id

    await asyncio.gather(granted("one"), granted("two"))
    assert len(issued) == 2
    assert all(tracked == token for tracked, token in issued.items())


def test_a_token_carries_what_upstreams_would(build: Build) -> None:
    kernel = build("redis")
    issued = kernel.grant_capability(REQUEST, ALICE, justification="the auditors have asked for it")
    token = issued.token
    assert (token.constraints, token.audit_id) == (issued.decision.constraints, issued.audit_id)
    assert (token.expires_at - token.issued_at).total_seconds() == 3600
