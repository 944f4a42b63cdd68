"""Many requests' changes of one SQLite file in one transaction: what holds the loop, and what fails."""

import asyncio
import datetime as dt
import sqlite3
import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from beside_upstream.servers import trace
from lab.bridge import bridged
from lab.state import State, StateOptions, StateUnavailable, open_state
from lab.state.sqlite_group import QUEUED_AT_MOST

SOON = dt.datetime.now(dt.UTC) + dt.timedelta(hours=1)


@pytest.fixture
async def state(tmp_path: Path) -> AsyncIterator[State]:
    state = open_state(f"sqlite:///{tmp_path}/x.db", StateOptions(timeout_ms=20_000, secret="s"))
    await bridged(state.revocations.track, "alice", "t0", SOON)
    yield state
    state.close()
    await asyncio.sleep(0.01)


def group_of(state: State) -> Any:
    file: Any = state.revocations.file  # type: ignore[attr-defined]
    return file._groups[asyncio.get_running_loop()]


def held(tmp_path: Path) -> sqlite3.Connection:
    holder = sqlite3.connect(tmp_path / "x.db", isolation_level=None)
    holder.execute("BEGIN IMMEDIATE")
    return holder


async def test_the_loop_serves_others_while_somebody_holds_the_lock(state: State, tmp_path: Path) -> None:
    holder = held(tmp_path)
    waiting = [asyncio.ensure_future(_track(state, f"t{i}")) for i in range(20)]
    began_s = time.monotonic()
    turns = 0
    while time.monotonic() < began_s + 0.1:
        await asyncio.sleep(0)
        turns += 1
    assert not any(task.done() for task in waiting)
    holder.execute("ROLLBACK")
    holder.close()
    await asyncio.gather(*waiting)
    assert turns > 100
    assert await bridged(state.revocations.revoke_principal, "alice") == 20


async def _track(state: State, token_id: str) -> None:
    await bridged(state.revocations.track, "alice", token_id, SOON)


async def test_what_waits_is_committed_together(state: State) -> None:
    group = group_of(state)
    before = group._commits
    await asyncio.gather(*[_track(state, f"t{i}") for i in range(60)])
    assert group._commits - before <= 2


async def test_one_that_fails_takes_no_other_with_it(state: State) -> None:
    file: Any = state.revocations.file  # type: ignore[attr-defined]

    def fails(connection: sqlite3.Connection) -> None:
        connection.execute("INSERT INTO tokens VALUES ('bad', NULL, 0, 1)")
        raise ZeroDivisionError

    def breaks(connection: sqlite3.Connection) -> None:
        connection.execute("INSERT INTO nowhere VALUES (1)")

    outcomes = await asyncio.gather(
        _track(state, "before"), bridged(file.change, fails), bridged(file.change, breaks),
        _track(state, "after"), return_exceptions=True,
    )  # fmt: skip
    assert [type(one) for one in outcomes] == [type(None), ZeroDivisionError, StateUnavailable, type(None)]
    assert not await bridged(state.revocations.is_revoked, "bad")
    assert await bridged(state.revocations.revoke_principal, "alice") == 3


async def test_nothing_is_acknowledged_before_it_is_committed(state: State, tmp_path: Path) -> None:
    file: Any = state.revocations.file  # type: ignore[attr-defined]
    other = sqlite3.connect(tmp_path / "x.db")
    seen: list[int] = []

    def look(_: sqlite3.Connection) -> None:
        seen.extend(other.execute("SELECT count(*) FROM tokens WHERE token_id = 't1'").fetchone())

    first, _ = await asyncio.gather(_track(state, "t1"), bridged(file.change, look))
    assert first is None
    assert seen == [0], "it was not there while its transaction was open"
    assert other.execute("SELECT count(*) FROM tokens WHERE token_id = 't1'").fetchone() == (1,)
    other.close()


async def test_a_full_disk_fails_those_who_wait_and_nobody_after_them(state: State) -> None:
    connection = group_of(state)._connection
    (pages,) = connection.execute("PRAGMA page_count").fetchone()
    connection.execute(f"PRAGMA max_page_count = {pages}")
    calls = [bridged(state.handles.store, "c", ["x" * 100_000]) for _ in range(5)]
    outcomes = await asyncio.gather(*calls, return_exceptions=True)
    assert {type(one) for one in outcomes} == {StateUnavailable}
    connection.execute("PRAGMA max_page_count = 1000000")
    handle = await bridged(state.handles.store, "c", ["x" * 100_000])
    assert await bridged(state.handles.get, handle.handle_id) == ["x" * 100_000]


