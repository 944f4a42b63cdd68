"""Connections decide which worker a call meets; every call is written down, whatever becomes of it."""

import asyncio
import itertools
from collections import Counter
from pathlib import Path

import pytest
import pytest_asyncio

from kernel_lab.deployments import AppSpec, NativeStack
from kernel_lab.deployments.deployment import Deployment
from kernel_lab.judge.history import HistoryWriter, read_history
from kernel_lab.traffic.client import Principal, Recorder, RecordingClient
from kernel_lab.traffic.connections import Fresh, KeepAlive, RoundRobin, WorkersNotMet

ROOT = Path(__file__).resolve().parents[2]
AGENT = Principal(name="agent")

pytestmark = [pytest.mark.live, pytest.mark.asyncio(loop_scope="module")]


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def stack(tmp_path_factory):
    folder = tmp_path_factory.mktemp("stack")
    deployment = Deployment(name="memory-2", workers=2)
    async with NativeStack(deployment, app=AppSpec(root=ROOT), folder=folder) as live:
        yield live


@pytest.fixture
def record(tmp_path):
    with HistoryWriter(tmp_path / "history.jsonl") as writer:
        yield Recorder(writer)


async def grants(connector, record, count, principal=AGENT):
    client = RecordingClient(record, connector, principal)
    return [await client.grant("billing.get_invoice") for _ in range(count)]


async def test_kept_alive_a_principal_meets_one_worker_over_one_connection(stack, record, tmp_path):
    connector = KeepAlive(stack.base_url, (f"k{n}" for n in itertools.count()))
    await grants(connector, record, 12)
    await connector.aclose()
    history = read_history(tmp_path / "history.jsonl")
    assert len({op.worker for op in history}) == 1
    assert len({op.connection for op in history}) == 1


async def test_fresh_connections_are_never_used_twice_and_meet_several_workers(stack, record, tmp_path):
    connector = Fresh(stack.base_url, (f"k{n}" for n in itertools.count()))
    await grants(connector, record, 40)
    await connector.aclose()
    history = read_history(tmp_path / "history.jsonl")
    assert len({op.connection for op in history}) == 40
    assert len({op.worker for op in history}) == 2


async def test_a_pinned_connection_that_the_server_closes_is_pinned_again(stack, record, tmp_path):
    names = (f"k{n}" for n in itertools.count())
    connector = await RoundRobin.pin(stack.base_url, names, workers=2, per_worker=1)
    client = RecordingClient(record, connector, AGENT)
    client._headers["Connection"] = "close"
    for _ in range(6):
        await client.grant("billing.get_invoice", lane=1)
    await connector.aclose()
    history = read_history(tmp_path / "history.jsonl")
    assert len({op.worker for op in history}) == 1
    assert len({op.connection for op in history}) == 6


async def test_a_pinned_connection_whose_worker_is_gone_is_no_longer_pinned(stack, record):
    names = (f"k{n}" for n in itertools.count())
    connector = await RoundRobin.pin(stack.base_url, names, workers=2, per_worker=1)
    for connection in connector._all:
        connection.home = "r0/1/gone"
    client = RecordingClient(record, connector, AGENT)
    assert (await client.grant("billing.get_invoice", lane=0)).ok
    assert [connection.home for connection in connector._all].count(None) == 1
    await connector.aclose()


async def test_round_robin_takes_its_turns_exactly(stack, record, tmp_path):
    names = (f"k{n}" for n in itertools.count())
    connector = await RoundRobin.pin(stack.base_url, names, workers=2, per_worker=2)
    await grants(connector, record, 20)
    await connector.aclose()
    history = read_history(tmp_path / "history.jsonl")
    assert sorted(Counter(op.worker for op in history).values()) == [10, 10]
    assert all(a.worker != b.worker for a, b in itertools.pairwise(history))


async def test_a_lane_is_a_worker(stack, record, tmp_path):
    names = (f"k{n}" for n in itertools.count())
    connector = await RoundRobin.pin(stack.base_url, names, workers=2, per_worker=1)
    client = RecordingClient(record, connector, AGENT)
    workers = [(await client.grant("billing.get_invoice", lane=lane)).worker for lane in (0, 0, 1, 1, 2)]
    await connector.aclose()
    assert workers[0] == workers[1] == workers[4] != workers[2] == workers[3]


async def test_a_worker_that_is_never_met_is_said_and_not_waited_for(stack):
    with pytest.raises(WorkersNotMet, match="3 workers should hold 1 connections"):
        await RoundRobin.pin(stack.base_url, iter("abc" * 999), workers=3, per_worker=1, within_s=0.3)


async def test_outcomes_are_what_the_reply_says(stack, record, tmp_path):
    connector = KeepAlive(stack.base_url, (f"k{n}" for n in itertools.count()))
    agent = RecordingClient(record, connector, AGENT)
    stranger = RecordingClient(record, connector, Principal(name="stranger", roles=()))
    granted = await agent.grant("billing.get_invoice")
    made = await agent.invoke(granted.body["token"])
    await agent.expand(made.body["handle_id"])
    await agent.expand("no-such-handle")
    await agent.revoke(granted.body["token_id"])
    await agent.invoke(granted.body["token"])
    await stranger.grant("billing.update_invoice")
    await connector.aclose()
    history = read_history(tmp_path / "history.jsonl")
    assert [(op.f, op.outcome.value, op.error) for op in history] == [
        ("grant", "ok", None),
        ("invoke", "ok", None),
        ("expand", "ok", None),
        ("expand", "fail", "handle_not_found"),
        ("revoke", "ok", None),
        ("invoke", "fail", "token_revoked"),
        ("grant", "fail", "missing_role"),
    ]
    assert all(op.call_ns < op.return_ns for op in history)
    assert history[0].output.token_id == history[1].input.token_id


async def test_nobody_there_is_info_and_retires_the_client(record, tmp_path):
    connector = Fresh("http://127.0.0.1:9", (f"k{n}" for n in itertools.count()))
    client = RecordingClient(record, connector, AGENT)
    await client.grant("billing.get_invoice")
    await client.grant("billing.get_invoice")
    await connector.aclose()
    first, second = read_history(tmp_path / "history.jsonl")
    assert (first.outcome.value, first.return_ns, first.error) == ("info", None, "ConnectError")
    assert first.client != second.client


async def test_a_cancelled_call_is_still_in_the_record(stack, record, tmp_path):
    connector = Fresh(stack.base_url, (f"k{n}" for n in itertools.count()))
    client = RecordingClient(record, connector, AGENT)
    call = asyncio.create_task(client.grant("billing.get_invoice"))
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    call.cancel()
    with pytest.raises(asyncio.CancelledError):
        await call
    await connector.aclose()
    (only,) = read_history(tmp_path / "history.jsonl")
    assert (only.outcome.value, only.return_ns, only.error) == ("info", None, "cancelled")
