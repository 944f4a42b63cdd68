"""Two versions side by side, and traffic that moves to a second stack: where, how they land, and how they end."""

from __future__ import annotations

import subprocess
from types import SimpleNamespace

import msgspec
import pytest

from kernel_lab.deployments import AppSpec, NativeStack, StackFailed, StackUnavailable
from kernel_lab.deployments.native import packages
from kernel_lab.faults import rollouts
from kernel_lab.faults.fault import prepared
from kernel_lab.faults.operations import setting
from kernel_lab.judge.history import HistoryWriter
from kernel_lab.run import registry
from kernel_lab.traffic.client import Principal, Recorder, RecordingClient
from kernel_lab.traffic.connections import Fresh

pytestmark = pytest.mark.xdist_group("stack")
CAPABILITY = "billing.get_invoice"


def stack_of(name, fault, folder, **changed):
    deployment = msgspec.structs.replace(registry.deployments()[name], **changed)
    assert fault.excluded(deployment) == ""
    return NativeStack(fault.shape(deployment), app=AppSpec(root=registry.root()), folder=folder)


async def revoked(agent):
    token = (await agent.grant(CAPABILITY)).body["token"]
    assert (await agent.revoke(token["token_id"])).ok
    return token


async def answers(agent, token):
    """What the workers that are met say of a token; of two replicas of one worker both are met."""
    return {(await agent.invoke(token)).error for _ in range(4)}


@pytest.mark.live
@pytest.mark.slow
async def test_two_versions_behind_one_balancer_know_each_others_revocations_through_a_store(tmp_path):
    fault = registry.faults()["mixed_version"]
    if why := rollouts.no_other_version():
        pytest.skip(why)
    async with stack_of("sqlite", fault, tmp_path, workers=2) as live:
        connections = Fresh(live.base_url, (f"k{number}" for number in range(100)))
        with HistoryWriter(tmp_path / "history.jsonl") as writer:
            agent = RecordingClient(Recorder(writer), connections, Principal(name="p"))
            before = await revoked(agent)
            async with prepared(fault, live) as ready, ready.inject(live, None) as landing:
                assert landing.landed, landing.evidence
                assert landing.evidence.startswith("gunicorn-r1 serves weaver-kernel 0.11.0")
                meanwhile = [await revoked(agent) for _ in range(2)]  # one of each version
                for token in (before, *meanwhile):
                    assert await answers(agent, token) == {"token_revoked"}
            assert await answers(agent, meanwhile[0]) == {"token_revoked"}
        await connections.aclose()
        assert live.alive()
        assert str(packages.cache()) not in setting(live, "gunicorn-r1", rollouts.SEARCH)


@pytest.mark.live
@pytest.mark.slow
@pytest.mark.parametrize(("name", "known"), [("single", None), ("sqlite", "token_revoked")])
async def test_a_switch_to_a_second_stack_forgets_what_lived_in_the_first_one(tmp_path, name, known):
    fault = registry.faults()["blue_green"]
    async with stack_of(name, fault, tmp_path, workers=1) as live:
        connections = Fresh(live.base_url, (f"k{number}" for number in range(100)))
        with HistoryWriter(tmp_path / "history.jsonl") as writer:
            agent = RecordingClient(Recorder(writer), connections, Principal(name="p"))
            async with prepared(fault, live) as ready:
                token = await revoked(agent)
                assert await answers(agent, token) == {"token_revoked"}
                async with ready.inject(live, None) as landing:
                    assert landing.evidence == (
                        "32 calls met 1 workers before the switch and 1 after it, of whom 0 had been met before"
                    )
                    assert landing.landed
                assert await answers(agent, token) == {known}
        await connections.aclose()
        assert live.alive()


async def test_a_balancer_that_led_everywhere_is_no_switch():
    async with registry.faults()["blue_green"].inject(None, None) as landing:
        assert not landing.landed


class Unbalanced:
    """A live deployment whose balancer does not follow."""

    def __init__(self, deployment):
        self.deployment, self.servers, self.base_url = deployment, self, "http://127.0.0.1:1"

    async def balance(self, replicas):
        self.led_to = list(replicas)


async def test_a_switch_that_meets_the_old_workers_did_not_land(monkeypatch):
    async def met(live):
        return {"r0/1/a"}

    monkeypatch.setattr(rollouts, "_met", met)
    fault = registry.faults()["blue_green"]
    live = Unbalanced(fault.shape(registry.deployments()["sticky"]))
    async with prepared(fault, live) as ready:
        assert live.led_to == [0, 1, 2, 3]
        async with ready.inject(live, None) as landing:
            assert live.led_to == [4, 5, 6, 7]
            assert not landing.landed
            assert "1 had been met before" in landing.evidence


