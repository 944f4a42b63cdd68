"""A store that is away: calls are refused at once, nothing is guessed, and service resumes by itself."""

import datetime as dt
import signal
import sqlite3
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from weaver_kernel import AgentKernelError, HMACTokenProvider

from beside_upstream.servers import Valkey, trace, until
from lab.state import State, StateOptions, StateUnavailable, open_state

SOON = dt.datetime.now(dt.UTC) + dt.timedelta(hours=1)
IMPATIENT = StateOptions(timeout_ms=250, secret="s", budget_total=1000)


def url_to(valkey: Valkey) -> str:
    return f"redis://127.0.0.1:{valkey.port}/0"


@pytest.fixture
def state(hurt: Valkey) -> Any:
    state = open_state(url_to(hurt), IMPATIENT)
    assert not state.revocations.is_revoked("t1")  # connected
    yield state
    state.close()


async def refused(call: Callable[[], Any]) -> None:
    try:
        answer = call()
        if hasattr(answer, "__await__"):
            answer = await answer
    except StateUnavailable:
        return
    pytest.fail(f"it answered {answer!r}")


def calls_of(state: State) -> dict[str, Callable[[], Any]]:
    """One call of every kind that must ask the store."""
    budget = state.budget
    assert budget
    return {
        "is_revoked": lambda: state.revocations.is_revoked("t1"),
        "revoke": lambda: state.revocations.revoke("t1"),
        "track": lambda: state.revocations.track("alice", "t1", SOON),
        "revoke_principal": lambda: state.revocations.revoke_principal("alice"),
        "check": lambda: state.limiter.check("k", 1, 60),
        "store": lambda: state.handles.store("c", [1]),
        "get": lambda: state.handles.get("h"),
        "get_meta": lambda: state.handles.get_meta("h"),
        "evict_expired": state.handles.evict_expired,
        "record": lambda: state.traces.record(trace("a1")),
        "get trace": lambda: state.traces.get("a1"),
        "list_all": state.traces.list_all,
        "allocate": budget.allocate,
        "record_usage": lambda: budget.record_usage(1),
        "release": lambda: budget.release(0),
        "suggested_mode": lambda: budget.suggested_mode("raw"),
    }


async def test_every_call_is_refused_while_the_server_is_gone(state: State, hurt: Valkey) -> None:
    hurt.kill()
    for call in calls_of(state).values():
        await refused(call)


async def test_every_call_is_refused_while_the_server_is_silent(state: State, hurt: Valkey) -> None:
    hurt.signal(signal.SIGSTOP)
    for call in calls_of(state).values():
        await refused(call)
    hurt.signal(signal.SIGCONT)


def test_a_silent_server_is_waited_for_once(
    state: State, hurt: Valkey, monkeypatch: pytest.MonkeyPatch
) -> None:
    link: Any = state.limiter.server._plain  # type: ignore[attr-defined] # called without a bridge
    asked: list[str] = []

    def counted(name: str, method: Callable[..., Any]) -> Callable[..., Any]:
        def count(*arguments: Any, **named: Any) -> Any:
            if threading.current_thread() is threading.main_thread():  # the loop's; a probe may wait
                asked.append(name)
            return method(*arguments, **named)

        return count

    monkeypatch.setattr(link._connection, "read_response", counted("read", link._connection.read_response))
    monkeypatch.setattr(link, "connect", counted("connect", link.connect))
    hurt.signal(signal.SIGSTOP)
    for _ in range(100):
        with pytest.raises(StateUnavailable):
            state.revocations.is_revoked("t1")
    hurt.signal(signal.SIGCONT)
    assert asked == ["read"]


def test_a_late_answer_is_never_taken_for_the_next(state: State, hurt: Valkey) -> None:
    state.revocations.revoke("revoked")
    for _ in range(3):
        hurt.signal(signal.SIGSTOP)
        with pytest.raises(StateUnavailable):
            state.revocations.is_revoked("revoked")
        hurt.signal(signal.SIGCONT)
        until(lambda: serves(state), "service resumes")
        assert not state.revocations.is_revoked("good")
        assert state.revocations.is_revoked("revoked")


def serves(state: State) -> bool:
    try:
        state.revocations.is_revoked("anything")
    except StateUnavailable:
        return False
    return True


def test_service_resumes_by_itself_when_a_server_is_back(state: State, hurt: Valkey) -> None:
    state.revocations.revoke("t1")
    hurt.kill()
    assert not serves(state)
    assert hurt.start()
    until(lambda: serves(state), "service resumes")
    assert state.revocations.is_revoked("t1"), (
        "what was acknowledged was kept: the server has an append-only file"
    )
    until(lambda: not probing(), "the thread that asked has ended")


def probing() -> list[threading.Thread]:
    return [thread for thread in threading.enumerate() if thread.name == "lab-state-probe"]


def test_a_server_restarted_between_two_calls_is_not_even_noticed(state: State, hurt: Valkey) -> None:
    state.limiter.check("k", 1, 60)
    hurt.kill()
    assert hurt.start()
    state.revocations.revoke("t1")
    assert state.revocations.is_revoked("t1")


