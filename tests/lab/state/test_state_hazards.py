"""What our stores keep when two processes share them: the second acts between two steps of the first."""

import contextlib
import datetime as dt
import sqlite3
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from bridged import open_state
from weaver_kernel.stores import JsonlTraceStore, SQLiteRevocationStore

from beside_upstream.servers import trace, until
from lab.state import State, StateOptions, StateUnavailable

SOON = dt.datetime.now(dt.UTC) + dt.timedelta(hours=1)


class Meddled:
    """A connection on which something else happens just before the first statement of some kind."""

    def __init__(self, connection: sqlite3.Connection, before: str, meddle: Callable[[], None]) -> None:
        self._connection = connection
        self._before = before
        self._meddle: Callable[[], None] | None = meddle

    def _now(self, sql: str) -> None:
        if self._meddle and sql.startswith(self._before):
            meddle, self._meddle = self._meddle, None
            meddle()

    def execute(self, sql: str, *values: Any) -> Any:
        self._now(sql)
        return self._connection.execute(sql, *values)

    def executemany(self, sql: str, *values: Any) -> Any:
        self._now(sql)
        return self._connection.executemany(sql, *values)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._connection, name)


@pytest.fixture
def stock(tmp_path: Path) -> Iterator[list[SQLiteRevocationStore]]:
    """Upstream's store, opened twice, as two processes would."""
    stores = [SQLiteRevocationStore(tmp_path / "stock.db") for _ in range(2)]
    for store in stores:
        store._conn.execute("PRAGMA busy_timeout = 50")
    yield stores
    for store in stores:
        store.close()


@pytest.fixture
def ours(tmp_path: Path) -> Iterator[list[State]]:
    """Our store, opened twice."""
    states = [
        open_state(f"sqlite:///{tmp_path}/ours.db", StateOptions(timeout_ms=50, secret="s")) for _ in range(2)
    ]
    yield states
    for state in states:
        state.close()


# -- revoke_all is one step ---------------------------------------------------------------------------


def test_our_revoke_all_lets_no_token_be_issued_in_its_middle(ours: list[State]) -> None:
    one, other = (state.revocations for state in ours)
    one.track("alice", "t1", SOON)
    file: Any = one._file  # type: ignore[attr-defined]
    refused = []

    def meddle() -> None:
        try:
            other.track("alice", "t2", SOON)
        except StateUnavailable as error:
            refused.append(error)

    file._connection = Meddled(file._connection, "UPDATE tokens", meddle)
    assert one.revoke_principal("alice") == 1
    assert refused, "the other process was kept out"
    until(lambda: not other._file._breaker.open, "it asks again")  # type: ignore[attr-defined]
    other.track("alice", "t2", SOON)
    assert other.revoke_principal("alice") == 1


# -- a revocation that could not be committed ---------------------------------------------------------


def test_ours_is_not_kept_from_revoking_by_a_reader(ours: list[State], tmp_path: Path) -> None:
    one, other = ours
    one.revocations.track("alice", "t1", SOON)
    one.revocations.track("alice", "t2", SOON)
    reader = sqlite3.connect(tmp_path / "ours.db")
    rows = reader.execute("SELECT * FROM tokens")
    rows.fetchone()
    one.revocations.revoke("t1")
    assert other.revocations.is_revoked("t1")
    reader.close()


def test_ours_takes_back_what_it_could_not_commit(ours: list[State], tmp_path: Path) -> None:
    one, other = ours
    assert not one.revocations.is_revoked("t1")
    writer = sqlite3.connect(tmp_path / "ours.db", isolation_level=None)
    writer.execute("BEGIN IMMEDIATE")
    with pytest.raises(StateUnavailable, match="locked"):
        one.revocations.revoke("t1")
    assert not one.revocations.is_revoked("t1")
    assert not one.revocations._file._connection.in_transaction  # type: ignore[attr-defined]
    writer.execute("ROLLBACK")
    writer.close()
    other.revocations.revoke("t1")
    assert one.revocations.is_revoked("t1")


def test_ours_rolls_back_whatever_fails_inside_a_change(ours: list[State]) -> None:
    one, other = ours
    file: Any = one.revocations._file  # type: ignore[attr-defined]

    def fails(connection: sqlite3.Connection) -> None:
        connection.execute("INSERT INTO tokens VALUES ('t1', NULL, 0, 1)")
        raise ZeroDivisionError

    with contextlib.suppress(ZeroDivisionError):
        file.change(fails)
    assert not one.revocations.is_revoked("t1")
    other.revocations.revoke("t2")


# -- readers and writers ------------------------------------------------------------------------------


def test_stock_readers_are_shut_out_by_a_writer_and_ours_are_not(
    stock: list[SQLiteRevocationStore], ours: list[State], tmp_path: Path
) -> None:
    ours[0].revocations.revoke("t1")
    for path in ("stock.db", "ours.db"):
        writer = sqlite3.connect(tmp_path / path, isolation_level=None)
        writer.execute("BEGIN EXCLUSIVE")
        if path == "stock.db":
            with pytest.raises(sqlite3.OperationalError, match="locked"):
                stock[0].is_revoked("t1")
        else:
            assert ours[1].revocations.is_revoked("t1")
        writer.close()


# -- two writers of one audit log ---------------------------------------------------------------------


def test_two_stock_jsonl_stores_fork_the_chain(tmp_path: Path) -> None:
    one, other = (JsonlTraceStore(tmp_path / "traces.jsonl", secret="s") for _ in range(2))
    one.record(trace("a1"))
    other.record(trace("a2"))
    assert not one.verify_chain().ok


@pytest.mark.parametrize("name", ["sqlite", "redis"])
def test_two_of_our_trace_stores_write_one_chain(name: str, url_of: Callable[[str], str]) -> None:
    url = url_of(name)
    states = [open_state(url, StateOptions(secret="s", timeout_ms=5000)) for _ in range(2)]
    for i in range(6):
        states[i % 2].traces.record(trace(f"a{i}"))
    for state in states:
        assert [kept.action_id for kept in state.traces.list_all()] == [f"a{i}" for i in range(6)]
        assert state.traces.verify_chain().ok  # type: ignore[attr-defined]
        state.close()


# -- the sweep ----------------------------------------------------------------------------------------


def test_our_sweep_keeps_to_the_stores_clock_and_its_margin(ours: list[State]) -> None:
    revocations: Any = ours[0].revocations
    now = dt.datetime.now(dt.UTC)
    for token_id, age_s in (("live", -60), ("just dead", 60), ("long dead", 3600)):
        revocations.track("alice", token_id, now - dt.timedelta(seconds=age_s))
    assert revocations.revoke_principal("alice") == 3
    assert revocations.sweep_expired(now + dt.timedelta(days=1)) == 1
    assert [revocations.is_revoked(t) for t in ("live", "just dead", "long dead")] == [True, True, False]
