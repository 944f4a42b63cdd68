"""Connection policies: which worker a call reaches is decided by the connection it goes over.

``fresh``: a new connection for each call, as with a client without keep-alive. ``keep_alive``: one connection
for each principal. It reaches one worker, and so hides the whole problem. ``round_robin``: connections pinned
to every worker, calls cycling over them: exact control on a single shared socket, and what a fair load balancer
would do. Behind nginx the balancer decides, so there ``round_robin`` is kept connections to nginx.
"""

from __future__ import annotations

import asyncio
import itertools
import time
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import asynccontextmanager
from enum import StrEnum

import httpx

from kernel_lab.traffic.address import WORKER_HEADER, Address, open_http
from kernel_lab.traffic.bounded import worker_of
from kernel_lab.traffic.client import Connection, close_all

CALL_TIMEOUT_S = 10.0
PIN_AGAIN = 40
"""Connections opened, at most, to meet a worker again."""


class Policy(StrEnum):
    """The ways in which clients hold their connections."""

    ROUND_ROBIN = "round_robin"
    FRESH = "fresh"
    KEEP_ALIVE = "keep_alive"


class WorkersNotMet(RuntimeError):  # noqa: N818 - it names a thing
    """Some workers were never met, however many connections were opened."""


class Fresh:
    """A new connection for every call."""

    policy = Policy.FRESH
    lanes = 0

    def __init__(self, place: Address | str, names: Iterator[str]) -> None:
        self._all = [
            open_http(place, kept=False, timeout_s=CALL_TIMEOUT_S, url=url) for url in Address.of(place).urls
        ]
        self._cycle = itertools.cycle(self._all)
        self._names = names

    @asynccontextmanager
    async def borrow(self, principal: str, lane: int | None) -> AsyncIterator[Connection]:  # noqa: ARG002
        """A connection that is closed after its one call."""
        yield Connection(http=next(self._cycle), names=self._names, kept=False)

    async def aclose(self) -> None:
        """Close what is open."""
        await close_all(self._all)


class KeepAlive:
    """One connection per principal, for as long as the cell lasts."""

    policy = Policy.KEEP_ALIVE
    lanes = 0

    def __init__(self, place: Address | str, names: Iterator[str]) -> None:
        self._address = Address.of(place)
        self._names = names
        self._kept: dict[str, tuple[Connection, asyncio.Lock]] = {}

    @asynccontextmanager
    async def borrow(self, principal: str, lane: int | None) -> AsyncIterator[Connection]:  # noqa: ARG002
        """The principal's connection, once it is free: HTTP/1.1 carries one call at a time."""
        if principal not in self._kept:
            http = open_http(self._address, kept=True, timeout_s=CALL_TIMEOUT_S)
            self._kept[principal] = (Connection(http=http, names=self._names), asyncio.Lock())
        connection, lock = self._kept[principal]
        async with lock:
            yield connection

    async def aclose(self) -> None:
        """Close what is open."""
        await close_all([connection.http for connection, _ in self._kept.values()])


