"""The faults of hosts: which deployments can have them, and that none counts as landed which took no effect.

Real hosts are disturbed by ``make test-swarm``.
"""

from dataclasses import dataclass, field

import pytest

from kernel_lab.bad_input import BadInput
from kernel_lab.cli.run import _faults
from kernel_lab.deployments.attached import AttachedStack
from kernel_lab.deployments.live import Node
from kernel_lab.faults import hosts as of_hosts
from kernel_lab.run import registry

NODES = tuple(Node(id=f"n{host}", host=host, address=f"10.0.0.{host}") for host in "123")


@dataclass
class ThreeHosts:
    """Three hosts in memory, which do what they are told, or not."""

    obeys: bool = True
    spare: Node | None = NODES[2]
    where: dict[str, str] = field(default_factory=lambda: {"t1": "1", "t2": "2", "t3": "3"})
    away: set[str] = field(default_factory=set)
    drained: set[str] = field(default_factory=set)

    def lacks(self, host):
        return "" if self.obeys else f"nobody said how {host} is cut off"

    async def cut(self, host):
        if self.obeys:
            self.away.add(host)

    async def heal(self, host):
        self.away.discard(host)

    async def reaches(self, node):
        return node.host not in self.away

    async def reaches_store(self):
        return "store" not in self.away

    async def tasks(self):
        return dict(self.where)

    async def roll(self):
        if self.obeys:
            self.where = {f"new-{task}": host for task, host in self.where.items()}

    async def drain(self, node):
        self.drained.add(node.host)
        if self.obeys:
            self.where = {task: "1" if host == node.host else host for task, host in self.where.items()}

    async def activate(self, node):
        self.drained.discard(node.host)

    async def all_ready(self):
        return not self.away


def live(hosts, name="hosts-redis"):
    return AttachedStack(
        deployment=registry.hosts()[name], base_url="http://127.0.0.1:1", expected_workers=6, hosts=hosts
    )


@pytest.mark.parametrize("name", registry.host_faults())
async def test_a_fault_lands_and_is_ended(name):
    hosts = ThreeHosts()
    async with registry.host_faults()[name].inject(live(hosts), None) as landing:
        assert landing.landed
    assert not hosts.away | hosts.drained


@pytest.mark.parametrize("name", registry.host_faults())
async def test_what_took_no_effect_did_not_land(name, monkeypatch):
    monkeypatch.setattr(of_hosts, "TIMEOUT_S", 0.1)
    monkeypatch.setattr(of_hosts, "POLL_S", 0.01)
    async with registry.host_faults()[name].inject(live(ThreeHosts(obeys=False)), None) as landing:
        assert not landing.landed


async def test_a_host_without_workers_is_no_host_that_was_lost():
    hosts = ThreeHosts(where={"t1": "1", "t2": "2"})
    for name in ("cut_host", "drain_host"):
        async with registry.host_faults()[name].inject(live(hosts), None) as landing:
            assert not landing.landed


def test_who_cannot_have_them_is_told_why():
    faults = registry.host_faults()
    assert "does not span hosts" in faults["rolling_update"].inapplicable(live(None))
    assert "nobody said how 3" in faults["cut_host"].inapplicable(live(ThreeHosts(obeys=False)))
    assert "nobody said how store" in faults["cut_store"].inapplicable(live(ThreeHosts(obeys=False)))
    assert "each of its hosts" in faults["drain_host"].inapplicable(live(ThreeHosts(spare=None)))
    assert faults["cut_store"].excluded(registry.hosts()["hosts-memory"]) == "it has no store server"


def test_all_means_those_of_what_is_measured():
    assert {one.name for one in _faults(["all"], on_hosts=True)} == set(registry.host_faults())
    assert {one.name for one in _faults(["all"], on_hosts=False)} == set(registry.faults())
    with pytest.raises(BadInput, match=r"--fault cut_host: is a fault of a swarm .*; one of: kill_worker"):
        _faults(["cut_host"], on_hosts=False)
    with pytest.raises(BadInput, match="--fault kill_worker: is a fault of deployments that the lab"):
        _faults(["kill_worker"], on_hosts=True)
