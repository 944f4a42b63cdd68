"""One URL opens a state; a bad one is told in one line."""

import asyncio
import datetime as dt
import importlib
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
from places import PATIENT
from weaver_kernel import BudgetManager, HandleStore, TraceStore
from weaver_kernel.rate_limit import RateLimiter
from weaver_kernel.stores import InMemoryRevocationStore, SQLiteRevocationStore, SQLiteTraceStore

from beside_upstream.servers import Valkey, server, trace
from lab.state import BadStateURL, State, StateOptions, open_state, warnings
from lab.state.redis.link import unfit

BAD = {
    "": "no '://' in it",
    "redis": "no '://' in it",
    "mysql://h/d": "no scheme 'mysql'",
    "cached://": "no scheme 'cached'",
    "cached+mysql://h": "no scheme 'cached+mysql'",
    "memory://x": "'x'",
    "memory://?a=1": "'a'",
    "cached+memory://": "nobody to tell",
    "cached+stash://": "nobody to tell",
    "cached+stock+sqlite:///x.db": "nobody to tell",
    "sqlite://": "no path",
    "sqlite:///": "no path",
    "sqlite:////no/such/folder/x.db": "/no/such/folder",
    "stock+sqlite:///": "no path",
    "redis://:6379/0": "no host",
    "redis://h:port/0": "'port'",
    "redis://h:0/0": "'0'",
    "redis://h:65536/0": "'65536'",
    "redis://h:1/zero": "'zero'",
    "redis://h:1/0?namspace=x": "'namspace'",
    "redis://h:1/0?namespace=a{b}": "'a{b}'",
    "redis://h:1/0?max_stale_ms=5": "'max_stale_ms'",
    "redis+unix://": "no path",
    "redis+unix:///s?db=x": "'x'",
    "redis+cluster://a:1,,b:2": "no host",
    "redis+cluster://a:1/2": "'2'",
    "cached+redis://127.0.0.1:1/0?max_stale_ms=0": "'0'",
    "cached+redis://127.0.0.1:1/0?max_stale_ms=soon": "'soon'",
    "stash://x": "'x'",
    "naive+redis://h:port": "'port'",
}


@pytest.mark.parametrize(("url", "part"), BAD.items(), ids=list(BAD))
def test_a_bad_url_is_told_in_one_line_with_its_wrong_part_and_a_right_one(url: str, part: str) -> None:
    with pytest.raises(BadStateURL) as refusal:
        open_state(url)
    message = str(refusal.value)
    assert part in message
    assert "like " in message or "one of " in message
    assert "\n" not in message


def test_a_password_is_not_shown() -> None:
    with pytest.raises(BadStateURL) as refusal:
        open_state("redis://user:hunter2@h:port/0")
    assert "hunter2" not in str(refusal.value)
    assert "secret" not in repr(StateOptions(secret="hunter2"))


def test_an_overrides_bad_url_names_its_kind() -> None:
    with pytest.raises(BadStateURL, match=r"^limiter: mysql"):
        open_state("memory://", StateOptions(overrides={"limiter": "mysql://h"}))
    with pytest.raises(BadStateURL, match=r"'limits'.*revocations limiter handles traces budget"):
        open_state("memory://", StateOptions(overrides={"limits": "memory://"}))


def test_memory_is_upstreams_own_and_stock_its_sqlite_stores(tmp_path: Path) -> None:
    options = StateOptions(handle_ttl_s=7, handle_cap=8, trace_cap=9, budget_total=10, budget_request=11)
    state = open_state("memory://", options)
    kinds = [type(getattr(state, kind)) for kind in ("revocations", "limiter", "handles", "traces", "budget")]
    assert kinds == [InMemoryRevocationStore, RateLimiter, HandleStore, TraceStore, BudgetManager]
    assert (state.handles._default_ttl, state.handles._max_entries) == (7, 8)
    assert state.traces._max_entries == 9  # type: ignore[attr-defined]
    assert state.budget
    assert (state.budget.total_budget, state.budget._default_request) == (10, 11)
    state = open_state(f"stock+sqlite:///{tmp_path}/x.db", StateOptions(secret="s"))
    assert [type(state.revocations), type(state.traces)] == [SQLiteRevocationStore, SQLiteTraceStore]
    assert type(state.limiter) is RateLimiter
    state.close()


