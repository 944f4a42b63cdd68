"""A Redis Cluster as one server: each question goes to the node that has the key's slot."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from typing import Any, TypeAlias

from redis.crc import key_slot

from lab.state.redis.channel import Argument
from lab.state.redis.link import Link, Moved, Script, Unfit, Wire
from lab.state.redis.multiplexed import MultiplexedLink
from lab.state.seam import StateUnavailable

Address: TypeAlias = tuple[str, int]
Node: TypeAlias = Link | MultiplexedLink

_REDIRECTIONS = 5
_MAP_EVERY_S = 1.0
"""Seconds after which the nodes are asked again, if none could tell which node has a slot."""


class Cluster:
    """One `Link` for each node. If a node cannot be reached, calls about its own slots fail, and all others go on.

    Redirections are followed, because a node that redirects has not carried out the command. No other command is
    sent twice.
    """

    def __init__(self, seeds: tuple[Address, ...], link: Callable[[Address], Node]) -> None:
        self._seeds = seeds
        self._link = link
        self._links: dict[Address, Node] = {}
        self._begin()

    def _begin(self) -> None:
        self._pid = os.getpid()
        self._owners: dict[int, Address] = {}
        self._ask_again_s = 0.0

    def call(self, key: str, *command: Argument) -> Any:
        """See `Link.call`."""
        return self._routed(key, lambda link, asking: link.call(key, *command, asking=asking))

    def run(self, script: Script, keys: tuple[str, ...], *arguments: Argument) -> Any:
        """See `Link.run`."""
        return self._routed(keys[0], lambda link, asking: link.run(script, keys, *arguments, asking=asking))

    def start(self, script: Script, keys: tuple[str, ...], *arguments: Argument) -> Callable[[], Any]:
        """See `Server.start`. A script that is redirected is sent again when the caller waits for its answer."""
        slot = key_slot(keys[0].encode())
        link = self._owner(slot)
        try:
            waiting = link.start(script, keys, *arguments)
        except Moved:
            return lambda: self.run(script, keys, *arguments)

        def answer() -> Any:
            try:
                return waiting()
            except Moved:
                # a node that redirects has not carried out the command
                return self.run(script, keys, *arguments)
            except StateUnavailable:
                self._owners.pop(slot, None)
                raise

        return answer

    def warnings(self) -> list[str]:
        """See `Server.warnings`. The warnings of every node are returned."""
        return [warning for link in self._links.values() for warning in link.warnings()]

    def listener(self, key: str) -> Wire:
        """See `Server.listener`."""
        # a node that answers this has the slot, or has just named the node that has it
        self.call(key, "GET", key)
        return self._owner(key_slot(key.encode())).listener(key)

    def examine(self) -> None:
        """See `Link.examine`. Every seed that answers must be fit, and at least one must answer."""
        away: StateUnavailable | None = None
        there = 0
        for seed in self._seeds:
            try:
                self._to(seed).examine()
                there += 1
            except Unfit:
                raise
            except StateUnavailable as error:
                away = error
        if away and not there:
            raise away

    def close(self) -> None:
        """Close this process's connections."""
        for link in self._links.values():
            link.close()

    def _routed(self, key: str, question: Callable[[Node, bool], Any]) -> Any:
        slot = key_slot(key.encode())
        link, asking = self._owner(slot), False
        for _ in range(_REDIRECTIONS):
            try:
                return question(link, asking)
            except Moved as moved:
                address = (moved.host, moved.port)
                link, asking = self._to(address), moved.for_now
                if not moved.for_now:
                    self._owners[slot] = address
            except StateUnavailable:
                # another node may have taken over
                self._owners.pop(slot, None)
                raise
        raise StateUnavailable(f"the cluster redirected a question about slot {slot} {_REDIRECTIONS} times")

    def _owner(self, slot: int) -> Node:
        if self._pid != os.getpid():
            self._begin()
        if slot not in self._owners:
            self._read_map(slot)
        return self._to(self._owners[slot])

    def _read_map(self, slot: int) -> None:
        """Ask the nodes, and first those that are known already, which node has which slots.

        Raises:
            StateUnavailable: No node can tell which node has `slot`.
        """
        if time.monotonic() < self._ask_again_s:
            raise StateUnavailable(
                f"no node of the cluster is known to have slot {slot}; not asked again yet"
            )
        problems = []
        for address in dict.fromkeys((*self._links, *self._seeds)):
            try:
                ranges = self._to(address).call("", "CLUSTER", "SLOTS")
            except StateUnavailable as error:
                problems.append(str(error))
                continue
            for first, last, (host, port, *_), *_ in ranges:
                owner = (host.decode() if host else address[0], int(port))
                self._owners.update(dict.fromkeys(range(first, last + 1), owner))
            if slot in self._owners:
                return
            problems.append(f"{address[0]}:{address[1]} knows no owner of slot {slot}")
        # only now: while a first call waits for the map, the calls beside it ask too, and are not refused
        self._ask_again_s = time.monotonic() + _MAP_EVERY_S
        raise StateUnavailable("; ".join(problems))

    def _to(self, address: Address) -> Node:
        if address not in self._links:
            self._links[address] = self._link(address)
        return self._links[address]
