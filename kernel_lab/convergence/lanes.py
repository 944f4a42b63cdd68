"""Lanes: two kept connections to each worker, past any balancer.

One carries the questions, the other the revocations and grants.

They use aiohttp, whose calls cost a third of httpx's. How narrow a bracket is depends on how often a
worker can be asked, and client and workers share the machine's cores.
"""

from __future__ import annotations

import asyncio
import itertools
import time
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field

import aiohttp
import orjson

from kernel_lab.judge.history import HistoryWriter, Outcome
from kernel_lab.traffic import call
from kernel_lab.traffic.address import WORKER_HEADER
from kernel_lab.traffic.call import Call, Reply
from kernel_lab.traffic.client import Principal

PIN_WITHIN_S = 30.0
TIMEOUT = aiohttp.ClientTimeout(total=10)


class Strayed(RuntimeError):  # noqa: N818 - it names a thing
    """A kept connection reached another worker than before, so the figures would belong to the wrong worker."""


@dataclass(slots=True, kw_only=True)
class Line:
    """One kept connection to one worker. It carries one call at a time."""

    http: aiohttp.ClientSession
    writer: HistoryWriter
    name: str
    worker: str
    _free: asyncio.Lock = field(default_factory=asyncio.Lock)

    async def send(self, principal: Principal, asked: Call, *, client: str) -> Reply:
        """Make one call and write it down. The time of the call is taken once the connection is free.

        Raises:
            Strayed: Another worker answered.
        """
        body = None if asked.body is None else orjson.dumps(asked.body)
        headers = {**principal.headers(), "Content-Type": "application/json"}
        async with self._free:
            index = self.writer.next_index()
            called_ns = time.monotonic_ns()
            try:
                async with self.http.request(
                    asked.method, asked.path, data=body, headers=headers
                ) as response:
                    content = await response.read()
                    returned_ns = time.monotonic_ns()
                    worker = response.headers.get(WORKER_HEADER)
                reply = call.read(
                    asked, response.status, content, call_ns=called_ns, return_ns=returned_ns, worker=worker
                )
            except (aiohttp.ClientError, TimeoutError) as error:
                worker = None
                reply = Reply(outcome=Outcome.INFO, error=type(error).__name__, call_ns=called_ns)
        info = reply.outcome is Outcome.INFO
        self.writer.write(
            {
                "index": index, "client": client, "f": asked.f, "input": asked.asked, "output": reply.output,
                "outcome": reply.outcome, "call_ns": called_ns, "return_ns": None if info else reply.return_ns,
                "worker": worker, "connection": self.name, "error": reply.error,
            }
        )  # fmt: skip
        if worker is not None and worker != self.worker:
            raise Strayed(f"{self.name} was pinned to {self.worker}, and {worker} answered")
        return reply


@dataclass(frozen=True, slots=True, kw_only=True)
class Lane:
    """A worker: a line to ask it, and a line to change something."""

    ask: Line
    change: Line

    @property
    def worker(self) -> str:
        """Its name."""
        return self.ask.worker


@asynccontextmanager
async def pinned(urls: Sequence[str], *, workers: int, writer: HistoryWriter) -> AsyncIterator[list[Lane]]:
    """Lanes to `workers` workers behind `urls`, in the order of the workers' names.

    Raises:
        TimeoutError: Not all workers were met.
    """
    names = (f"k{number}" for number in itertools.count())
    async with AsyncExitStack() as stack:
        held: dict[str, list[Line]] = {}
        deadline_s = time.monotonic() + PIN_WITHIN_S
        for url in itertools.cycle(urls):
            if sum(len(lines) == 2 for lines in held.values()) == workers:
                break
            if time.monotonic() > deadline_s:
                met = {worker: len(lines) for worker, lines in held.items()}
                raise TimeoutError(f"{workers} workers should hold 2 connections each; met: {met}")
            line = await _open(url, names, writer)
            if len(held.setdefault(line.worker, [])) < 2:
                held[line.worker].append(line)
                stack.push_async_callback(line.http.close)
            else:
                await line.http.close()
        yield [Lane(ask=held[worker][0], change=held[worker][1]) for worker in sorted(held)]


async def _open(url: str, names: Iterator[str], writer: HistoryWriter) -> Line:
    connector = aiohttp.TCPConnector(limit=1, keepalive_timeout=3600)
    http = aiohttp.ClientSession(url, connector=connector, timeout=TIMEOUT)
    try:
        async with http.get("/healthz") as response:
            await response.read()
            worker = response.headers[WORKER_HEADER]
    except BaseException:
        await http.close()
        raise
    return Line(http=http, writer=writer, name=next(names), worker=worker)
