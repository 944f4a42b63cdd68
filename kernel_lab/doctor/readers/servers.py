"""The servers that a command leads to, through shells, wrappers, start scripts, Procfiles and Python programs.

`recognise` takes one program with its arguments. `workers` reads the number of workers of a server that it finds.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import PurePath
from typing import Final

from kernel_lab.doctor.facts import Environment, Place, Value
from kernel_lab.doctor.files import Files
from kernel_lab.doctor.readers import embedded, ini
from kernel_lab.doctor.readers.programs import ALIASES, NO_SERVER, PROGRAMS, SHELLS, WRAPPERS
from kernel_lab.doctor.readers.raw import Raw
from kernel_lab.doctor.readers.shell import script
from kernel_lab.doctor.readers.shell.script import Invocation
from kernel_lab.doctor.readers.shell.words import Word
from kernel_lab.doctor.readers.workers import base_name, started_by
from kernel_lab.doctor.readers.worlds import TooMuch, Unknown, World

DEEPEST: Final = 8


@dataclass(slots=True)
class Recognised:
    """The servers and stores that a command leads to."""

    servers: list[Raw] = field(default_factory=list)
    opaque: list[Place] = field(default_factory=list)
    """Programs that may start any server: scripts that were not given, and binaries that the doctor does not know."""
    consumed: set[str] = field(default_factory=set)
    stores: list[Invocation] = field(default_factory=list)


def recognise(invocation: Invocation, world: World, files: Files, *, depth: int = 0) -> Recognised:
    """The servers that one program with its arguments leads to, in one world."""
    if depth > DEEPEST:
        raise TooMuch
    found = Recognised()
    argv = _unwrapped(list(invocation.argv))
    if not argv:
        return found
    environment = dict(invocation.environment)
    while (
        argv
        and isinstance(argv[0], str)
        and (assigned := re.match(r"^([A-Za-z_]\w*)=(.*)$", argv[0], re.DOTALL))
    ):
        environment[assigned[1]] = Value(assigned[2], invocation.place)
        argv = argv[1:]
    inner = replace(invocation, argv=tuple(argv), environment=environment)
    name = base_name(argv[0]) if argv else ""
    if name in {"redis-server", "valkey-server", "keydb-server"}:
        found.stores.append(inner)
        return found
    if name in NO_SERVER or not argv:
        return found
    if name in SHELLS:
        return _shell(inner, world, files, depth)
    at = _server_at(argv)
    if at is not None:
        found.servers.extend(started_by(argv[at:], inner, world, files, found.consumed))
        return found
    return _other(inner, world, files, depth, found)


def run_script(
    path: str, world: World, files: Files, arguments: tuple[Word, ...] = (), *, depth: int = 0
) -> Recognised:
    """Return the servers that a shell script leads to."""
    found = Recognised(consumed={path})
    for invocation in script.run(files.texts[path], Place(path), world, arguments):
        _join(found, recognise(invocation, world.seeing(invocation.environment), files, depth=depth + 1))
    return found


def run_line(text: str, place: Place, world: World, files: Files, *, depth: int = 0) -> Recognised:
    """Return the servers that a shell command line leads to."""
    found = Recognised()
    for invocation in script.run(text, place, world):
        _join(found, recognise(invocation, world.seeing(invocation.environment), files, depth=depth + 1))
    return found


def _join(into: Recognised, other: Recognised) -> None:
    into.servers.extend(other.servers)
    into.opaque.extend(other.opaque)
    into.consumed |= other.consumed
    into.stores.extend(other.stores)


def _unwrapped(argv: list[Word]) -> list[Word]:
    """The arguments without the programs that only prepare the process, such as ``env``."""
    while (
        argv
        and isinstance(argv[0], str)
        and base_name(argv[0]) in {"exec", "env", "nohup", "tini", "dumb-init", "--", "catatonit"}
    ):
        argv = argv[1:]
        while argv and isinstance(argv[0], str) and argv[0].startswith("-"):
            argv = argv[1:]
    return argv


def _server_at(argv: Sequence[Word]) -> int | None:
    """Return the position of the server's name: first, after ``python -m``, or behind wrappers."""
    first = base_name(argv[0])
    behind = (
        first in WRAPPERS
        or first.startswith(("python", "pypy", "wait-for", "wait_for", "docker-entrypoint", "entrypoint"))
        or "--" in argv
    )
    for index, word in enumerate(argv):
        name = ALIASES.get(base_name(word), base_name(word))
        if name in PROGRAMS and (index == 0 or behind) and _is_call(argv, index, name):
            return index
        if index == 0 and not behind:
            return None
    return None


