"""``GET /healthz``: does a server answer, and which worker of which process answered."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from urllib.parse import SplitResult, urlsplit

ANSWER_S = 5.0
"""The most seconds to wait for an answer. On a bound socket, a request waits until a worker is up, or is lost
when the worker dies."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Health:
    """The reply to a request for health."""

    status: int
    worker: str
    """``X-Lab-Worker``: ``<replica>/<pid>/<boot>``; empty where none was named."""

    def __str__(self) -> str:
        return f"{self.status} from {self.worker or 'a worker that does not name itself'}"

    @property
    def pid(self) -> int | None:
        """The worker's pid, if it was named."""
        part = self.worker.split("/")[1:2]
        return int(part[0]) if part and part[0].isdigit() else None


async def ask_health(url: str) -> Health | None:
    """Ask over a fresh connection; None if nobody answered in HTTP.

    The request uses a plain stream, because an httpx client costs 40 ms of TLS set-up and only one line is read.
    """
    try:
        async with asyncio.timeout(ANSWER_S):
            return await _ask(urlsplit(url))
    except (OSError, TimeoutError):
        return None


async def _ask(address: SplitResult) -> Health | None:
    reader, writer = await asyncio.open_connection(address.hostname, address.port)
    try:
        request = f"GET /healthz HTTP/1.1\r\nHost: {address.netloc}\r\nConnection: close\r\n\r\n"
        writer.write(request.encode())
        head = (await reader.read(65_536)).decode("latin-1").partition("\r\n\r\n")[0]
    finally:
        writer.close()
    version, _, rest = head.partition(" ")
    if not version.startswith("HTTP/") or not rest[:3].isdigit():
        return None
    headers = dict(line.lower().split(": ", 1) for line in head.split("\r\n")[1:] if ": " in line)
    return Health(status=int(rest[:3]), worker=headers.get("x-lab-worker", ""))