def test_a_state_may_be_closed_while_warnings_are_read(monkeypatch: pytest.MonkeyPatch) -> None:
    """A kernel that is collected closes its state, and a collection may come at any time."""
    home = importlib.import_module("lab.state.memory")
    opened: list[State] = []

    def closing() -> list[str]:
        opened.pop().close()
        return ["told"]

    real = home.open_url
    monkeypatch.setattr(home, "open_url", lambda *asked: replace(real(*asked), warners=(closing,)))
    opened += [open_state("memory://"), open_state("memory://"), open_state("memory://")]
    assert "told" in warnings()
    assert not opened


def test_one_kind_can_be_elsewhere(url_of: Callable[[str], str]) -> None:
    shared = url_of("redis")
    overrides = {"revocations": shared, "limiter": shared}
    states = [open_state("memory://", StateOptions(overrides=overrides, timeout_ms=5000)) for _ in range(2)]
    states[0].revocations.revoke("t1")
    assert states[1].revocations.is_revoked("t1")
    assert states[0].limiter.check("k", 1, 60)
    assert not states[1].limiter.check("k", 1, 60)
    assert type(states[0].handles) is HandleStore
    for state in states:
        state.close()


def test_memory_needs_no_redis_client() -> None:
    code = (
        "import sys; from lab.state import open_state; open_state('memory://'); print('redis' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"


@pytest.mark.parametrize("name", ["sqlite", "redis", "redis+cluster", "cached+sqlite", "cached+redis"])
def test_nothing_is_connected_before_the_first_call(name: str, opened: Callable[..., State]) -> None:
    state = opened(name)
    server = getattr(state.limiter, "server", None)
    if server is None:
        assert not state.limiter._file.path.exists()  # type: ignore[attr-defined]
    else:
        links = list(server._links.values()) if hasattr(server, "_links") else [server]
        assert [link._plain._connection for link in links] == [None] * len(links)


def test_namespaces_keep_deployments_on_one_server_apart(valkey: Valkey) -> None:
    urls = [f"redis://127.0.0.1:{valkey.port}/0?namespace=apart{i}" for i in range(2)]
    one, other = (open_state(url, PATIENT) for url in urls)
    one.revocations.revoke("t1")
    assert not other.revocations.is_revoked("t1")
    one.close()
    other.close()


@pytest.mark.parametrize("policy", ["allkeys-lru", "volatile-ttl"])
def test_a_server_that_may_drop_a_revocation_is_refused(policy: str) -> None:
    with (
        server("--maxmemory-policy", policy) as evicting,
        pytest.raises(BadStateURL, match=f"{policy}.*must be noeviction"),
    ):
        open_state(f"redis://127.0.0.1:{evicting.port}/0")


FIT = {"maxmemory_policy": "noeviction", "role": "master", "redis_version": "7.2.4"}


@pytest.mark.parametrize(
    ("info", "word"),
    [
        ({}, None),
        ({"redis_version": "10.0.0"}, None),
        ({"maxmemory_policy": "volatile-lru"}, "volatile-lru"),
        ({"role": "slave"}, "replica"),
        ({"redis_version": "6.2.1"}, "6.2.1"),
    ],
)
def test_a_server_is_fit_or_it_is_said_why_not(info: dict[str, str], word: str | None) -> None:
    reason = unfit(FIT | info)
    assert reason is None if word is None else word in str(reason)
    assert unfit({}) is not None


def test_every_key_has_a_life(valkey: Valkey) -> None:
    state = open_state(f"redis://127.0.0.1:{valkey.port}/9", PATIENT)
    soon = dt.datetime.now(dt.UTC) + dt.timedelta(hours=1)
    for expires_at in (soon, soon - dt.timedelta(hours=1, seconds=9)):
        state.revocations.track("alice", f"t{expires_at}", expires_at)
    state.revocations.revoke("stranger")
    state.revocations.revoke_principal("alice")
    state.revocations.track("alice", "later", soon)
    state.limiter.check("k", 1, 60)
    state.handles.store("c", [1])
    state.handles.store("c", [1], ttl_seconds=0)
    state.traces.record(trace("a1"))
    assert state.budget
    asyncio.run(state.budget.allocate(10))
    asyncio.run(state.budget.record_usage(1))
    state.close()
    with valkey.client() as client:
        client.select(9)
        keys = client.keys()
        assert len(keys) >= 15
        assert [key for key in keys if client.pttl(key) < 0] == []
