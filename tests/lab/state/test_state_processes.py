"""Eight processes at the same time: what must hold whoever comes when."""

from collections.abc import Callable
from typing import Any

import pytest
from bridged import open_state
from places import PATIENT, Process, Together

RIGHT = ("sqlite", "redis", "redis+cluster", "bridged+redis", "bridged+sqlite")

Url = Callable[[str], str]


@pytest.mark.parametrize("name", RIGHT)
def test_of_5000_attempts_exactly_the_limit_is_admitted(name: str, url_of: Url, together: Together) -> None:
    admitted = together("acquire", url_of(name), key="k", limit=500, window_s=3600, attempts=625)
    assert sum(admitted) == 500
    assert sum(n > 0 for n in admitted) > 1, "one process had it all: nothing was shown"


@pytest.mark.parametrize("name", RIGHT)
def test_no_token_whose_issue_returned_survives_revoke_all(
    name: str, url_of: Url, together: Together, processes: list[Process]
) -> None:
    url = url_of(name)
    each = [{"revoker": i == 0} for i in range(8)]
    calls, *issued = together("issue_or_revoke_all", url, *each, principal="alice", times=300)
    tokens = [token for one in issued for token in one]
    last_call_ns = calls[-1][0]
    covered = [token_id for token_id, tracked_ns in tokens if tracked_ns < last_call_ns]
    assert covered, "no token was issued before the last revoke_all: nothing was shown"
    processes[3].ask("good", url, tokens=covered)
    assert processes[3].answer() == []
    # and none is lost to a later one: what the overlapping calls did not count, this one does
    state = open_state(url, PATIENT)
    assert sum(count for _, count in calls) + state.revocations.revoke_principal("alice") == len(tokens)
    state.close()
    processes[5].ask("good", url, tokens=[token_id for token_id, _ in tokens])
    assert processes[5].answer() == []


@pytest.mark.parametrize("name", RIGHT)
def test_concurrent_revocations_are_all_kept(name: str, url_of: Url, together: Together) -> None:
    url = url_of(name)
    each = [{"tokens": [f"t{i}-{n}" for n in range(50)]} for i in range(8)]
    together("revoke_each", url, *each)
    everything = [token for one in each for token in one["tokens"]]
    assert together("good", url, tokens=everything) == [[]] * 8


@pytest.mark.parametrize("name", RIGHT)
def test_eight_writers_lose_no_trace_and_fork_no_chain(name: str, url_of: Url, together: Together) -> None:
    url = url_of(name)
    written = together("record", url, principal="alice", traces=60)
    assert [failed for _, failed in written] == [[]] * 8
    state = open_state(url, PATIENT)
    store: Any = state.traces
    listed = [trace.action_id for trace in store.list_all()]
    assert sorted(listed) == sorted(action for actions, _ in written for action in actions)
    for actions, _ in written:
        assert [action for action in listed if action in set(actions)] == actions, "a writer's own order"
    result = store.verify_chain()
    assert (result.ok, result.records_checked) == (True, 480), result.detail
    state.close()


@pytest.mark.parametrize("name", RIGHT)
def test_the_cap_on_handles_is_the_deployments(name: str, url_of: Url, together: Together) -> None:
    url = url_of(name)
    stored = [handle for one in together("keep", url, handles=20) for handle in one]
    state = open_state(url, PATIENT)
    kept = [handle for handle in stored if state.handles._describe(handle)]  # type: ignore[attr-defined]
    assert len(kept) == 50
    state.close()


@pytest.mark.parametrize("name", RIGHT)
def test_a_budget_is_spent_once(name: str, url_of: Url, together: Together) -> None:
    through = together("spend", url_of(name), invocations=100, tokens=25)
    assert sum(through) * 25 == 10_000
    assert sum(n > 0 for n in through) > 1, "one process had it all: nothing was shown"


@pytest.mark.parametrize("name", ["sqlite", "redis", "redis+unix", "redis+cluster", "cached+redis"])
def test_a_state_may_be_used_on_both_sides_of_a_fork(
    name: str, url_of: Url, processes: list[Process]
) -> None:
    url = url_of(name)
    processes[0].ask("inherited", url, token_id="t1")
    assert processes[0].answer() == 0
    processes[0].ask("good", url, tokens=["t1", "t2"])
    assert processes[0].answer() == ["t2"]


@pytest.mark.parametrize("name", ["naive+redis"])
def test_a_limiter_that_reads_and_writes_back_admits_too_many(
    name: str, url_of: Url, together: Together
) -> None:
    admitted = together("acquire", url_of(name), key="k", limit=500, window_s=3600, attempts=625)
    assert sum(admitted) > 500


@pytest.mark.parametrize("name", ["naive+redis"])
def test_revocations_that_are_written_back_are_lost(name: str, url_of: Url, together: Together) -> None:
    url = url_of(name)
    each = [{"tokens": [f"t{i}-{n}" for n in range(50)]} for i in range(8)]
    together("revoke_each", url, *each)
    everything = [token for one in each for token in one["tokens"]]
    lost = together("good", url, tokens=everything)[0]
    assert lost
