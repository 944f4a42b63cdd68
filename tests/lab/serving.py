"""Real servers for tests: gunicorn and uvicorn on a free port, and nothing of them left afterwards."""

import contextlib
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO

import httpx

from kernel_lab.deployments.ports import free_port

ROOT = Path(__file__).parents[2]
GUNICORN = ("gunicorn", "-c", "lab/gunicorn.conf.py", "lab.app:app")
BOOT_S = 60
"""How long a server may take to answer, or to give up: generous, this machine may be busy."""


@dataclass
class Server:
    """A server process and how to reach it."""

    process: subprocess.Popen[bytes]
    url: str
    log: Path
    client: httpx.Client
    open: contextlib.ExitStack

    def lines(self) -> list[str]:
        return self.log.read_text("utf-8").splitlines()

    def get(self, path: str) -> httpx.Response:
        """One request over a connection of its own: whichever worker accepts it."""
        return self.client.get(path, headers={"connection": "close"})

    def client_as(self, principal: str) -> httpx.Client:
        """A client of its own, its connection kept."""
        return self.open.enter_context(
            httpx.Client(
                base_url=self.url, trust_env=False, timeout=30, headers={"x-principal-id": principal}
            )
        )

    def worker(self) -> str:
        return self.get("/healthz").headers["x-lab-worker"]

    def meet(self, count: int) -> set[str]:
        """The names of `count` workers, asked until each has answered."""
        met: set[str] = set()
        deadline = time.monotonic() + BOOT_S
        while len(met) < count:
            assert time.monotonic() < deadline, f"met only {met}"
            met.add(self.worker())
        return met


@contextlib.contextmanager
def serving(
    log: Path, *, argv: Sequence[str] = GUNICORN, ready: bool = True, **settings: str
) -> Iterator[Server]:
    """Run a server with these ``LAB_*`` settings (by their lower-case names) and wait until it answers."""
    port = free_port()
    named = {name if name.isupper() else f"LAB_{name.upper()}": value for name, value in settings.items()}
    environment = {
        **{name: value for name, value in os.environ.items() if not name.startswith("LAB_")},
        "WEAVER_KERNEL_SECRET": "a secret of the tests",
        "GUNICORN_CMD_ARGS": "--no-control-socket",  # one that is killed would leave it behind
        "LAB_BIND": f"127.0.0.1:{port}",
        **named,
    }
    output: IO[bytes]
    with log.open("wb") as output:
        process = subprocess.Popen(
            [sys.executable, "-m", *(part.format(port=port) for part in argv)],
            cwd=ROOT, env=environment, stdout=output, stderr=output, process_group=0,
        )  # fmt: skip
    url = f"http://127.0.0.1:{port}"
    try:
        with contextlib.ExitStack() as clients:
            client = clients.enter_context(httpx.Client(base_url=url, trust_env=False, timeout=10))
            server = Server(process, url, log, client, clients)
            if ready:
                _await(server)
            yield server
    finally:
        _end(process)


def _await(server: Server) -> None:
    deadline = time.monotonic() + BOOT_S
    while time.monotonic() < deadline:
        assert server.process.poll() is None, "\n".join(server.lines())
        with contextlib.suppress(httpx.TransportError):
            if server.get("/healthz").status_code == 200:
                return
        time.sleep(0.05)
    raise AssertionError("\n".join(server.lines()))


def _end(process: subprocess.Popen[bytes]) -> None:
    process.terminate()
    with contextlib.suppress(subprocess.TimeoutExpired):
        process.wait(15)
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()
