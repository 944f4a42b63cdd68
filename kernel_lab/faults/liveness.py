"""A liveness probe during a fault, as an orchestrator would run it: would the orchestrator have restarted a replica?

The defaults are Kubernetes': a time-out of 1 s, and a restart after three failed probes in a row. The period is 1 s
instead of its 10 s, because a fault here lasts for seconds. A probe that fails at every attempt while the fault lasts
would therefore restart a replica for certain under a longer fault.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

import httpx

from kernel_lab.deployments.live import Live
from kernel_lab.traffic.address import open_http

PERIOD_S, TIMEOUT_S, FAILURES = 1.0, 1.0, 3
PATH = "/healthz"


@dataclass(slots=True)
class Probed:
    """The results of the probes of every replica so far."""

    asked: int = 0
    failed: int = 0
    restarts: int = 0
    """Restarts that the probe would have made: each takes `FAILURES` failures in a row."""
    _in_a_row: dict[str, int] = field(default_factory=dict)

    def note(self, replica: str, *, answered: bool) -> None:
        """One probe of a replica."""
        self.asked += 1
        self.failed += not answered
        row = self._in_a_row[replica] = 0 if answered else self._in_a_row.get(replica, 0) + 1
        if row == FAILURES:
            self.restarts += 1
            self._in_a_row[replica] = 0


@asynccontextmanager
async def probing(live: Live) -> AsyncIterator[Probed]:
    """Probe every replica once a second until the block is left. The yielded results grow in the meantime."""
    found = Probed()
    replicas: Sequence[str] = live.replica_urls or (live.base_url,)
    tasks = [asyncio.create_task(_probe(url, found)) for url in replicas]
    try:
        yield found
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


async def _probe(url: str, found: Probed) -> None:
    async with open_http(url, kept=False, timeout_s=TIMEOUT_S) as http:
        while True:
            asked_s = asyncio.get_running_loop().time()
            try:
                answered = (await http.get(PATH)).status_code < httpx.codes.BAD_REQUEST
            except (httpx.HTTPError, OSError):
                answered = False
            found.note(url, answered=answered)
            await asyncio.sleep(max(0.0, asked_s + PERIOD_S - asyncio.get_running_loop().time()))
