"""A disk that is full: the store refuses, forgets nothing, and goes on when there is room again."""

from __future__ import annotations

import asyncio
import itertools

import pytest

from kernel_lab.deployments import AppSpec, NativeStack, StackUnavailable
from kernel_lab.faults import disk
from kernel_lab.faults.fault import prepared
from kernel_lab.judge.history import HistoryWriter, Outcome
from kernel_lab.run import registry
from kernel_lab.traffic.client import Principal, Recorder, RecordingClient
from kernel_lab.traffic.connections import Fresh

pytestmark = [pytest.mark.live]
CAPABILITY = "billing.get_invoice"
MOST = 400
"""Grants until a store needs another block; those of Valkey take about 300 bytes each."""


@pytest.mark.slow
@pytest.mark.skipif(bool(disk.no_mount()), reason=disk.no_mount() or "-")
@pytest.mark.parametrize("name", ["sqlite", "redis"])
async def test_a_full_disk_is_refused_and_what_was_acknowledged_stays(tmp_path, name):
    fault, deployment = registry.faults()["full_disk"], registry.deployments()[name]
    assert fault.excluded(deployment) == ""
    try:
        async with (
            NativeStack(deployment, app=AppSpec(root=registry.root()), folder=tmp_path) as live,
            prepared(fault, live) as ready,
        ):
            connections = Fresh(live.base_url, (f"k{number}" for number in itertools.count()))
            with HistoryWriter(tmp_path / "history.jsonl") as writer:
                agent = RecordingClient(Recorder(writer), connections, Principal(name="p"))
                token = (await agent.grant(CAPABILITY)).body["token"]
                assert (await agent.revoke(token["token_id"])).ok
                async with ready.inject(live, None) as landing:
                    assert landing.landed, landing.evidence
                    for _ in range(MOST):
                        if (await agent.grant(CAPABILITY)).outcome is Outcome.INFO:
                            break
                    else:
                        pytest.fail(f"{MOST} grants were stored on a full disk")
                for _ in range(100):
                    if (await agent.grant(CAPABILITY)).ok:
                        break
                    await asyncio.sleep(0.1)
                assert (await agent.grant(CAPABILITY)).ok, "there is room again"
                assert (await agent.invoke(token)).error == "token_revoked"
            await connections.aclose()
            assert live.alive(), live.ended()
    except StackUnavailable as error:
        pytest.skip(str(error))


async def test_a_disk_that_was_not_made_small_is_not_filled():
    async with registry.faults()["full_disk"].inject(None, None) as landing:
        assert not landing.landed


def test_the_reason_says_where_the_disk_is_filled_instead(monkeypatch):
    monkeypatch.setattr(disk, "no_mount", lambda: "no small file system can be mounted here")
    fault, deployments = registry.faults()["full_disk"], registry.deployments()
    assert fault.excluded(deployments["single"]) == "it keeps no file"
    assert "on `redis`" in fault.excluded(deployments["redis-cached"])
    assert fault.excluded(deployments["sqlite"]) == "no small file system can be mounted here"
