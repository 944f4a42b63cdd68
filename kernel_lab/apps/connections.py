"""Connection policies for a service that is not the lab's: see `kernel_lab.traffic.connections`.

``fresh``: each operation opens a connection of its own. ``keep_alive``: each caller keeps one connection.
``round_robin``: kept connections that are pinned to every worker, used in turn. Where the replies do not name
their worker, the connections are kept, but nobody knows their workers.
"""

from __future__ import annotations

import asyncio
import itertools
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass, field
from typing import Protocol

import httpx

from kernel_lab.apps.http import Http, open_client
from kernel_lab.traffic.between import MOST_WORKERS
from kernel_lab.traffic.connections import Policy

PER_WORKER = 2
"""Connections that are pinned to each worker."""
WITHIN_S = 20.0
"""The most seconds for which connections are opened until every worker was met."""


class CannotPin(RuntimeError):  # noqa: N818 - it names a thing
    """No connection can be kept to a worker; the message says why."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """The address of the service, and the headers of every request."""

    url: str
    ready: str = "/"
    headers: dict[str, str] = field(default_factory=dict)
    insecure: bool = False
    by_address: bool = False
    """Callers are told apart by their address, so each caller uses a different address."""

    def open(self, caller: int | None = None) -> httpx.AsyncClient:
        """A client of one connection, for a caller by number."""
        address = None
        if self.by_address and caller is not None:
            # 127.1.0.1 and on: every address of 127.0.0.0/8 is this machine
            address = f"127.{1 + caller // 62_500}.{caller // 250 % 250}.{1 + caller % 250}"
        return open_client(self.url, insecure=self.insecure, address=address)

    def http(self, client: httpx.AsyncClient) -> Http:
        """The requests of one operation over a client."""
        return Http(client, self.headers)


@dataclass(slots=True)
class _Kept:
    client: httpx.AsyncClient
    worker: str | None = None
    """The worker that it is pinned to."""
    address: object = None
    name: str = ""
    lock: asyncio.Lock = field(default_factory=asyncio.Lock)


class Link:
    """One operation's requests and its connection's name."""

    def __init__(self, http: Http, names: Iterator[str], kept: _Kept | None = None) -> None:
        self.http = http
        self._names = names
        self._kept = kept

    def name(self) -> str:
        """The history's name of the connection: a reconnect gets another one."""
        if self._kept is None:
            return next(self._names)
        if self.http.address is None or self.http.address != self._kept.address:
            self._kept.address, self._kept.name = self.http.address, next(self._names)
        return self._kept.name


class Links(Protocol):
    """The connections of one cell."""

    @property
    def policy(self) -> Policy:
        """The connection policy that they follow."""
        ...

    @property
    def lanes(self) -> int:
        """The number of connections or workers that a call can be sent to by choice; 0 means none."""
        ...

    def borrow(self, caller: int, lane: int | None) -> AbstractAsyncContextManager[Link]:
        """The requests of one operation, and the name of their connection once they are done."""
        ...

    async def aclose(self) -> None:
        """Close what is open."""
        ...


class Fresh:
    """A new connection for every operation."""

    policy = Policy.FRESH
    lanes = 0

    def __init__(self, place: Place, names: Iterator[str]) -> None:
        self._place = place
        self._names = names

    @asynccontextmanager
    async def borrow(self, caller: int, lane: int | None) -> AsyncIterator[Link]:  # noqa: ARG002
        """A connection that is closed after the operation."""
        async with self._place.open(caller) as client:
            yield Link(self._place.http(client), self._names)

    async def aclose(self) -> None:
        """Do nothing: no connection stays open."""


class KeepAlive:
    """One connection for each caller."""

    policy = Policy.KEEP_ALIVE
    lanes = 0

    def __init__(self, place: Place, names: Iterator[str]) -> None:
        self._place = place
        self._names = names
        self._kept: dict[int, _Kept] = {}

    @asynccontextmanager
    async def borrow(self, caller: int, lane: int | None) -> AsyncIterator[Link]:  # noqa: ARG002
        """The caller's connection, once it is free."""
        kept = self._kept.setdefault(caller, _Kept(self._place.open(caller)))
        async with kept.lock:
            yield Link(self._place.http(kept.client), self._names, kept)

    async def aclose(self) -> None:
        """Close what is open."""
        await _close([kept.client for kept in self._kept.values()])


