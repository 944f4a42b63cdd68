"""The process that keeps the kernel for the workers of one gunicorn, and how the arbiter keeps that process.

A pair of connected sockets links the two. When one of the two dies, in whatever way, the other sees the end of
the stream. A sidecar whose arbiter is gone ends, and an arbiter whose sidecar is gone starts another. (It cannot wait
for its child: gunicorn reaps every child.) A sidecar that serves says so with one byte.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import os
import shutil
import socket
import stat
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path
from typing import TYPE_CHECKING

import uvicorn

from lab.settings import UNIX_PATH_BYTES

if TYPE_CHECKING:
    from collections.abc import Callable

    from lab.settings import Settings

RESTART_PAUSE_S = 0.2
"""The pause between a sidecar's death and the start of the next, so that a sidecar that cannot boot takes no CPU."""
END_S = 4.0
"""The most seconds that a sidecar may take to end before it is killed."""
_SERVING = b"+"


class SidecarFailed(RuntimeError):  # noqa: N818 - it names a thing
    """The first sidecar ended before it served. Its own output says why."""


class Sidecar:
    """The sidecar of one gunicorn. The arbiter keeps exactly one running, until `stop`."""

    def __init__(self, settings: Settings, report: Callable[[str], None]) -> None:
        self._folder: Path | None = None
        if settings.sidecar_socket is None:
            self._folder = Path(tempfile.mkdtemp(prefix="lab-"))
        self.socket = settings.sidecar_socket or f"{self._folder}/kernel.sock"
        self._log_level = settings.log_level
        self._report = report
        self._process: subprocess.Popen[bytes] | None = None
        self._line: socket.socket | None = None
        self._stopping = False

    def start(self) -> None:
        """Start the sidecar, and return when it serves.

        Raises:
            SidecarFailed: It ended instead, or there is no place for its socket.
        """
        if len(self.socket.encode()) > UNIX_PATH_BYTES:
            self._clear()
            raise SidecarFailed(
                f"{self.socket}: must have at most {UNIX_PATH_BYTES} bytes; LAB_SIDECAR_SOCKET names another"
            )
        if is_occupied(Path(self.socket)):
            raise SidecarFailed(
                f"{self.socket}: is there and is no socket; LAB_SIDECAR_SOCKET should name a socket or a new path"
            )
        if not self._spawn():
            self._clear()
            raise SidecarFailed("the sidecar ended before it served")
        threading.Thread(target=self._keep, name="lab-sidecar", daemon=True).start()

    def stop(self) -> None:
        """End the sidecar, and start no other."""
        self._stopping = True
        if self._line and self._process:
            with contextlib.suppress(OSError):
                self._line.shutdown(socket.SHUT_WR)
            deadline = time.monotonic() + END_S
            while self._process.poll() is None and time.monotonic() < deadline:
                time.sleep(0.01)
            if self._process.poll() is None:
                self._process.kill()
        self._clear()

    def forget(self) -> None:
        """Close a forked worker's copy of the line. Otherwise the sidecar would not notice the end of its arbiter."""
        if self._line:
            self._line.close()

    def _spawn(self) -> bool:
        """Start one sidecar. Return True once it serves, and False if it ends before that."""
        ours, theirs = socket.socketpair()
        environment = {
            name: value for name, value in os.environ.items() if not name.startswith("LAB_SIDECAR")
        }
        with contextlib.ExitStack() as unless_started, theirs:
            unless_started.callback(ours.close)
            self._process = subprocess.Popen(
                [
                    *(sys.executable, "-m", "lab.sidecar_process"),
                    *("--socket", self.socket, "--line", str(theirs.fileno())),
                    *("--log-level", self._log_level),
                    *(("--own-folder",) if self._folder else ()),
                ],
                env=environment,
                pass_fds=(theirs.fileno(),),
                stdin=subprocess.DEVNULL,
            )
            unless_started.pop_all()
        self._line, before = ours, self._line
        if before:
            before.close()
        return ours.recv(1) == _SERVING

    def _keep(self) -> None:
        while True:
            with contextlib.suppress(OSError):
                if self._line and self._line.recv(1) == _SERVING:
                    continue
            if self._stopping:
                return
            self._report("the sidecar has ended; starting another")
            time.sleep(RESTART_PAUSE_S)
            if not self._stopping:
                try:
                    self._spawn()
                except OSError as error:  # no memory or no descriptor is left for now
                    self._report(f"the sidecar could not be started ({error}); trying again")

    def _clear(self) -> None:
        if self._folder:
            shutil.rmtree(self._folder, ignore_errors=True)
        else:
            remove_socket(Path(self.socket))


def is_occupied(path: Path) -> bool:
    """Return whether something other than a socket is at `path`.

    A link counts as something else, whatever its target is.
    """
    try:
        return not stat.S_ISSOCK(path.lstat().st_mode)
    except FileNotFoundError:
        return False


def remove_socket(path: Path) -> None:
    """Remove the socket at `path`. Anything other than a socket belongs to somebody else and stays."""
    if not is_occupied(path):
        path.unlink(missing_ok=True)


class _Tied(uvicorn.Server):
    """A server that reports when it serves, and that ends when the process at the other end of `line` ends."""

    def __init__(self, config: uvicorn.Config, line: socket.socket) -> None:
        super().__init__(config)
        self._line = line
        self.alone = False

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        self._line.send(_SERVING)
        asyncio.get_running_loop().add_reader(self._line, self._ended)

    def _ended(self) -> None:
        asyncio.get_running_loop().remove_reader(self._line)
        self.alone = self.should_exit = True


def serve(path: str, line: socket.socket, log_level: str, *, own_folder: bool) -> None:
    """Serve `lab.app:app` on the Unix socket `path` until the other end of `line` is closed.

    With `own_folder`, the socket's folder was made for this socket, and is removed with it.
    """
    remove_socket(Path(path))  # a predecessor that was killed has left its socket
    listener = socket.socket(socket.AF_UNIX)
    # every process that can connect can name any principal, so only this user may connect
    before = os.umask(0o177)
    listener.bind(path)
    os.umask(before)
    config = uvicorn.Config(
        "lab.app:app",
        lifespan="on",
        ws="none",
        access_log=False,
        log_level=log_level,
        backlog=2048,
        timeout_keep_alive=3600,  # the workers close their kept connections themselves
        timeout_graceful_shutdown=2,
    )
    server = _Tied(config, line)
    server.run(sockets=[listener])
    if server.alone:  # an arbiter that was killed cannot remove the folder itself
        remove_socket(Path(path))
        if own_folder:
            shutil.rmtree(Path(path).parent, ignore_errors=True)


def main() -> None:
    """Serve as ``python -m lab.sidecar_process``, the command that the arbiter starts."""
    parser = argparse.ArgumentParser(prog="lab.sidecar_process", description=__doc__)
    parser.add_argument("--socket", required=True)
    parser.add_argument("--line", required=True, type=int, help="file descriptor of our end of the line")
    parser.add_argument("--log-level", default="warning")
    parser.add_argument("--own-folder", action="store_true", help="the socket's folder goes with it")
    arguments = parser.parse_args()
    serve(
        arguments.socket,
        socket.socket(fileno=arguments.line),
        arguments.log_level,
        own_folder=arguments.own_folder,
    )


if __name__ == "__main__":
    main()
