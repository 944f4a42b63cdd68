# ruff: noqa: ASYNC110 - a process is asked whether it is gone
"""The faults of a service that the lab started, injected while a cell is recorded.

Each fault says in the cell's history what was done and whether it landed. A fault that did not land makes
its cell unknown.
"""

from __future__ import annotations

import asyncio
import os
import signal
import time
from collections.abc import Awaitable, Callable

import httpx

from kernel_lab.apps.drives import Session
from kernel_lab.apps.server import Running

LANDS_S = 8.0
"""The most seconds that a fault may take to land."""


async def kill_worker(running: Running) -> tuple[dict[str, str], Callable[[], bool]] | None:
    """SIGKILL the worker that answers next. The fault has landed when the worker's process is gone."""
    worker = await _next_worker(running)
    if worker is None or not running.kill_worker(worker):
        return None
    pid = int(worker.split("/")[1])
    return {"worker": worker}, lambda: not _exists(pid)


async def reload(running: Running) -> tuple[dict[str, str], Callable[[], bool]] | None:
    """SIGHUP the server, which makes gunicorn start new workers. The fault has landed when the old worker is gone."""
    worker, server = await _next_worker(running), running.pid("app")
    if worker is None or server is None:
        return None
    os.kill(server, signal.SIGHUP)
    pid = int(worker.split("/")[1])
    return {"worker": worker}, lambda: not _exists(pid)


async def store_gone(running: Running) -> tuple[dict[str, str], Callable[[], bool]] | None:
    """SIGKILL the store that was started for the service. The fault has landed when the store's process is gone."""
    pid = running.pid("store")
    if pid is None:
        return None
    os.kill(pid, signal.SIGKILL)
    return {}, lambda: running.guard is not None and running.guard.status("store") is not None


FAULTS: dict[str, Callable[[Running], Awaitable[tuple[dict[str, str], Callable[[], bool]] | None]]] = {
    "kill_worker": kill_worker,
    "reload": reload,
    "store_gone": store_gone,
}
"""The faults by name. Each returns None where it cannot be done: no worker is named, or there is no store."""


async def inject(name: str, session: Session, running: Running, after_s: float) -> str:
    """Inject the fault after a while. Return why it did not land, or an empty string."""
    await asyncio.sleep(after_s)
    called_ns = time.monotonic_ns()
    done = await FAULTS[name](running)
    asked: dict[str, str] = {}
    landed = False
    if done is not None:
        asked, gone = done
        deadline = time.monotonic() + LANDS_S
        while not (landed := gone()) and time.monotonic() < deadline:
            await asyncio.sleep(0.02)
    session.fault(name, asked, called_ns, landed=landed)
    if landed:
        return ""
    why = "nothing here can be disturbed so" if done is None else f"it did not land in {LANDS_S:g} s"
    return f"fault {name}: {why}"


async def _next_worker(running: Running) -> str | None:
    """The worker that answers on a fresh connection."""
    try:
        async with running.place.open() as client:
            http = running.place.http(client)
            await http.get(running.place.ready)
    except (httpx.HTTPError, OSError):
        return None
    return http.workers[0] if http.workers else None


def _exists(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except OSError:
        return False
    return True