def _is_call(argv: Sequence[Word], index: int, name: str) -> bool:
    rest = [word for word in argv[index + 1 :] if isinstance(word, str)]
    before = argv[index - 1] if index else None
    if (
        index
        and isinstance(before, str)
        and before.startswith("-")
        and before not in {"-m", "--", "-u", "-E", "-s"}
    ):
        # the value of a wrapper's option, such as --service gunicorn
        return base_name(argv[0]) not in {"newrelic-admin", "ddtrace-run"} and before in {
            "-g",
            "-q",
            "-l",
            "-v",
            "-n",
        }
    if name == "fastapi":
        return any(word in {"run", "dev"} for word in rest[:3])
    if name == "flask":
        return "run" in rest
    if name in {"celery", "rq", "taskiq", "quart", "litestar", "streamlit"}:
        wanted = {
            "celery": {"worker", "beat"},
            "rq": {"worker", "worker-pool"},
            "taskiq": {"worker", "scheduler"},
        }.get(name, {"run"})
        return any(word in wanted for word in rest)
    return True


def _shell(invocation: Invocation, world: World, files: Files, depth: int) -> Recognised:
    argv = list(invocation.argv)
    if base_name(argv[0]) == "busybox":
        argv = argv[1:]
    inner = world.seeing(invocation.environment)
    index = 1
    while index < len(argv):
        word = argv[index]
        if isinstance(word, Unknown):
            return Recognised(opaque=[invocation.place])
        if word.startswith("-") and "c" in word and not word.startswith("--"):
            text = argv[index + 1] if index + 1 < len(argv) else ""
            if isinstance(text, Unknown):
                return Recognised(opaque=[invocation.place])
            found = Recognised()
            rest = tuple(argv[index + 3 :])
            for each in script.run(text, invocation.place, inner, rest):
                _join(found, recognise(each, inner.seeing(each.environment), files, depth=depth + 1))
            return found
        if not word.startswith(("-", "+")):
            return _script(word, tuple(argv[index + 1 :]), invocation, inner, files, depth)
        index += 1
    return Recognised()


def _script(
    word: str, arguments: tuple[Word, ...], invocation: Invocation, world: World, files: Files, depth: int
) -> Recognised:
    path = files.find(word, invocation.place.file)
    if path is None or not _is_shell(path, files):
        return Recognised(opaque=[invocation.place])
    return run_script(path, world, files, arguments, depth=depth + 1)


def _is_shell(path: str, files: Files) -> bool:
    return (
        path.endswith((".sh", ".bash"))
        or re.match(r"#!.*\b(ba|da|k|z|a)?sh\b", files.texts[path]) is not None
    )


def _other(invocation: Invocation, world: World, files: Files, depth: int, found: Recognised) -> Recognised:
    """A program that is not known as a server by its name: a script, a Python program, a process manager."""
    argv = invocation.argv
    name = base_name(argv[0])
    inner = world.seeing(invocation.environment)
    if name in WRAPPERS or name.startswith(("wait-for", "wait_for")):
        rest = _after_wrapper(argv)
        if rest:
            return recognise(replace(invocation, argv=rest), world, files, depth=depth + 1)
        return found
    if name.startswith(("python", "pypy")):
        return _python(invocation, inner, files, found)
    if name in {"honcho", "foreman", "goreman", "hivemind", "overmind"}:
        return _procfile(invocation, inner, files, depth, found)
    if name.startswith("supervisord"):
        return _supervisor(invocation, inner, files, depth, found)
    if isinstance(argv[0], str) and name:
        path = files.find(argv[0], invocation.place.file)
        if path is not None and _is_shell(path, files):
            return run_script(path, inner, files, argv[1:], depth=depth + 1)
        if path is not None and path.endswith(".py"):
            return _python(replace(invocation, argv=("python", *argv)), inner, files, found)
        if len(argv) > 1 and name.endswith(("entrypoint.sh", "entrypoint", "start.sh", "init")):
            passed = recognise(replace(invocation, argv=argv[1:]), world, files, depth=depth + 1)
            if passed.servers or passed.stores:
                return passed
    found.opaque.append(invocation.place)
    return found