async def test_a_replica_that_kept_its_version_did_not_land(monkeypatch, tmp_path):
    started = []

    async def again(servers, name, env):
        started.append((name, env))

    async def version(url):
        return "0.12.0"

    monkeypatch.setattr(rollouts, "again", again)
    monkeypatch.setattr(rollouts, "_version", version)
    monkeypatch.setattr(rollouts, "setting", lambda *_: "/before")
    monkeypatch.setattr(rollouts, "other_version", lambda _: tmp_path)
    live = SimpleNamespace(
        deployment=registry.deployments()["replicas"], servers=object(), replica_urls=("http://a", "http://b")
    )
    async with registry.faults()["mixed_version"].inject(live, None) as landing:
        assert not landing.landed
    assert started == [
        ("gunicorn-r1", {"PYTHONPATH": f"{tmp_path}:/before"}), ("gunicorn-r1", {"PYTHONPATH": "/before"})
    ]  # fmt: skip


def test_where_two_versions_can_stand_side_by_side(monkeypatch):
    monkeypatch.setattr(rollouts, "no_other_version", lambda: "it cannot be had")
    fault, deployments = registry.faults()["mixed_version"], registry.deployments()
    said = {
        name: fault.excluded(deployments[name])
        for name in ("single", "sidecar", "remote", "redis", "replicas")
    }
    assert said["single"] == said["sidecar"] == "it has one kernel, and a second version is a second kernel"
    assert "one kernel is in a process of its own" in said["remote"]
    assert said["redis"] == said["replicas"] == "it cannot be had"


def test_what_is_started_promises_the_same_as_the_deployment_that_is_named():
    faults, deployments = registry.faults(), registry.deployments()
    mixed, switched = faults["mixed_version"].shape, faults["blue_green"].shape
    redis, sticky = deployments["redis"], deployments["sticky"]
    assert (mixed(redis).replicas, mixed(redis).workers, mixed(redis).routing) == (2, 2, "round_robin")
    assert mixed(sticky) == sticky
    assert (switched(redis).replicas, switched(redis).workers, switched(redis).routing) == (
        2,
        4,
        "round_robin",
    )
    assert (switched(sticky).replicas, switched(sticky).routing) == (8, "hash_principal")
    for one in deployments.values():
        for shaped in (mixed(one), switched(one)):
            assert (shaped.name, shaped.state, shaped.store, shaped.shares) == (
                one.name, one.state, one.store, one.shares
            )  # fmt: skip


@pytest.fixture
def elsewhere(monkeypatch, tmp_path):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    return tmp_path / "kernel-lab"


def test_a_version_that_cannot_be_installed_is_the_reason_and_leaves_nothing(monkeypatch, elsewhere):
    failed = subprocess.CompletedProcess([], 1, "", "ERROR: No matching\n distribution found")
    monkeypatch.setattr(packages.subprocess, "run", lambda *_, **__: failed)
    with pytest.raises(
        StackUnavailable, match=r"0\.11\.0 cannot be installed: ERROR: No matching distribution found"
    ):
        packages.other_version("0.11.0")
    assert list(elsewhere.iterdir()) == []


def test_an_installation_that_takes_too_long_is_the_reason(monkeypatch, elsewhere):
    def late(*_, **__):
        raise subprocess.TimeoutExpired("pip", 1)

    monkeypatch.setattr(packages.subprocess, "run", late)
    with pytest.raises(StackUnavailable, match="cannot be installed: not within 90 s"):
        packages.other_version("0.11.0")


def test_a_version_is_installed_once(monkeypatch, elsewhere):
    installed = []

    def install(version, folder):
        installed.append(version)
        folder.mkdir()
        (folder / "weaver_kernel.py").touch()

    monkeypatch.setattr(packages, "_install", install)
    assert (
        packages.other_version("0.11.0")
        == packages.other_version("0.11.0")
        == elsewhere / "weaver-kernel-0.11.0"
    )
    assert installed == ["0.11.0"]
    assert [one.name for one in elsewhere.rglob("*")] == ["weaver-kernel-0.11.0", "weaver_kernel.py"]


def test_a_user_without_a_home_is_told_what_names_another_place(monkeypatch):
    def homeless(self):
        raise RuntimeError("Could not determine home directory.")

    monkeypatch.setattr(packages.Path, "expanduser", homeless)
    with pytest.raises(StackUnavailable, match="XDG_CACHE_HOME can name one"):
        packages.other_version("0.11.0")


def test_a_place_that_cannot_be_written_is_the_reason(monkeypatch, tmp_path):
    (tmp_path / "kernel-lab").write_text("a file")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    with pytest.raises(StackUnavailable, match="cannot be kept in"):
        packages.other_version("0.11.0")


async def test_a_stack_without_a_balancer_cannot_be_switched(tmp_path):
    stack = NativeStack(registry.deployments()["single"], app=AppSpec(root=registry.root()), folder=tmp_path)
    with pytest.raises(StackFailed, match="single has no balancer"):
        await stack.balance([0])
