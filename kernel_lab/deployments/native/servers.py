"""The servers of a native stack: started, waited for, signalled, started again, ended."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
from collections.abc import AsyncGenerator, Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from kernel_lab.deployments.live import NOTHING, Process, StackFailed
from kernel_lab.deployments.native.guarded import POLL_S, Command, Guard

GRACE_S = 5.0
"""The most seconds that a server may take to end after SIGTERM. After that its process group is killed."""
_TRIES = 5
_TAKEN = b"address already in use"
"""The words of a log about a port in use, in lower case: asyncio and the C library spell them differently."""
_TAIL_LINES = 15


@dataclass(frozen=True, slots=True, kw_only=True)
class Server:
    """One server, as it is started and started again."""

    name: str
    port: int
    command: Command
    ready: Callable[[int], AsyncGenerator[str]]
    """A function that gets the pid, yields what is still waited for, and ends once this process serves (and not
    another process on its port). It raises StackFailed where waiting cannot help, and never waits long for one
    answer."""


class Servers:
    """Servers under one guard, by name."""

    def __init__(self, guard: Guard, *, stack: str) -> None:
        self._guard = guard
        self._stack = stack
        self._servers: dict[str, Server] = {}
        self._pids: dict[str, int] = {}
        self._awaited: dict[str, str] = {}

    @property
    def processes(self) -> Mapping[str, Process]:
        """Those that were started; of one that ended, the last pid it had."""
        return {
            name: Process(name=name, pid=self._pids[name], port=server.port, log=server.command.log)
            for name, server in self._servers.items()
            if name in self._pids
        }

    def process(self, name: str) -> Process:
        """One of them.

        Raises:
            ValueError: There is none of that name.
        """
        try:
            return self.processes[name]
        except KeyError:
            raise ValueError(
                f"{self._stack} has no server {name!r}: it has {', '.join(self._pids)}"
            ) from None

    def awaiting(self) -> str:
        """Return the names of the servers that are not ready, and the last lines of their logs."""
        waits = (
            f"{name}: {state}{last_lines(self._servers[name].command.log)}"
            for name, state in self._awaited.items()
        )
        return "\n".join(waits) or "every server was ready by itself"

    def ended(self) -> tuple[str, ...]:
        """The names of the servers that were started and have ended."""
        try:
            return tuple(name for name in self._pids if self._guard.status(name) is not None)
        except StackFailed:  # the guard has ended, and it has ended the servers
            return tuple(self._pids)

    async def start(self, builds: Iterable[Callable[[], Server]]) -> None:
        """Start servers side by side and wait until all are ready.

        A call builds each server. If the server's address is taken, the call builds it again with another port.

        Raises:
            StackFailed: One of them ended.
        """
        try:
            async with asyncio.TaskGroup() as group:
                for build in builds:
                    group.create_task(self._start_somewhere(build))
        except BaseExceptionGroup as errors:
            raise errors.exceptions[0] from None

    async def restart(
        self, name: str, *, env: Mapping[str, str] = NOTHING, arguments: Sequence[str] = (),
        before: Sequence[str] = (),
    ) -> None:  # fmt: skip
        """Start a server that has ended once more, on its port, and wait until it is ready.

        It starts as before, apart from the arguments: settings, further command-line arguments after its own,
        and a command in front of its own that ends by starting the server. All of them stay.

        Raises:
            StackFailed: It still runs, or does not start, or its port was taken meanwhile.
        """
        self.process(name)
        if not await self._guard.ended(name, within_s=GRACE_S):
            raise StackFailed(f"{name} still runs: end it before it is started again")
        server, was = self._servers[name], self._servers[name].command
        command = replace(was, argv=(*before, *was.argv, *arguments), env={**was.env, **env})
        if not await self._start(replace(server, command=command)):
            raise StackFailed(f"{name} could not have its port {self._servers[name].port} back")

    def signal(self, name: str, number: int) -> None:
        """Send a signal to a server, not to its workers.

        Raises:
            ProcessLookupError: It has ended.
        """
        process = self.process(name)
        if self._guard.status(name) is not None:
            raise ProcessLookupError(f"{self._stack}: {name} has ended")
        os.kill(process.pid, number)

    async def end(self, kind: str) -> None:
        """End every server whose name starts like this: ask it first, and kill its group after `GRACE_S`."""
        names = [name for name in self._pids if name.startswith(kind) and self._guard.status(name) is None]
        for name in names:
            with contextlib.suppress(ProcessLookupError):
                os.kill(self._pids[name], signal.SIGTERM)
                os.killpg(self._pids[name], signal.SIGCONT)  # a stopped server does not receive it
        ends = await asyncio.gather(*(self._guard.ended(name, within_s=GRACE_S) for name in names))
        for name, ended in zip(names, ends, strict=True):
            if not ended:
                await self._kill(name)

    async def _kill(self, name: str) -> None:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self._pids[name], signal.SIGKILL)
        await self._guard.ended(name, within_s=GRACE_S)

    async def _start_somewhere(self, build: Callable[[], Server]) -> None:
        for _ in range(_TRIES):
            server = build()
            if await self._start(server):
                return
        raise StackFailed(
            f"{self._stack}: {server.name} lost {_TRIES} ports in a row to somebody who was quicker"
        )

    async def _start(self, server: Server) -> bool:
        """Start a server and wait until it is ready; False if its address was taken; the server has then ended again.

        gunicorn and nginx would try for seconds to bind it, so this function acts on their log at once.
        """
        name, log = server.name, server.command.log
        said = log.stat().st_size if log.exists() else 0
        self._servers[name] = server
        self._awaited[name] = "started"
        pid = self._pids[name] = await self._guard.start(name, server.command)
        try:
            async with contextlib.aclosing(server.ready(pid)) as states:
                async for state in states:
                    self._awaited[name] = state
                    status = self._guard.status(name)  # before its log is read, which is then complete
                    if _TAKEN in _since(log, said).lower():
                        await self._kill(name)
                        return False
                    if status is not None:
                        raise StackFailed(f"{_how(status)} before it was ready")
                    await asyncio.sleep(POLL_S)
        except StackFailed as error:
            raise StackFailed(f"{self._stack}: {name} {error}", last_lines(log, said)) from None
        del self._awaited[name]
        return True


def last_lines(log: Path, start: int = 0) -> str:
    """The end of a log for an error message, leaving out its first `start` bytes."""
    lines = _since(log, start).decode(errors="replace").splitlines()[-_TAIL_LINES:]
    return "".join((f"; the last lines of {log}:", *(f"\n  {line}" for line in lines or ["(nothing)"])))


def _since(log: Path, start: int) -> bytes:
    if not log.exists():
        return b""
    with log.open("rb") as told:
        told.seek(start)
        return told.read()


def _how(status: int) -> str:
    return f"ended with exit code {status}" if status >= 0 else f"was ended by {signal.Signals(-status).name}"