class RoundRobin:
    """Kept connections, a lane for each worker; or, where workers are not named, a lane for each connection."""

    policy = Policy.ROUND_ROBIN

    def __init__(self, place: Place, names: Iterator[str], lanes: list[list[_Kept]]) -> None:
        self._place = place
        self._names = names
        self._lanes = lanes
        self._turn = itertools.count()

    @property
    def lanes(self) -> int:
        """The number of lanes."""
        return len(self._lanes)

    @classmethod
    async def pin(cls, place: Place, names: Iterator[str], *, workers: int, named: bool) -> RoundRobin:
        """Open connections until every worker was met.

        Raises:
            CannotPin: The server closes its connections, or some workers were never met.
        """
        pools: dict[str, list[_Kept]] = {}
        spare: list[httpx.AsyncClient] = []
        deadline = time.monotonic() + WITHIN_S
        # where it is not known which worker a connection meets, each connection is a lane
        wanted, per_worker = (workers, PER_WORKER) if named else (4 * workers, 1)
        try:
            while sum(len(pool) >= per_worker for pool in pools.values()) < wanted:
                if time.monotonic() > deadline:
                    met = len(pools)
                    raise CannotPin(
                        f"{met} of {workers} workers were met by kept connections in {WITHIN_S:g} s"
                    )
                client = place.open()
                spare.append(client)
                first, again = place.http(client), place.http(client)
                await first.get(place.ready)
                await again.get(place.ready)
                if first.address is None or first.address != again.address:
                    raise CannotPin(
                        "the server closes a connection after each reply, so none can be kept to a worker"
                    )
                worker = again.workers[-1] if named and again.workers else f"connection {len(pools):03}"
                pool = pools.setdefault(worker, [])
                if len(pools) > MOST_WORKERS:
                    raise CannotPin(
                        f"more than {MOST_WORKERS:,} workers were named; the header that names the worker may name the "
                        "request"
                    )
                if len(pool) < per_worker:
                    pool.append(_Kept(spare.pop(), worker if named else None))
        except BaseException:
            await _close([kept.client for pool in pools.values() for kept in pool])
            raise
        finally:
            await _close(spare)
        return cls(place, names, [pools[worker] for worker in sorted(pools)])

    @asynccontextmanager
    async def borrow(self, caller: int, lane: int | None) -> AsyncIterator[Link]:  # noqa: ARG002
        """A connection of the lane, once one is free. Without a lane, it is a connection of the next lane."""
        turn = next(self._turn)
        pool = self._lanes[(turn if lane is None else lane) % len(self._lanes)]
        kept = next((one for one in pool if not one.lock.locked()), pool[turn % len(pool)])
        async with kept.lock:
            http = self._place.http(kept.client)
            yield Link(http, self._names, kept)
            if kept.worker is not None and http.workers and http.workers[-1] != kept.worker:
                await self._pin_again(kept)

    async def _pin_again(self, kept: _Kept) -> None:
        """Another connection to the same worker, if the worker is met again; otherwise the connection that it had."""
        tried: list[httpx.AsyncClient] = []
        try:
            for _ in range(40):
                tried.append(self._place.open())
                http = self._place.http(tried[-1])
                await http.get(self._place.ready)
                if http.workers and http.workers[-1] == kept.worker:
                    tried[-1], kept.client = kept.client, tried[-1]
                    return
            kept.worker = None
        except (httpx.HTTPError, OSError):
            pass  # nobody answers: the next call will tell
        finally:
            await _close(tried)

    async def aclose(self) -> None:
        """Close what is open."""
        await _close([kept.client for pool in self._lanes for kept in pool])


async def _close(clients: list[httpx.AsyncClient]) -> None:
    await asyncio.gather(*(client.aclose() for client in clients), return_exceptions=True)


async def open_links(
    policy: Policy, place: Place, names: Iterator[str], *, workers: int, named: bool
) -> Links:
    """The connections of one cell.

    Raises:
        CannotPin: See `RoundRobin.pin`.
    """
    if policy is Policy.FRESH:
        return Fresh(place, names)
    if policy is Policy.KEEP_ALIVE:
        return KeepAlive(place, names)
    if place.by_address:
        raise CannotPin("callers are told apart by their address, so they cannot share pinned connections")
    return await RoundRobin.pin(place, names, workers=workers, named=named)