def _after_wrapper(argv: Sequence[Word]) -> tuple[Word, ...]:
    """Return the command behind a wrapper: after ``--``, after ``run``, or after its options and its one argument."""
    words = list(argv)
    if "--" in words:
        return tuple(words[words.index("--") + 1 :])
    name = base_name(words[0])
    rest = words[1:]
    if "run" in rest[:2]:
        rest = rest[rest.index("run") + 1 :]
    elif "run-program" in rest[:2]:
        rest = rest[rest.index("run-program") + 1 :]
    while rest and isinstance(rest[0], str) and (rest[0].startswith("-") or "=" in rest[0]):
        takes_value = rest[0] in {
            "-u",
            "-g",
            "-n",
            "-c",
            "--env-file",
            "--extra",
            "--with",
            "--group",
            "--python",
            "-p",
            "--directory",
            "--project",
            "-e",
            "--package",
        }
        rest = rest[2:] if takes_value else rest[1:]
    if (
        name in {"gosu", "su-exec", "timeout", "chpst", "setuidgid", "s6-setuidgid", "flock"}
        and len(rest) > 1
    ):
        rest = rest[1:]
    return tuple(rest)


def _python(invocation: Invocation, world: World, files: Files, found: Recognised) -> Recognised:
    """``python main.py`` and ``python -m package``: a program that may start a server itself."""
    words = [word for word in invocation.argv[1:] if isinstance(word, str)]
    wanted: list[str] = []
    if "-m" in words and words.index("-m") + 1 < len(words):
        module = words[words.index("-m") + 1].replace(".", "/")
        wanted = [f"{module}.py", f"{module}/__main__.py"]
    elif "-c" in words:
        return found
    else:
        script = next((word for word in words if word.endswith(".py")), None)
        if script and PurePath(script).name == "manage.py":
            if "runserver" in words:
                found.servers.append(
                    one(invocation, "runserver", "`manage.py runserver` serves from one process")
                )
            elif "celery" not in words and any(
                word in {"qcluster", "rqworker", "run_huey", "process_tasks"} for word in words
            ):
                found.servers.append(replace(one(invocation, "task worker", "one task worker"), role="task"))
            return found
        wanted = [script] if script else []
    for each in wanted:
        path = files.find(each, invocation.place.file)
        if path is not None:
            servers = embedded.read(path, files, world)
            if servers:
                found.consumed.add(path)
                found.servers.extend(
                    replace(server, environment=invocation.environment) for server in servers
                )
                return found
    if wanted:
        name = wanted[0]
        found.servers.append(
            one(invocation, f"python {name}", f"`python {name}` is one process, unless it starts more itself")
        )
    return found


def one(invocation: Invocation, program: str, why: str) -> Raw:
    """A server that runs one process."""
    return Raw(
        program=program,
        place=invocation.place,
        role="web",
        settings={},
        environment=invocation.environment,
        application=None,
        workers=1,
        workers_place=invocation.place,
        why=why,
    )


def _procfile(
    invocation: Invocation, world: World, files: Files, depth: int, found: Recognised
) -> Recognised:
    path = files.find("Procfile", invocation.place.file)
    if path is None:
        found.opaque.append(invocation.place)
        return found
    found.consumed.add(path)
    asked = [word for word in invocation.argv[2:] if isinstance(word, str) and re.fullmatch(r"[\w-]+", word)]
    for line, name, command in procfile_lines(files.texts[path]):
        if name != "release" and (not asked or name in asked):
            _join(found, run_line(command, Place(path, line), world, files, depth=depth + 1))
    return found


def procfile_lines(text: str) -> list[tuple[int, str, str]]:
    """The line number, name and command of each process type."""
    lines = []
    for number_, line in enumerate(text.splitlines(), start=1):
        if found := re.match(r"^([A-Za-z0-9_-]+):\s*(.+)$", line):
            lines.append((number_, found[1], found[2]))
    return lines


def _supervisor(
    invocation: Invocation, world: World, files: Files, depth: int, found: Recognised
) -> Recognised:
    words = [word for word in invocation.argv if isinstance(word, str)]
    named = words[words.index("-c") + 1] if "-c" in words[:-1] else "supervisord.conf"
    path = files.find(named, invocation.place.file)
    if path is None:
        found.opaque.append(invocation.place)
        return found
    found.consumed.add(path)
    for program in ini.supervisor(path, files.texts[path]):
        run = run_line(program.command, program.place, world, files, depth=depth + 1)
        if program.processes > 1:
            run.servers = [ini.times(server, program) for server in run.servers]
        _join(found, run)
    return found


def environment_of(pairs: Mapping[str, str], place: Place) -> Environment:
    """An environment whose variables all stand in one place."""
    return {name: Value(text, place) for name, text in pairs.items()}