async def test_a_cancelled_change_leaves_the_others_theirs(state: State, tmp_path: Path) -> None:
    holder = held(tmp_path)
    tasks = [asyncio.ensure_future(_track(state, f"t{i}")) for i in range(1, 31)]
    await asyncio.sleep(0.01)
    for task in tasks[::3]:
        task.cancel()
    holder.execute("ROLLBACK")
    holder.close()
    outcomes = await asyncio.gather(*tasks, return_exceptions=True)
    assert [one for one in outcomes if not isinstance(one, asyncio.CancelledError)] == [None] * 20
    assert await bridged(state.revocations.revoke_principal, "alice") >= 21


async def test_a_lock_that_is_never_given_up_is_waited_for_once(tmp_path: Path) -> None:
    state = open_state(f"sqlite:///{tmp_path}/x.db", StateOptions(timeout_ms=50))
    await _track(state, "t0")
    holder = held(tmp_path)
    outcomes = await asyncio.gather(*[_track(state, f"t{i}") for i in range(20)], return_exceptions=True)
    assert {type(one) for one in outcomes} == {StateUnavailable}
    with pytest.raises(StateUnavailable, match="not asked again yet"):
        await _track(state, "later")
    holder.execute("ROLLBACK")
    holder.close()
    deadline_s = time.monotonic() + 30
    while True:
        try:
            await _track(state, "t1")
        except StateUnavailable:
            assert time.monotonic() < deadline_s
            await asyncio.sleep(0.02)
        else:
            break
    state.close()
    await asyncio.sleep(0.01)


async def test_beyond_its_bound_a_change_is_refused_at_once(state: State, tmp_path: Path) -> None:
    holder = held(tmp_path)
    tasks = [asyncio.ensure_future(_track(state, f"t{i}")) for i in range(QUEUED_AT_MOST + 100)]
    while sum(task.done() for task in tasks) < 100:  # noqa: ASYNC110 - those beyond the bound
        await asyncio.sleep(0.01)
    holder.execute("ROLLBACK")
    holder.close()
    outcomes = await asyncio.gather(*tasks, return_exceptions=True)
    assert [type(one) for one in outcomes].count(StateUnavailable) == 100
    assert outcomes.count(None) == QUEUED_AT_MOST


async def test_a_handle_and_its_trace_are_one_transaction(state: State) -> None:
    group = group_of(state)
    before = group._commits

    def invoke() -> str:
        handle = state.handles.store("c", [1])
        state.traces.record(trace("a1"))
        return handle.handle_id

    handle_id = await bridged(invoke)
    assert group._commits - before == 1
    assert await bridged(state.handles.get, handle_id) == [1]
    assert state.traces.get("a1").action_id == "a1"


async def test_a_handles_times_are_the_stores_when_the_call_returns(state: State) -> None:
    handle = await bridged(state.handles.store, "c", [1])
    assert await bridged(state.handles.get_meta, handle.handle_id) == handle


async def test_the_log_is_written_back_beside_the_commits(state: State, tmp_path: Path) -> None:
    for i in range(600):
        await bridged(state.handles.store, "c", [i] * 200)
    group = group_of(state)
    assert group._checkpoint is not None
    await group._checkpoint
    assert (tmp_path / "x.db").stat().st_size > 100_000


@pytest.mark.parametrize("how", ["deleted", "replaced"])
async def test_a_file_that_is_another_needs_a_decision(tmp_path: Path, how: str) -> None:
    path = tmp_path / "x.db"
    strict, told = (
        open_state(f"sqlite:///{path}{query}", StateOptions(timeout_ms=2000))
        for query in ("", "?replaced=accept")
    )
    for state in (strict, told):
        await bridged(state.revocations.revoke, "t1")
        state.revocations.revoke("t1")
    for old in tmp_path.iterdir():
        old.unlink() if how == "deleted" else old.rename(tmp_path / f"old-{old.name}")
    if how == "replaced":
        open_state(f"sqlite:///{path}").revocations.revoke("other")
    calls: list[Any] = [
        lambda: strict.revocations.is_revoked("t1"), lambda: strict.revocations.revoke("t2"),
        lambda: strict.limiter.check("k", 1, 60), lambda: strict.handles.store("c", [1]),
    ]  # fmt: skip
    for call in calls:
        with pytest.raises(StateUnavailable, match="no longer the one"):
            call()
        with pytest.raises(StateUnavailable, match="no longer the one"):
            await bridged(call)
    assert not await bridged(told.revocations.is_revoked, "t1")
    await bridged(told.revocations.revoke, "t3")
    assert told.revocations.is_revoked("t3")
    for state in (strict, told):
        state.close()
    await asyncio.sleep(0.01)
