"""A real cluster of three nodes: redirections, a node that is away, slots that move."""

import asyncio
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from places import PATIENT
from redis.crc import key_slot

from beside_upstream.servers import Valkey, three_nodes, until
from lab.state import State, StateOptions, StateUnavailable, open_state
from lab.state.redis.channel import Channel, Place, ServerError
from lab.state.redis.cluster import Cluster

Url = Callable[[str], str]


def test_kinds_and_windows_are_spread_over_the_nodes(
    url_of: Url, cluster: list[Valkey], opened: Callable[..., State]
) -> None:
    state = opened("redis+cluster")
    for i in range(60):
        assert state.limiter.check(f"alice:c{i}", 1, 3600)
    windows = []
    for node in cluster:
        with node.client() as client:
            windows.append(len([key for key in client.scan_iter() if ":window:" in key]))
    assert all(windows)


def test_a_wrong_map_is_put_right_by_the_first_redirection(opened: Callable[..., State]) -> None:
    state = opened("redis+cluster")
    assert state.limiter.check("k", 1, 3600)
    server: Any = state.limiter.server  # type: ignore[attr-defined]
    slot = key_slot(f"{state.limiter._prefix}k".encode())  # type: ignore[attr-defined]
    owner = server._owners[slot]
    server._owners[slot] = next(address for address in server._links if address != owner)
    assert not state.limiter.check("k", 1, 3600)
    assert server._owners[slot] == owner


@pytest.fixture
def own() -> Iterator[list[Valkey]]:
    """A cluster that the test may hurt."""
    with three_nodes(patience_s=30) as nodes:
        yield nodes


def test_a_cluster_that_loses_a_node_and_a_slot_that_moves(own: list[Valkey]) -> None:
    url = "redis+cluster://" + ",".join(f"127.0.0.1:{node.port}" for node in own)
    state = open_state(url, StateOptions(secret="s", timeout_ms=1000))
    state.revocations.revoke("t1")
    move(own, key_slot(b"{lab:revocations}"), meanwhile=lambda: state.revocations.is_revoked("t1"))
    state.revocations.revoke("t2")
    assert state.revocations.is_revoked("t1")
    assert state.revocations.is_revoked("t2")

    handle = state.handles.store("c", [1])
    slots = {kind: key_slot(f"{{lab:{kind}}}".encode()) for kind in ("handles", "revocations")}
    owner = next(node for node in own if owns(node, slots["revocations"]))
    assert not owns(owner, slots["handles"]), "both kinds on one node: nothing would be shown"
    owner.kill()
    with pytest.raises(StateUnavailable):
        state.revocations.is_revoked("t1")
    # a node takes its own slots with it, until the others give up the cluster as a whole
    assert state.handles.get(handle.handle_id) == [1]
    with pytest.raises(StateUnavailable):
        state.revocations.is_revoked("t1")
    state.close()


def owns(node: Valkey, slot: int) -> bool:
    with node.client() as client:
        shards: Any = client.execute_command("CLUSTER", "SLOTS")
    return any(first <= slot <= last and owner[1] == node.port for first, last, owner, *_ in shards)


def move(nodes: list[Valkey], slot: int, *, meanwhile: Callable[[], bool]) -> None:
    """Hand a slot with its keys to a node that has neither it nor the handles.

    What is asked meanwhile is true, though the node that still has the slot no longer has the keys.
    """
    handles = key_slot(b"{lab:handles}")
    source = next(node for node in nodes if owns(node, slot))
    target = next(node for node in nodes if node is not source and not owns(node, handles))
    with source.client() as old, target.client() as new:
        old_id, new_id = old.execute_command("CLUSTER", "MYID"), new.execute_command("CLUSTER", "MYID")
        new.execute_command("CLUSTER", "SETSLOT", slot, "IMPORTING", old_id)
        old.execute_command("CLUSTER", "SETSLOT", slot, "MIGRATING", new_id)
        for key in old.execute_command("CLUSTER", "GETKEYSINSLOT", slot, 1000):
            old.execute_command("MIGRATE", "127.0.0.1", target.port, key, 0, 5000)
        assert meanwhile()
        new.execute_command("CLUSTER", "SETSLOT", slot, "NODE", new_id)
        old.execute_command("CLUSTER", "SETSLOT", slot, "NODE", new_id)
    until(lambda: all(owns(target, slot) for _ in nodes), "the slot has moved")


async def test_a_script_that_a_node_with_a_coming_slot_does_not_know_is_allowed_there_again(
    own: list[Valkey],
) -> None:
    source, target = own[0], own[1]
    key = next(f"k{i}" for i in range(1000) if owns(source, key_slot(f"k{i}".encode())))
    with source.client() as old, target.client() as new:
        new.execute_command(
            "CLUSTER", "SETSLOT", key_slot(key.encode()), "IMPORTING", old.execute_command("CLUSTER", "MYID")
        )
    place = Place(host="127.0.0.1", port=target.port)
    channel = Channel(place, timeout_s=20, examine=lambda _: None, ended=lambda _: None)
    text = "redis.call('SET', KEYS[1], ARGV[1]) return ARGV[1]"
    known = ("EVALSHA", "0" * 40, 1, key, "kept")
    # ASKING counts for one command: the text, which goes after NOSCRIPT, needs another one
    reply = channel.send(known, again=("EVAL", text, 1, key, "kept"), asking=True)
    # what was sent in the same turn is not allowed there, and says so
    other = channel.send(("GET", key))
    assert await reply == b"kept"
    with pytest.raises(ServerError, match=r"^MOVED "):
        await other
    channel.close()
    await asyncio.sleep(0.01)


def test_a_cluster_none_of_whose_nodes_is_there_is_unavailable() -> None:
    state = open_state("redis+cluster://127.0.0.1:1,127.0.0.1:2", PATIENT)
    with pytest.raises(StateUnavailable):
        state.revocations.is_revoked("t1")
    state.close()


class Answering:
    """A node that tells who has which slots; another call of the same worker interrupts the first question."""

    def __init__(self) -> None:
        self.interrupt: Callable[[], Any] = lambda: None

    def call(self, key: str, *command: str, asking: bool = False) -> Any:
        del key, asking
        if command[0] != "CLUSTER":
            return command[0]
        interrupt, self.interrupt = self.interrupt, lambda: None
        interrupt()
        return [[0, 16383, (b"127.0.0.1", 1)]]


def test_a_call_beside_the_first_one_waits_for_the_map_and_is_not_refused() -> None:
    node: Any = Answering()
    cluster = Cluster((("127.0.0.1", 1),), lambda address: node)
    beside: list[Any] = []
    node.interrupt = lambda: beside.append(cluster.call("another key", "GET"))
    assert cluster.call("a key", "GET") == "GET"
    assert beside == ["GET"]


def test_a_cluster_that_knows_no_owner_is_not_asked_again_at_once() -> None:
    asked: list[str] = []

    class Ignorant(Answering):
        def call(self, key: str, *command: str, asking: bool = False) -> Any:
            del key, asking
            asked.append(command[0])
            return []

    cluster = Cluster((("127.0.0.1", 1),), lambda address: Ignorant())  # type: ignore[arg-type, return-value]
    with pytest.raises(StateUnavailable, match="knows no owner"):
        cluster.call("a key", "GET")
    with pytest.raises(StateUnavailable, match="not asked again yet"):
        cluster.call("a key", "GET")
    assert asked == ["CLUSTER"]
