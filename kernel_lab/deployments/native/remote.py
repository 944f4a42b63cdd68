"""The one kernel process over TCP that the workers of every replica forward to."""

from __future__ import annotations

import sys
from collections.abc import AsyncGenerator, Mapping
from pathlib import Path

from kernel_lab.deployments.live import AppSpec
from kernel_lab.deployments.native.guarded import Command
from kernel_lab.deployments.native.health import ask_health
from kernel_lab.deployments.ports import LOOPBACK

NAME = "remote"
"""The name of its server, and the first part of the name that the process gives itself."""
ADDRESS = "LAB_REMOTE_KERNEL"
"""Tells the workers where the process listens."""


def command(*, app: AppSpec, port: int, env: Mapping[str, str], log: Path) -> Command:
    """The command of the process: uvicorn, which serves the app that a worker with a kernel serves.

    Args:
        app: Where the app is.
        port: Where the process listens.
        env: The workers' environment: see `gunicorn.environment`.
        log: Takes its output.
    """
    # the workers keep their connections for as long as they live, so the process closes none of them
    argv = (
        *(sys.executable, "-m", "uvicorn", app.app, "--host", LOOPBACK, "--port", str(port)),
        *("--lifespan", "on", "--ws", "none", "--no-access-log", "--log-level", "warning"),
        *("--backlog", "2048", "--timeout-keep-alive", "3600", "--timeout-graceful-shutdown", "2"),
    )
    own = {name: value for name, value in env.items() if name != ADDRESS}
    return Command(argv=argv, env={**own, "LAB_REPLICA": NAME, "LAB_WORKERS": "1"}, cwd=app.root, log=log)


async def up(port: int, pid: int) -> AsyncGenerator[str]:
    """Yield what is still waited for, until the process has answered on its port."""
    while not (
        (health := await ask_health(f"http://{LOOPBACK}:{port}"))
        and health.status == 200
        and health.pid == pid
    ):
        yield f"GET /healthz: {health or 'no answer'}"
