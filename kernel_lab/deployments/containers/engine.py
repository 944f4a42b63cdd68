"""The container engine, asked through its command line: what runs, what happened, what was logged."""

from __future__ import annotations

import asyncio
import contextlib
import shutil
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

ANSWER_S = 20.0
"""The most seconds that the engine may take for an answer. It is asked for lists only."""
_HAPPENINGS = ("create", "start", "restart", "kill", "die", "oom", "pause", "unpause", "stop", "destroy")


class NoEngine(RuntimeError):  # noqa: N818 - it names a thing
    """No container engine can be asked; the message says why, in one line."""


async def docker(*words: str, engine: str = "", within_s: float = ANSWER_S) -> str:
    """Return the output of a docker command.

    Args:
        words: The command, without ``docker``.
        engine: The engine's address, as ``DOCKER_HOST`` takes it; empty: the one of the environment.
        within_s: The most seconds that it may take.

    Raises:
        NoEngine: There is no such command, it failed, or did not answer in time.
    """
    if shutil.which("docker") is None:
        raise NoEngine("there is no docker on PATH")
    asked = await asyncio.create_subprocess_exec(
        "docker", *_at(engine), *words, stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE,
    )  # fmt: skip
    try:
        async with asyncio.timeout(within_s):
            said, complaint = await asked.communicate()
    except TimeoutError:
        raise NoEngine(f"docker {words[0]} did not answer in {within_s:g} s") from None
    finally:
        await _end(asked)
    if asked.returncode:
        why = complaint.decode(errors="replace").partition("\n")[0].strip()
        raise NoEngine(f"docker {words[0]}: {why or f'exit code {asked.returncode}'}")
    return said.decode()


async def save_log(
    container: str, path: Path, *, since_s: float, service: bool = False, engine: str = ""
) -> None:
    """Return the output of a container, or of a service's tasks, since then (Unix time), each line with its time."""
    logs = ("service", "logs") if service else ("logs",)
    with path.open("wb") as file:
        saved = await asyncio.create_subprocess_exec(
            "docker", *_at(engine), *logs, "--timestamps", "--since", f"{since_s:.3f}", container,
            stdin=asyncio.subprocess.DEVNULL, stdout=file, stderr=file,
        )  # fmt: skip
    try:
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(ANSWER_S):
                await saved.wait()
    finally:
        await _end(saved)


@dataclass(frozen=True, slots=True)
class Happenings:
    """The events that the engine saw for some containers, one a line: Unix time in ns, container, event."""

    path: Path
    since_s: float = field(default_factory=time.time)
    """Unix time."""

    def events(self) -> list[str]:
        """``kernel-lab-redis-2 kill`` and the like, in their order."""
        lines = self.path.read_text(encoding="utf-8").splitlines()
        return [line.partition(" ")[2] for line in lines]


@asynccontextmanager
async def happenings(
    label: str, path: Path, *, engine: str = "", scope: Literal["local", "swarm"] = "local"
) -> AsyncIterator[Happenings]:
    """Record what happens to the containers with a label, for as long as the block runs.

    With scope ``swarm``, it records what happens to the swarm's services and nodes instead, and there is no label.
    The engine remembers only its last 256 events, and health checks fill them. So this function listens all the time.
    """
    filters = [f"scope={scope}"]
    if scope == "local":
        filters += [f"label={label}", *(f"event={name}" for name in _HAPPENINGS)]
    with path.open("wb") as file:
        listener = await asyncio.create_subprocess_exec(
            "docker", *_at(engine), "events", *(word for one in filters for word in ("--filter", one)),
            "--format", "{{.TimeNano}} {{.Actor.Attributes.name}} {{.Action}}",
            stdin=asyncio.subprocess.DEVNULL, stdout=file, stderr=asyncio.subprocess.DEVNULL,
        )  # fmt: skip
    try:
        yield Happenings(path)
    finally:
        await _end(listener)


def _at(engine: str) -> tuple[str, ...]:
    return ("--host", engine) if engine else ()


async def _end(process: asyncio.subprocess.Process) -> None:
    if process.returncode is None:
        with contextlib.suppress(ProcessLookupError):
            process.kill()
        await process.wait()