class RoundRobin:
    """`per_worker` connections pinned to each worker; a call takes the lane it asks for, or the next one.

    A lane is a worker here, numbered in the order of their names. A server closes a connection with some
    replies (a 500, say); the lane gets another one to its worker then, unless that is gone. Behind a balancer
    a lane is just a kept connection.
    """

    policy = Policy.ROUND_ROBIN

    def __init__(self, pools: list[list[Connection]], place: Address | str = "") -> None:
        self._address = Address.of(place)
        self._all = [connection for pool in pools for connection in pool]
        self._idle: list[asyncio.LifoQueue[Connection]] = []
        for pool in pools:
            queue: asyncio.LifoQueue[Connection] = asyncio.LifoQueue()
            for connection in pool:
                queue.put_nowait(connection)
            self._idle.append(queue)
        self._cycle = itertools.count()

    @property
    def lanes(self) -> int:
        """The number of lanes."""
        return len(self._idle)

    @classmethod
    async def pin(
        cls,
        place: Address | str,
        names: Iterator[str],
        *,
        workers: int,
        per_worker: int,
        within_s: float = 30.0,
    ) -> RoundRobin:
        """Open connections until every one of `workers` workers holds `per_worker` of them.

        Raises:
            WorkersNotMet: Not all were met within `within_s` seconds.
        """
        address = Address.of(place)
        pools: dict[str, list[Connection]] = {}
        spare: list[httpx.AsyncClient] = []
        deadline = time.monotonic() + within_s
        try:
            while sum(len(pool) >= per_worker for pool in pools.values()) < workers:
                if time.monotonic() > deadline:
                    met = {worker: len(pool) for worker, pool in sorted(pools.items())}
                    raise WorkersNotMet(
                        f"{workers} workers should hold {per_worker} connections each after "
                        f"{within_s:.0f} s; met: {met}"
                    )
                if address.between is not None:
                    await address.between.may_call()
                opened = [open_http(address, kept=True, timeout_s=CALL_TIMEOUT_S) for _ in range(8)]
                spare.extend(opened)
                replies = await asyncio.gather(*(http.get("/healthz") for http in opened))
                _watch(address, replies)
                for http, reply in zip(opened, replies, strict=True):
                    worker = worker_of(reply, WORKER_HEADER)
                    if worker is None:
                        continue
                    pool = pools.setdefault(worker, [])
                    if len(pool) < per_worker:
                        pool.append(_pinned(http, names, reply))
                        spare.remove(http)
        except BaseException:
            await close_all([connection.http for pool in pools.values() for connection in pool])
            raise
        finally:
            await close_all(spare)
        return cls([pools[worker] for worker in sorted(pools)], address)

    @classmethod
    def balanced(cls, place: Address | str, names: Iterator[str], *, connections: int) -> RoundRobin:
        """Kept connections to a balancer that routes each call by its own policy."""
        address = Address.of(place)
        return cls(
            [
                [Connection(http=open_http(address, kept=True, timeout_s=CALL_TIMEOUT_S), names=names)]
                for _ in range(connections)
            ],
            address,
        )

    @asynccontextmanager
    async def borrow(self, principal: str, lane: int | None) -> AsyncIterator[Connection]:  # noqa: ARG002
        """A connection of the lane, once one is free."""
        number = next(self._cycle) if lane is None else lane
        queue = self._idle[number % len(self._idle)]
        connection = await queue.get()
        try:
            yield connection
            if connection.strayed:
                connection = await self._pin_again(connection)
        finally:
            queue.put_nowait(connection)

    async def _pin_again(self, strayed: Connection) -> Connection:
        """Another connection to the same worker. If no new connection meets that worker, the old connection is kept."""
        tried: list[httpx.AsyncClient] = []
        try:
            for _ in range(PIN_AGAIN):
                http = open_http(self._address, kept=True, timeout_s=CALL_TIMEOUT_S)
                tried.append(http)
                reply = await http.get("/healthz")
                if worker_of(reply, WORKER_HEADER) == strayed.home:
                    tried[-1] = strayed.http
                    connection = _pinned(http, strayed.names, reply)
                    self._all[self._all.index(strayed)] = connection
                    return connection
        except (httpx.HTTPError, OSError):
            pass  # nobody answers, and the next call will show this
        finally:
            await close_all(tried)
        strayed.home = None
        return strayed

    async def aclose(self) -> None:
        """Close what is open."""
        await close_all([connection.http for connection in self._all])


def _watch(address: Address, replies: Sequence[httpx.Response]) -> None:
    """Note which worker answered, and pause where a proxy in between refuses calls."""
    if (between := address.between) is None:
        return
    now = time.monotonic_ns()
    for reply in replies:
        between.met(worker_of(reply, WORKER_HEADER), now, now)
        between.answered(reply.status_code, by_kernel=False, retry_after=reply.headers.get("Retry-After"))


def _pinned(http: httpx.AsyncClient, names: Iterator[str], reply: httpx.Response) -> Connection:
    worker = reply.headers[WORKER_HEADER]
    connection = Connection(http=http, names=names, worker=worker, home=worker)
    connection.name(reply)
    return connection


Connections = Fresh | KeepAlive | RoundRobin

CONCURRENCY = 8
"""Calls that a cell has in flight at once, where its scenario asks for concurrency."""


async def open_connections(
    policy: Policy, place: Address | str, *, workers: int, direct: bool, names: Iterator[str]
) -> Connections:
    """The connections of one cell."""
    if policy is Policy.FRESH:
        return Fresh(place, names)
    if policy is Policy.KEEP_ALIVE:
        return KeepAlive(place, names)
    if direct:
        per_worker = -(-CONCURRENCY // workers)
        return await RoundRobin.pin(place, names, workers=workers, per_worker=per_worker)
    return RoundRobin.balanced(place, names, connections=CONCURRENCY)
