"""Principals whose calls reach the replica that a fault hits, where the balancer chooses the replica by the principal.

A claim has few principals. If the balancer led them anywhere, it would be random whether the fault hits one of them,
and the verdict would differ from run to run.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from itertools import count
from secrets import token_hex

from kernel_lab.deployments.live import Live
from kernel_lab.faults.liveness import PATH
from kernel_lab.faults.workers import TIMEOUT_S
from kernel_lab.traffic.address import WORKER_HEADER, open_http
from kernel_lab.traffic.client import Principal

NAMES, MOST, AT_ONCE = 64, 2_048, 8
"""The number of names that are looked for is the number that the claims of one stack use. At most `MOST` names
are tried, several at once."""


async def names_on(live: Live, replica: int) -> list[str]:
    """Names of new principals whose calls the balancer leads to one replica; -1 is the last one."""
    there = f"r{replica % live.deployment.replicas}/"
    tag, numbers, found = token_hex(4), count(), list[str]()
    async with open_http(live.base_url, kept=False, timeout_s=TIMEOUT_S) as http:

        async def reaches(name: str) -> bool:
            reply = await http.get(PATH, headers=Principal(name=name).headers())
            return str(reply.headers.get(WORKER_HEADER, "")).startswith(there)

        for first in range(0, MOST, AT_ONCE):
            names = [f"p{next(numbers)}-{tag}" for _ in range(first, first + AT_ONCE)]
            reached = await asyncio.gather(*map(reaches, names))
            found += [name for name, yes in zip(names, reached, strict=True) if yes]
            if len(found) >= NAMES:
                break
    return found


async def aimed(live: Live, replica: int) -> Iterator[str] | None:
    """Return the names that a stack's claims give their principals. None where the principal decides nothing."""
    if live.servers is None or live.deployment.routing != "hash_principal":
        return None
    return iter(await names_on(live, replica))
