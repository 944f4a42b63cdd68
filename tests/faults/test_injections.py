"""Faults of stores and of operations land on a real stack and end clean."""

from __future__ import annotations

import msgspec
import psutil
import pytest

from kernel_lab.deployments import AppSpec, NativeStack, StackUnavailable
from kernel_lab.faults import operations
from kernel_lab.faults.fault import prepared
from kernel_lab.faults.stores import ask_store, port_of_store
from kernel_lab.faults.workers import servers_of
from kernel_lab.judge.history import HistoryWriter
from kernel_lab.run import registry
from kernel_lab.traffic.client import Principal, Recorder, RecordingClient
from kernel_lab.traffic.connections import Fresh

pytestmark = [pytest.mark.live]


class Ours:
    """As much of a live deployment as tells that its servers are ours."""

    servers = object()


def stack_of(name, folder, **changed):
    deployment = msgspec.structs.replace(registry.deployments()[name], **changed)
    return NativeStack(deployment, app=AppSpec(root=registry.root()), folder=folder)


async def ask(live, folder):
    """One call that reaches the store, so that there is a connection to disturb."""
    connections = Fresh(live.base_url, iter(["k0"]))
    try:
        with HistoryWriter(folder / "history.jsonl") as writer:
            agent = RecordingClient(Recorder(writer), connections, Principal(name="p"))
            assert (await agent.grant("billing.get_invoice")).ok
    finally:
        await connections.aclose()


async def lands(name, live):
    """Inject a fault and end it; what it says of itself."""
    fault = registry.faults()[name]
    assert fault.inapplicable(live) == fault.excluded(live.deployment) == ""
    ports = {one.name: one.port for one in servers_of(live).processes.values()}
    async with prepared(fault, live) as ready, ready.inject(live, None) as landing:
        assert landing.landed, landing.evidence
    assert live.alive(), live.ended()
    assert ports == {one.name: one.port for one in servers_of(live).processes.values()}
    return landing.evidence


async def test_faults_of_a_store_land_and_end(tmp_path):
    try:
        async with stack_of("redis", tmp_path, workers=1) as live:
            await ask(live, tmp_path / "before")
            for name in ("reset_store", "slow_store", "stop_store"):
                await lands(name, live)
            for name in ("evict_store", "evict_volatile"):
                await ask_store(port_of_store(live), "SET revoked 1 PX 100000")
                assert "keys were evicted" in await lands(name, live)
                assert "+OK" in await ask_store(port_of_store(live), "FLUSHALL")
            async with prepared(registry.faults()["partition_store"], live) as ready:
                await ask(live, tmp_path / "proxied")
                async with ready.inject(live, None) as landing:
                    assert landing.landed, landing.evidence
                await ask(live, tmp_path / "healed")
            assert not [one for one in psutil.Process().children() if "proxy.py" in " ".join(one.cmdline())]
            await ask_store(port_of_store(live), "SET kept 1")
            await lands("kill_store_always", live)
            assert await ask_store(port_of_store(live), "EXISTS kept") == ":1"
            await lands("kill_store", live)
    except StackUnavailable as error:
        pytest.skip(str(error))


async def test_a_partition_without_its_proxy_does_not_land():
    async with registry.faults()["partition_store"].inject(Ours(), None) as landing:
        assert not landing.landed


@pytest.mark.slow
async def test_another_secret_lands_and_ends(tmp_path):
    async with stack_of("replicas", tmp_path) as live:
        assert "a secret of its own" in await lands("rotate_secret", live)
        secrets = {
            psutil.Process(one.pid).environ()[operations.SECRET]
            for one in live.processes.values()
            if one.name.startswith("gunicorn")
        }
        assert len(secrets) == 1


@pytest.mark.slow
async def test_a_clock_that_was_set_is_put_back(tmp_path):
    if why := registry.faults()["clock_skew"].excluded(registry.deployments()["redis"]):
        pytest.skip(why)
    try:
        async with stack_of("redis", tmp_path, workers=1) as live:
            assert "s ahead" in await lands("clock_skew", live)
            # the date of an answer has whole seconds, and the machine may be busy
            assert abs(await operations.seconds_ahead(live.replica_urls[-1])) < operations.SKEW_S / 2
    except StackUnavailable as error:
        pytest.skip(str(error))


@pytest.mark.slow
async def test_a_replica_starts_without_its_store_and_finds_it_later(tmp_path):
    try:
        async with stack_of("redis", tmp_path, workers=1) as live:
            await lands("no_store_at_start", live)
    except StackUnavailable as error:
        pytest.skip(str(error))


def test_a_deployment_without_what_a_fault_breaks_is_excluded_by_its_declaration():
    faults, deployments = registry.faults(), registry.deployments()
    assert faults["evict_store"].excluded(deployments["redis"]) == ""
    assert faults["evict_store"].excluded(deployments["single"]) == "it has no store server"
    assert "cluster" in faults["partition_store"].excluded(deployments["redis-cluster"])
    assert faults["rotate_secret"].excluded(deployments["no-secret"])