def test_a_state_can_be_opened_while_its_server_is_away(hurt: Valkey) -> None:
    hurt.kill()
    state = open_state(url_to(hurt), IMPATIENT)
    assert not serves(state)
    assert hurt.start()
    until(lambda: serves(state), "service resumes")
    state.close()


def test_a_server_that_forgot_the_scripts_is_told_them_again(state: State, hurt: Valkey) -> None:
    state.revocations.revoke("t1")
    with hurt.client() as client:
        client.script_flush()
    state.revocations.revoke("t2")
    assert state.revocations.is_revoked("t2")


@pytest.mark.parametrize(
    ("commands", "word"),
    [
        ([("CONFIG", "SET", "maxmemory", "1")], "maxmemory"),
        ([("REPLICAOF", "127.0.0.1", "1")], "read only"),
        ([("CONFIG", "SET", "min-replicas-to-write", "1")], "NOREPLICAS"),
    ],
    ids=["OOM", "READONLY", "NOREPLICAS"],
)
def test_a_server_that_refuses_to_write_is_unavailable(
    commands: list[tuple[str, ...]], word: str, state: State, hurt: Valkey
) -> None:
    state.revocations.track("alice", "t1", SOON)
    with hurt.client() as client:
        for command in commands:
            client.execute_command(*command)
    for call in (
        lambda: state.revocations.revoke("t1"),
        lambda: state.revocations.revoke_principal("alice"),
        lambda: state.limiter.check("k", 1, 60),
        lambda: state.handles.store("c", [1]),
        lambda: state.traces.record(trace("a1")),
    ):
        with pytest.raises(StateUnavailable, match=word):
            call()
    assert not state.revocations.is_revoked("t1"), "what was refused was not half done"


def test_a_server_whose_policy_was_changed_is_refused_at_the_next_connection(hurt: Valkey) -> None:
    state = open_state(url_to(hurt), IMPATIENT)
    with hurt.client() as client:
        client.config_set("maxmemory-policy", "allkeys-lru")
        with pytest.raises(StateUnavailable, match="allkeys-lru"):
            state.revocations.is_revoked("t1")
        client.config_set("maxmemory-policy", "noeviction")
    until(lambda: serves(state), "service resumes")
    state.close()


def test_a_password_that_is_wrong_is_an_unavailable_store(hurt: Valkey) -> None:
    with hurt.client() as client:
        client.config_set("requirepass", "right")
    wrong, right = (
        open_state(f"redis://default:{password}@127.0.0.1:{hurt.port}/0", IMPATIENT)
        for password in ("wrong", "right")
    )
    with pytest.raises(StateUnavailable, match="username-password"):
        wrong.revocations.is_revoked("t1")
    right.revocations.revoke("t1")
    assert right.revocations.is_revoked("t1")
    wrong.close()
    right.close()


def test_sqlite_is_unavailable_while_somebody_holds_its_lock(tmp_path: Path) -> None:
    state = open_state(f"sqlite:///{tmp_path}/x.db", StateOptions(timeout_ms=50))
    state.revocations.track("alice", "t1", SOON)
    holder = sqlite3.connect(tmp_path / "x.db", isolation_level=None)
    holder.execute("BEGIN IMMEDIATE")
    for _ in range(3):
        with pytest.raises(StateUnavailable):
            state.revocations.revoke("t1")
    assert not state.revocations.is_revoked("t1"), "reading needs no lock"
    holder.execute("ROLLBACK")
    holder.close()
    until(lambda: revokes(state), "service resumes")
    state.close()


def revokes(state: State) -> bool:
    try:
        state.revocations.revoke("t1")
    except StateUnavailable:
        return False
    return state.revocations.is_revoked("t1")


def test_a_full_disk_is_an_unavailable_store_and_no_broken_one(tmp_path: Path) -> None:
    state = open_state(f"sqlite:///{tmp_path}/x.db", StateOptions(timeout_ms=5000))
    state.revocations.track("alice", "t1", SOON)
    connection: Any = state.revocations._file._connection  # type: ignore[attr-defined]
    (pages,) = connection.execute("PRAGMA page_count").fetchone()
    connection.execute(f"PRAGMA max_page_count = {pages}")
    with pytest.raises(StateUnavailable, match="full"):
        state.handles.store("c", ["x" * 100_000])
    connection.execute("PRAGMA max_page_count = 100000")
    assert state.handles.current_bytes == 0
    assert state.revocations.revoke_principal("alice") == 1
    state.close()


def test_a_file_that_is_no_database_is_unavailable(tmp_path: Path) -> None:
    (tmp_path / "x.db").write_text("no database at all, but long enough to be taken for one" * 100)
    state = open_state(f"sqlite:///{tmp_path}/x.db", StateOptions(timeout_ms=50))
    with pytest.raises(StateUnavailable, match="not a database"):
        state.revocations.is_revoked("t1")
    state.close()


def test_a_kernel_whose_store_is_away_lets_nobody_in(state: State, hurt: Valkey) -> None:
    tokens = HMACTokenProvider("s", revocation_store=state.revocations)
    token = tokens.issue("c", "alice")
    hurt.kill()
    with pytest.raises(StateUnavailable):
        tokens.verify(token, expected_principal_id="alice", expected_capability_id="c")
    assert not issubclass(StateUnavailable, AgentKernelError)
