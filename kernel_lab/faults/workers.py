"""Faults of workers."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from kernel_lab.deployments.live import Live
from kernel_lab.faults.fault import Fault, Landing


def not_ours(live: Live) -> str:
    """Why the processes of a live deployment cannot be disturbed; an empty string where they can."""
    return (
        "" if live.servers is not None else "somebody else started its processes, and only they may end them"
    )


@asynccontextmanager
async def _kill(live: Live, aim: str | None) -> AsyncIterator[Landing]:
    assert live.servers is not None  # noqa: S101 - `inapplicable` was asked
    killed = aim is not None and live.servers.kill_worker(aim)
    said = f"SIGKILL was sent to worker {aim}" if killed else f"there is no worker {aim} to kill"
    yield Landing(landed=killed, evidence=said)


KILL_WORKER = Fault(
    name="kill_worker",
    title="SIGKILL to a worker that is answering; gunicorn starts another one",
    inapplicable=not_ours,
    inject=_kill,
)
