"""Real servers for a rollout: a gunicorn for each side, nginx in front of both, nothing left afterwards."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx

from kernel_lab.deployments.native import nginx
from kernel_lab.deployments.ports import LOOPBACK, free_port

WORKERS = 2
READY_S = 60.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Side:
    """One side of a rollout: two workers of one version, or of one configuration."""

    name: str
    packages: Path | None = None
    """A folder with another version of the package, first on the path."""
    env: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class Answer:
    """The answer of a worker."""

    side: str
    worker: int
    outcome: str
    value: Any


class Balanced:
    """Both sides behind one balancer."""

    def __init__(self, front: str, direct: Mapping[str, str], arbiters: Mapping[int, str]) -> None:
        self._front, self._direct, self._arbiters = front, dict(direct), dict(arbiters)

    def of(self, side: str, **what: Any) -> Answer:
        """Make one call to one side, past the balancer. Calls that change state use this."""
        return self._ask(self._direct[side], what)

    def tally(self, calls: int, **what: Any) -> dict[str, Counter[str]]:
        """Make a number of calls through the balancer, and return for each side how often it gave each outcome."""
        found: dict[str, Counter[str]] = {side: Counter() for side in self._direct}
        for _ in range(calls):
            answer = self._ask(self._front, what)
            found[answer.side][answer.outcome] += 1
        return found

    def _ask(self, url: str, what: Mapping[str, Any]) -> Answer:
        reply = httpx.post(url, json=what, timeout=30, trust_env=False).json()
        return Answer(self._side(reply["worker"]), reply["worker"], reply["outcome"], reply.get("value"))

    def _side(self, worker: int) -> str:
        stat = Path(f"/proc/{worker}/stat").read_text(encoding="utf-8")
        return self._arbiters[int(stat.rpartition(")")[2].split()[1])]


@contextlib.contextmanager
def balanced(folder: Path, *sides: Side) -> Iterator[Balanced]:
    """Run each side and the balancer until the block ends."""
    with contextlib.ExitStack() as running:
        ports, arbiters, direct = [], {}, {}
        log = folder / "server.log"
        for side in sides:
            port = free_port()
            arbiters[running.enter_context(_server(side, port, log)).pid] = side.name
            direct[side.name] = f"http://{LOOPBACK}:{port}/"
            ports.append(port)
        front = free_port()
        config = folder / "nginx.conf"
        config.write_text(
            nginx.configuration(routing="round_robin", port=front, replicas=ports, folder=folder), "utf-8"
        )
        command = nginx.command(config, folder=folder, log=folder / "nginx.log")
        running.enter_context(_process(list(command.argv), dict(command.env), folder / "nginx.log", folder))
        for port in (*ports, front):
            _await(port, log)
        yield Balanced(f"http://{LOOPBACK}:{front}/", direct, arbiters)


@contextlib.contextmanager
def _server(side: Side, port: int, log: Path) -> Iterator[subprocess.Popen[bytes]]:
    env = {name: value for name, value in os.environ.items() if not name.startswith(("ROLLOUT", "WEAVER"))}
    if side.packages is not None:
        env["PYTHONPATH"] = str(side.packages)
    argv = [
        sys.executable, "-m", "gunicorn", "--bind", f"{LOOPBACK}:{port}", "--workers", str(WORKERS),
        "--worker-class", "uvicorn_worker.UvicornWorker", "--no-control-socket",
        "kernel_lab.upstream.rollout.app:app",
    ]  # fmt: skip
    with _process(argv, {**env, **side.env}, log, log.parent) as process:
        yield process


@contextlib.contextmanager
def _process(
    argv: list[str], env: dict[str, str], log: Path, folder: Path
) -> Iterator[subprocess.Popen[bytes]]:
    with log.open("ab") as output:
        process = subprocess.Popen(argv, cwd=folder, env=env, stdout=output, stderr=output, process_group=0)
    try:
        yield process
    finally:
        process.terminate()
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(15)
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()


def _await(port: int, log: Path) -> None:
    deadline = time.monotonic() + READY_S
    while time.monotonic() < deadline:
        with contextlib.suppress(httpx.TransportError, json.JSONDecodeError, KeyError):
            told = httpx.post(f"http://{LOOPBACK}:{port}/", timeout=5, trust_env=False)
            if told.status_code == httpx.codes.OK and told.json()["worker"]:
                return
        time.sleep(0.05)
    raise TimeoutError(f"nothing answered; the last lines of its log: {log.read_text('utf-8')[-600:]}")
