"""An attached deployment: one that somebody else started, found out about by asking it."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass

import httpx

from kernel_lab.deployments.deployment import Deployment
from kernel_lab.traffic.client import WORKER_HEADER, open_http
from kernel_lab.traffic.connections import CALL_TIMEOUT_S

QUIET = 64
"""Fresh connections in a row that meet no new worker, after which all are taken as met. A worker that gets
one connection in a hundred is still missed every second time."""


class NotALab(ValueError):  # noqa: N818 - it names a thing
    """Nothing at the URL speaks the lab's routes; the message says what answered."""


@dataclass(frozen=True, slots=True, kw_only=True)
class AttachedStack:
    """A running deployment, reached at one URL; its processes are somebody else's."""

    deployment: Deployment
    base_url: str
    expected_workers: int
    replica_urls: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()
    servers: None = None


async def attach(url: str, *, name: str = "attached") -> AttachedStack:
    """Find out how many workers answer at `url`, on how many replicas, and whether a connection keeps one.

    Raises:
        NotALab: Nothing answers there, or something else does.
    """
    met: set[str] = set()
    try:
        async with open_http(url, kept=False, timeout_s=CALL_TIMEOUT_S) as http:
            facts = (await http.get("/worker", headers={"Connection": "close"})).raise_for_status().json()
            quiet = 0
            while quiet < QUIET:
                replies = await asyncio.gather(
                    *(http.get("/healthz", headers={"Connection": "close"}) for _ in range(8))
                )
                fresh = {reply.headers[WORKER_HEADER] for reply in replies} - met
                met |= fresh
                quiet = 0 if fresh else quiet + len(replies)
        pinned = await _stays(url)
    except (httpx.HTTPError, OSError, KeyError, ValueError) as error:
        raise NotALab(
            f"--attach {url}: no lab answers there ({type(error).__name__}: {error}); it should be the "
            "address of a running deployment, such as http://127.0.0.1:8000"
        ) from None
    replicas = {worker.split("/", 1)[0] for worker in met}
    return AttachedStack(
        deployment=Deployment(
            name=name,
            title=f"attached: {url}",
            state=str(facts.get("state", "")),
            workers=max(1, len(met) // len(replicas)),
            replicas=len(replicas),
            routing="direct" if pinned else "round_robin",
        ),
        base_url=url,
        expected_workers=len(met),
    )


async def meet(url: str, *, expected: int, within_s: float) -> set[str]:
    """Open connections until `expected` workers have answered at `url`; their names.

    Raises:
        TimeoutError: Not all did within `within_s` seconds.
    """
    met: set[str] = set()
    async with open_http(url, kept=False, timeout_s=CALL_TIMEOUT_S) as http:

        async def ask() -> str:
            try:
                reply = await http.get("/healthz", headers={"Connection": "close"})
            except (httpx.HTTPError, OSError):
                return ""
            return str(reply.headers.get(WORKER_HEADER, ""))

        try:
            async with asyncio.timeout(within_s):
                while len(met) < expected:
                    fresh = set(filter(None, await asyncio.gather(*(ask() for _ in range(8))))) - met
                    met |= fresh
                    if not fresh:
                        await asyncio.sleep(0.01)
        except TimeoutError:
            raise TimeoutError(
                f"{len(met)} of {expected} workers answered at {url} in {within_s:g} s"
            ) from None
    return met


async def _stays(url: str) -> bool:
    """Whether one kept connection keeps meeting the same worker."""
    async with open_http(url, kept=True, timeout_s=CALL_TIMEOUT_S) as http:
        return len({(await http.get("/healthz")).headers[WORKER_HEADER] for _ in range(16)}) == 1
