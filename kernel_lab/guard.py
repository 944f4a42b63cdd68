"""Notice at start that an app runs in several processes with state in the memory of each.

One line, called where the app is made::

    from kernel_lab.guard import warn_if_many_processes

    warn_if_many_processes("rate limits and revocations")

The guard looks at what a process can know by itself: the environment (``WEB_CONCURRENCY``,
``GUNICORN_CMD_ARGS``, ``UVICORN_WORKERS``, …), the command line of this process and of its parents, its
siblings below the same server, and whether `multiprocessing` started it. It imports only the standard
library and nothing else of this package, so the file may be copied into any project.

It cannot see other hosts, other containers, or a second server on this host. It answers "I see several
processes", never "there is only one".
"""

from __future__ import annotations

import logging
import multiprocessing
import os
import re
import shlex
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

__all__ = ["ManyProcesses", "Sign", "signs_of_many_processes", "warn_if_many_processes"]

_LOG = logging.getLogger("kernel_lab.guard")
_PARENTS = 6
"""The number of ancestors that are looked at, because a spawn helper may stand between a worker and its server."""
_SERVERS = (
    "gunicorn",
    "uvicorn",
    "hypercorn",
    "granian",
    "fastapi",
    "uwsgi",
    "mod_wsgi",
    "celery",
    "sanic",
    "litestar",
)
_WORKERS = {
    "gunicorn": ("-w", "--workers"),
    "uvicorn": ("--workers",),
    "fastapi": ("--workers",),
    "hypercorn": ("-w", "--workers"),
    "granian": ("--workers",),
    "uwsgi": ("-p", "--processes", "--workers"),
    "celery": ("-c", "--concurrency"),
    "sanic": ("-w", "--workers"),
    "litestar": ("-W", "--wc", "--web-concurrency"),
}
_VARIABLES = {
    "uvicorn": ("UVICORN_WORKERS", "WEB_CONCURRENCY"),
    "fastapi": ("WEB_CONCURRENCY",),
    "gunicorn": ("WEB_CONCURRENCY",),
    "granian": ("GRANIAN_WORKERS",),
    "litestar": ("WEB_CONCURRENCY",),
}


@dataclass(frozen=True, slots=True)
class Sign:
    """One reason to believe that several processes run this app."""

    processes: int | None
    """The number of processes, or None where the sign says only that there are several."""
    why: str


class ManyProcesses(RuntimeError):  # noqa: N818 - it names a thing
    """The app refuses to start: its state lives in memory, and several processes run it."""


@dataclass(frozen=True, slots=True)
class _Process:
    """A process as the system shows it."""

    pid: int
    parent: int
    argv: tuple[str, ...]

    @property
    def server(self) -> str | None:
        """The server that it is, by its command line."""
        for word in self.argv[:4]:
            name = Path(word).name.removesuffix(".exe").removesuffix(".py")
            if name in _SERVERS:
                return name
            # gunicorn retitles itself where setproctitle is installed: "gunicorn: master [app]"
            if found := re.match(r"(gunicorn|uwsgi)\b.*(master|worker)", word):
                return found[1]
        return None


def warn_if_many_processes(
    state: str = "state", *, refuse: bool = False, log: logging.Logger | None = None
) -> list[Sign]:
    """Warn, or refuse to start, if this process is one of several that keep `state` in memory.

    Args:
        state: What the app keeps in memory, for the sentence: "rate limits and revocations".
        refuse: Raise instead of warning.
        log: Where the warning goes; the logger ``kernel_lab.guard`` by default.

    Returns:
        The signs that were found; an empty list means that none was seen, not that there is one process.

    Raises:
        ManyProcesses: There are signs, and `refuse` is true.
    """
    signs = signs_of_many_processes()
    if signs:
        known = [sign.processes for sign in signs if sign.processes is not None]
        many = f"{max(known)} processes run" if known else "several processes run"
        whys = "; ".join(sign.why for sign in signs)
        message = (
            f"{many} this app, and {state} {'are' if state.endswith('s') else 'is'} kept in the memory of "
            "each: a limit counts once in every process, and a "
            f"revocation reaches one of them ({whys}). Run one process, or keep the state in a shared store."
        )
        if refuse:
            raise ManyProcesses(message)
        (log or _LOG).warning("%s", message)
    return signs


def signs_of_many_processes(
    environment: Mapping[str, str] | None = None, argv: Sequence[str] | None = None
) -> list[Sign]:
    """Every sign that this process is one of several; the arguments stand in for its own."""
    env = os.environ if environment is None else environment
    own = tuple(sys.orig_argv if argv is None else argv)
    if argv is None and (configured := _configured()) is not None:
        return [configured] if configured.processes is not None and configured.processes > 1 else []
    signs: list[Sign] = []
    ancestors = [_Process(os.getpid(), os.getppid(), own), *(_ancestors() if argv is None else [])]
    server = next((each for each in ancestors if each.server is not None), None)
    signs.extend(_told(server, env))
    if not signs and server is not None and argv is None:
        signs.extend(_siblings(server, ancestors))
    if argv is None and not signs:
        signs.extend(_multiprocessing(server))
    return signs


