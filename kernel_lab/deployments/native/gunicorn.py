"""One replica: how gunicorn is started, and which of its workers are up."""

from __future__ import annotations

import asyncio
import contextlib
import os
import secrets
import select
import socket
import sys
from collections.abc import AsyncGenerator, Iterator, Mapping
from functools import cache
from pathlib import Path

import psutil

from kernel_lab.deployments.deployment import Deployment
from kernel_lab.deployments.live import AppSpec, StackFailed
from kernel_lab.deployments.native.guarded import Command
from kernel_lab.deployments.native.health import ask_health
from kernel_lab.deployments.ports import LOOPBACK

_SECRET = "WEAVER_KERNEL_SECRET"  # noqa: S105 - the variable's name
_OVERRULES = ("GUNICORN_CMD_ARGS", "GUNICORN_PID", "GUNICORN_FD")
"""Variables of the caller's environment that gunicorn would obey instead of the deployment."""
_RESTARTS = 3
"""The number of starts after which the lab gives up. gunicorn would replace a worker that dies of a signal
while it boots for ever."""
_LISTEN = "0A"
"""TCP_LISTEN, as ``/proc/net/tcp`` writes it."""


def command(
    deployment: Deployment,
    *,
    app: AppSpec,
    replica: int,
    port: int,
    folder: Path,
    env: Mapping[str, str],
    log: Path,
) -> Command:
    """The command of one replica. `env` is the stack's: see `environment`."""
    served = app.sidecar_app if deployment.forwards else app.app
    return Command(
        argv=(sys.executable, "-m", "gunicorn", "-c", app.config, served),
        env={
            **env,
            "LAB_REPLICA": f"r{replica}",
            "LAB_BIND": f"{LOOPBACK}:{port}",
            "LAB_CONTROL_SOCKET": str(folder / f"r{replica}.ctl"),
            "LAB_SIDECAR_SOCKET": str(folder / f"r{replica}.kernel"),
        },
        cwd=app.root,
        log=log,
    )  # fmt: skip


def environment(
    deployment: Deployment, *, secret: str | None, store: str, run: Path, extra: Mapping[str, str]
) -> dict[str, str]:
    """The workers' environment: the caller's, then the deployment's, then `extra`.

    ``{store}`` and ``{run}`` in the deployment's state and settings stand for the store's URL and the stack's
    own folder. The secret is drawn anew for every stack, or taken away where the deployment has none.
    """

    def filled(value: str) -> str:
        return value.replace("{store}", store).replace("{run}", str(run))

    env = {name: value for name, value in os.environ.items() if name not in _OVERRULES}
    if path := env.get("PYTHONPATH"):  # relative to the folder of the caller, not of the servers
        env["PYTHONPATH"] = os.pathsep.join(map(os.path.abspath, path.split(os.pathsep)))
    env |= {"LAB_STATE": filled(deployment.state), "LAB_WORKERS": str(deployment.workers)}
    if deployment.sidecar:
        env["LAB_SIDECAR"] = "1"
    env |= {name: filled(value) for name, value in deployment.env.items()}
    env |= extra
    if "LAB_KERNEL" in extra:  # a factory in the folder of the caller is found, as Python would find it
        env["PYTHONPATH"] = os.pathsep.join(filter(None, (env.get("PYTHONPATH"), os.getcwd())))  # noqa: PTH109
    env.pop(_SECRET, None)
    if deployment.secret:
        env[_SECRET] = secret or secrets.token_hex(32)
    return env


def children(arbiter: int) -> list[int]:
    """The pids of everything the arbiter has started and not yet seen end, oldest first."""
    if listed := _read(f"/proc/{arbiter}/task/{arbiter}/children"):
        return [int(pid) for pid in listed.split()]
    try:  # this is a hundred times slower, but works on every system
        found = psutil.Process(arbiter).children()
        return [child.pid for child in sorted(found, key=psutil.Process.create_time)]
    except psutil.NoSuchProcess:
        return []


def workers(arbiter: int, port: int) -> list[int]:
    """The pids of the arbiter's workers that accept connections on `port`, oldest first.

    gunicorn does not know which worker has booted, and a request cannot be sent to a certain one. But a
    worker accepts from the moment its event loop watches the listening socket, and Linux lists what an epoll
    set watches. Elsewhere every child of the arbiter counts.
    """
    found = children(arbiter)
    if not _epoll_sets_are_listed():
        return found
    listening = _listening(arbiter, port)
    return [pid for pid in found if any(inode in listening for inode in _watched(pid))]


async def up(port: int, count: int, arbiter: int) -> AsyncGenerator[str]:
    """Ends once `count` workers accept connections and one of them has answered.

    Raises:
        StackFailed: Workers come and go.
    """
    url = f"http://{LOOPBACK}:{port}"
    answer = "no answer"
    seen: set[int] = set()
    asking = asyncio.ensure_future(ask_health(url))
    try:
        while True:
            seen.update(children(arbiter))
            if len(seen) > _RESTARTS * (count + 1):
                raise StackFailed("starts its workers again and again: they end before they are up")
            if asking.done():
                if health := asking.result():
                    accepting = workers(arbiter, port)
                    if health.status == 200 and health.pid in accepting and len(accepting) >= count:
                        return
                    whose = "" if health.pid in accepting else ", which is none of its workers"
                    answer = f"{health}{whose}; {len(accepting)} of {count} workers up"
                asking = asyncio.ensure_future(ask_health(url))
            yield f"GET /healthz: {answer}"
    finally:
        asking.cancel()


def _listening(pid: int, port: int) -> set[int]:
    """The inodes of the sockets that listen on `port`: one, or with ``reuse_port`` one per worker."""
    inodes = set()
    for line in _read(f"/proc/{pid}/net/tcp").splitlines()[1:]:
        _, local, _, state, *rest = line.split()
        if state == _LISTEN and int(local.rsplit(":", 1)[1], 16) == port:
            inodes.add(int(rest[5]))
    return inodes


def _watched(pid: int) -> Iterator[int]:
    """The inodes of everything that a process's epoll sets watch."""
    try:
        descriptors = list(Path(f"/proc/{pid}/fd").iterdir())
    except OSError:
        return
    for descriptor in descriptors:
        with contextlib.suppress(OSError):
            if "eventpoll" not in str(descriptor.readlink()):
                continue
        for line in _read(f"/proc/{pid}/fdinfo/{descriptor.name}").splitlines():
            if line.startswith("tfd:"):
                yield from (
                    int(word[4:], 16) for word in line.split() if word.startswith("ino:") and word[4:]
                )


@cache
def _epoll_sets_are_listed() -> bool:
    """Whether this system tells what an epoll set watches. It is tried with an epoll set of our own."""
    if not hasattr(select, "epoll"):
        return False
    with socket.socket() as watched, select.epoll() as watcher:
        watcher.register(watched, select.EPOLLIN)
        return os.fstat(watched.fileno()).st_ino in _watched(os.getpid())


def _read(path: str) -> str:
    try:
        return Path(path).read_text(encoding="ascii")
    except OSError:  # the process has ended in the meantime
        return ""
