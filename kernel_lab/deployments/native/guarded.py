"""The harness's end of the guard: see ``guard.py``."""

# ruff: noqa: ASYNC110 - the guard's pipe is polled, so that no event loop owns it
from __future__ import annotations

import asyncio
import contextlib
import json
import os
import secrets
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO, NoReturn

from kernel_lab.deployments.live import StackFailed

POLL_S = 0.02
_GUARD = "guard"
_PROGRAM = Path(__file__).with_name("guard.py")
_PATH_BYTES = 80
"""The longest path of a temp folder. A Unix socket's path may have 107 bytes (103 on macOS), and names within
the folder are short."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Command:
    """A command that the guard runs."""

    argv: Sequence[str]
    env: Mapping[str, str]
    cwd: Path
    log: Path
    """Its output is added to the end."""


class Guard:
    """Runs servers that do not outlive this process, and a temp folder that goes with them."""

    def __init__(self, *, log: Path) -> None:
        self.folder = _short_folder()
        self._log = log
        self._pids: dict[str, int] = {}
        self._statuses: dict[str, int] = {}
        self._errors: dict[str, str] = {}
        self._rest = b""
        with log.open("ab") as complaints:
            self._program = subprocess.Popen(
                (sys.executable, "-I", "-S", _PROGRAM, self.folder, str(os.getpid())),
                stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=complaints, start_new_session=True,
            )  # fmt: skip
        os.set_blocking(self._events.fileno(), False)

    async def ready(self) -> None:
        """Wait until the folder is there."""
        while not self.pid(_GUARD):
            await asyncio.sleep(POLL_S / 4)

    async def start(self, name: str, command: Command) -> int:
        """Start a server and return its pid.

        Raises:
            StackFailed: There is no such program, or no such folder.
        """
        self._pids.pop(name, None)
        self._statuses.pop(name, None)
        self._errors.pop(name, None)
        order = {
            "name": name,
            "argv": [str(part) for part in command.argv],
            "env": dict(command.env),
            "cwd": str(command.cwd),
            "log": str(command.log),
        }
        try:
            self._orders.write(json.dumps(order).encode() + b"\n")
            self._orders.flush()
        except BrokenPipeError:
            self._fail()
        while not (pid := self.pid(name)):
            if name in self._errors:
                raise StackFailed(f"{name} could not be started: {self._errors[name]}")
            await asyncio.sleep(POLL_S / 4)
        return pid

    def pid(self, name: str) -> int | None:
        """A server's pid, from its start on."""
        self._hear()
        return self._pids.get(name)

    def status(self, name: str) -> int | None:
        """Return how a server ended (an exit code, or minus a signal's number); None while it runs."""
        self._hear()
        return self._statuses.get(name)

    async def ended(self, name: str, *, within_s: float) -> bool:
        """Whether a server ends, and its process group with it, within a time."""
        try:
            async with asyncio.timeout(within_s):
                while self.status(name) is None:
                    await asyncio.sleep(POLL_S)
        except TimeoutError:
            return False
        return True

    async def close(self) -> None:
        """End every server and remove the folder. The guard does this once our end is closed."""
        with contextlib.suppress(BrokenPipeError):
            self._orders.close()
        try:
            while self._program.poll() is None:
                await asyncio.sleep(POLL_S)
        finally:
            self._events.close()
            shutil.rmtree(self.folder, ignore_errors=True)  # the guard has removed it, unless it was killed
            if not self._log.stat().st_size:
                self._log.unlink()

    def _hear(self) -> None:
        """Read the guard's new messages."""
        while chunk := self._read():
            *events, self._rest = (self._rest + chunk).split(b"\n")
            for event in map(json.loads, events):
                name = event["name"]
                if "pid" in event:
                    self._pids[name] = event["pid"]
                elif "status" in event:
                    self._statuses[name] = event["status"]
                else:
                    self._errors[name] = event["error"]

    def _read(self) -> bytes | None:
        """Return the text that the guard has written; None if there is none."""
        if self._events.closed:
            return None
        try:
            chunk = os.read(self._events.fileno(), 65_536)
        except BlockingIOError:
            return None
        if not chunk:
            self._fail()
        return chunk

    def _fail(self) -> NoReturn:
        lines = self._log.read_text(encoding="utf-8", errors="replace").splitlines()
        raise StackFailed(
            f"lost its guard, which has ended, and the servers with it ({' / '.join(lines[-3:])})"
        )

    @property
    def _orders(self) -> IO[bytes]:
        assert self._program.stdin is not None  # noqa: S101 - it is a pipe
        return self._program.stdin

    @property
    def _events(self) -> IO[bytes]:
        assert self._program.stdout is not None  # noqa: S101 - it is a pipe
        return self._program.stdout


def _short_folder() -> Path:
    """A name for a temp folder (the guard makes it), short enough for the sockets in it."""
    name = f"kernel-lab-{secrets.token_hex(6)}"
    folder = Path(tempfile.gettempdir()).resolve() / name
    return folder if len(os.fsencode(folder)) <= _PATH_BYTES else Path("/tmp") / name  # noqa: S108 - unguessable