def _configured() -> Sign | None:
    """The number of workers that the server importing the app right now is set to, or None.

    gunicorn and uvicorn import the app from a method of an object that holds their settings, whichever file
    or variable these come from. So the object is found among the callers of this function.
    """
    frame = sys._getframe(1)  # noqa: SLF001 - the standard library's own way to see the callers
    while frame is not None:
        holder = frame.f_locals.get("self")
        package = type(holder).__module__.partition(".")[0]
        settings = (
            getattr(holder, "cfg", None)
            if package in {"gunicorn", "uvicorn_worker"}
            else holder
            if package == "uvicorn"
            else None
        )
        workers = getattr(settings, "workers", None)
        if isinstance(workers, int) and not isinstance(workers, bool):
            if package == "uvicorn" and type(holder).__name__ == "Config" and "uvicorn_worker" in sys.modules:
                # below gunicorn, uvicorn's own settings say 1
                frame = frame.f_back  # type: ignore[assignment]
                continue
            name = "gunicorn" if package == "uvicorn_worker" else package
            return Sign(workers, f"the settings of {name} say {workers} worker{'' if workers == 1 else 's'}")
        frame = frame.f_back  # type: ignore[assignment]
    return None


def _told(server: _Process | None, env: Mapping[str, str]) -> list[Sign]:
    """Return the settings of a server's command line and of the variables that it reads. The command line wins."""
    if server is None or server.server is None:
        return []
    name = server.server
    if "--reload" in server.argv and name != "gunicorn":
        return []
    count = _option(server.argv, _WORKERS.get(name, ()))
    if count is not None:
        return [Sign(count, f"the command line of {name} says {count} workers")] if count > 1 else []
    if name == "gunicorn":
        arguments = env.get("GUNICORN_CMD_ARGS", "")
        try:
            count = _option(shlex.split(arguments), _WORKERS["gunicorn"])
        except ValueError:
            count = None
        if count is not None:
            return [Sign(count, f"GUNICORN_CMD_ARGS says {count} workers")] if count > 1 else []
    for variable in _VARIABLES.get(name, ()):
        text = env.get(variable, "").strip()
        if text.isdigit():
            # gunicorn's configuration file may say another number: its siblings show that
            return [Sign(int(text), f"{variable}={text}")] if int(text) > 1 else []
    return []


def _option(argv: Sequence[str], flags: Sequence[str]) -> int | None:
    """The number that the last of these options has, or None."""
    found: int | None = None
    for index, word in enumerate(argv):
        flag, equals, text = word.partition("=")
        if flag in flags:
            text = text if equals else argv[index + 1] if index + 1 < len(argv) else ""
        elif len(word) > 2 and word[:2] in flags and word[0] == "-" and word[1] != "-":
            text = word[2:]
        else:
            continue
        if text.strip().isdigit():
            found = int(text)
    return found


def _siblings(server: _Process, ancestors: Sequence[_Process]) -> list[Sign]:
    """Other workers below the same server now; workers that start later are not seen."""
    if server.pid == os.getpid():
        return []
    # the worker is the ancestor right below the server, this process itself at the latest
    worker = next((each.pid for each in ancestors if each.parent == server.pid), os.getpid())
    others = [pid for pid in _children(server.pid) if pid != worker and _is_worker(pid)]
    if not others:
        return []
    count = len(others) + 1
    return [Sign(count, f"{server.server} (process {server.pid}) has {count} workers now")]


def _multiprocessing(server: _Process | None) -> list[Sign]:
    parent = multiprocessing.parent_process()
    if parent is None or server is not None:
        # a server starts its one worker in this way
        return []
    return [Sign(None, f"multiprocessing started this process from process {parent.pid}")]


def _ancestors() -> list[_Process]:
    found: list[_Process] = []
    pid = os.getppid()
    while pid > 1 and len(found) < _PARENTS:
        process = _process(pid)
        if process is None:
            break
        found.append(process)
        pid = process.parent
    return found


def _process(pid: int) -> _Process | None:
    """A process from /proc; None where the system has none or does not show it."""
    folder = Path("/proc") / str(pid)
    try:
        words = tuple(
            word for word in (folder / "cmdline").read_bytes().decode(errors="replace").split("\0") if word
        )
        # the name in parentheses may hold anything, spaces and parentheses too
        after = (folder / "stat").read_text(errors="replace").rpartition(")")[2].split()
        return _Process(pid, int(after[1]), words)
    except (OSError, IndexError, ValueError):
        return None


def _children(pid: int) -> list[int]:
    found = []
    try:
        entries = [int(each.name) for each in Path("/proc").iterdir() if each.name.isdigit()]
    except OSError:
        return []
    for each in entries:
        process = _process(each)
        if process is not None and process.parent == pid:
            found.append(each)
    return found


def _is_worker(pid: int) -> bool:
    """Whether a child of a server is a worker, rather than multiprocessing's resource tracker."""
    process = _process(pid)
    line = " ".join(process.argv) if process is not None else ""
    return (
        process is not None
        and bool(process.argv)
        and "resource_tracker" not in line
        and "semaphore_tracker" not in line
    )
