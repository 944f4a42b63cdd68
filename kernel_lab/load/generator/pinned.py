"""The load generator's connections. Imported by locust's own process only.

They are made of geventhttpclient, which is under locust's FastHttpUser too; its session around it would cost
as much again for each call, on the cores that are being measured.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from typing import Any

import msgspec
from geventhttpclient.client import HTTPClient
from locust.contrib.fasthttp import FAILURE_EXCEPTIONS as LOST

from kernel_lab.load.plan import Slot

__all__ = ["LOST", "Answer", "Connection", "Lanes"]

WORKER_HEADER = "x-lab-worker"
TIMEOUT_S = 10.0
PIN_WITHIN_S = 30.0


@dataclass(frozen=True, slots=True)
class Answer:
    """The reply to one request."""

    status: int
    content: bytes
    worker: str | None


class Connection:
    """One kept connection, or (`kept` false) one that is closed after each call."""

    def __init__(self, base_url: str, names: Iterator[str], *, kept: bool) -> None:
        self._http = HTTPClient.from_url(
            base_url, concurrency=1, network_timeout=TIMEOUT_S, connection_timeout=TIMEOUT_S
        )
        self._headers = {} if kept else {"Connection": "close"}
        self.worker: str | None = None
        self._kept = kept
        self._names = names
        self._name = ""

    def send(self, method: str, path: str, body: bytes, headers: dict[str, str]) -> Answer:
        """Make one request and read all of its response.

        Raises:
            One of `LOST`: whether the request took effect is not known.
        """
        response = self._http.request(method, path, body=body, headers={**headers, **self._headers})
        try:
            content = bytes(response.read())
            worker = response.get(WORKER_HEADER)
        finally:
            response.release()
        return Answer(response.status_code, content, None if worker is None else str(worker))

    def met(self, worker: str | None) -> str:
        """The history's name of the socket a reply of `worker` came over: another worker, another socket."""
        if not self._kept or worker != self.worker or not self._name:
            self.worker, self._name = worker, next(self._names)
        return self._name

    def ask_worker(self) -> dict[str, Any]:
        """Return the reply to ``GET /worker``. The request counts in no figure."""
        answer = self.send("GET", "/worker", b"", {})
        self.met(answer.worker)
        facts: dict[str, Any] = msgspec.json.decode(answer.content)
        return facts

    def close(self) -> None:
        """Close it."""
        self._http.close()


class Lanes:
    """One process's connections to one deployment: a pool per worker, and each call takes from the next.

    Where no worker can be chosen (`Slot.workers` is 0, or another policy than ``round_robin``), one pool.
    """

    def __init__(self, slot: Slot, names: Iterator[str], *, users: int) -> None:
        kept = slot.connections != "fresh"
        lanes = slot.workers if slot.connections == "round_robin" and slot.workers > 1 else 1
        per_lane = users if lanes == 1 else -(-users // lanes) + 1
        pools: dict[str | None, list[Connection]] = {}
        deadline_s = time.monotonic() + PIN_WITHIN_S
        self._more = partial(Connection, slot.base_url, names, kept=kept)
        self.facts: dict[str, Any] = {}
        """The facts that the deployment reports about itself."""
        while sum(len(pool) >= per_lane for pool in pools.values()) < lanes:
            if time.monotonic() > deadline_s:
                held = {str(worker): len(pool) for worker, pool in pools.items()}
                raise TimeoutError(f"{lanes} workers should hold {per_lane} connections each; held: {held}")
            connection = self._more()
            self.facts = connection.ask_worker()
            pool = pools.setdefault(connection.worker if lanes > 1 else None, [])
            if len(pool) < per_lane:
                pool.append(connection)
            else:
                connection.close()
        self._pools = [pools[worker] for worker in sorted(pools, key=str)]

    def take(self, lane: int) -> tuple[Connection, list[Connection]]:
        """A free connection of the lane, or of the next that has one; and the pool it goes back to."""
        for step in range(len(self._pools)):
            pool = self._pools[(lane + step) % len(self._pools)]
            if pool:
                return pool.pop(), pool
        # locust's page may have asked for more users than there were at first
        return self._more(), self._pools[lane % len(self._pools)]
