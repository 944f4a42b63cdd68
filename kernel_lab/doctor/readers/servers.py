"""What a command line starts: which server, with how many workers, from which option, file or variable.

`recognise` takes one program with its arguments and returns the servers that it leads to, through shells,
wrappers, start scripts, Procfiles and Python programs that start a server themselves.
"""

from __future__ import annotations

import re
import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import PurePath
from typing import Final

from kernel_lab.doctor.facts import Environment, Place, Role, Value
from kernel_lab.doctor.files import Files
from kernel_lab.doctor.readers import embedded, gunicorn_file, ini, shell
from kernel_lab.doctor.readers.raw import Raw, number
from kernel_lab.doctor.readers.shell import Invocation, Word
from kernel_lab.doctor.readers.worlds import UNKNOWN, TooMuch, Unknown, World

DEEPEST: Final = 8

_SHELLS: Final = frozenset({"sh", "bash", "dash", "ash", "zsh", "ksh", "busybox"})
_NO_SERVER: Final = frozenset(
    {
        "pip",
        "pip3",
        "apt",
        "apt-get",
        "apk",
        "echo",
        "printf",
        "which",
        "type",
        "kill",
        "pkill",
        "killall",
        "pgrep",
        "ps",
        "grep",
        "cat",
        "rm",
        "cp",
        "mv",
        "mkdir",
        "chown",
        "chmod",
        "ln",
        "test",
        "[",
        "cd",
        "source",
        ".",
        "wait",
        "curl",
        "wget",
        "git",
        "systemctl",
        "service",
        "supervisorctl",
        "docker",
        "docker-compose",
        "kubectl",
        "helm",
        "sed",
        "awk",
        "touch",
        "tee",
        "read",
        "npm",
        "node",
        "yarn",
        "pnpm",
        "java",
        "ruby",
        "go",
        "psql",
        "pg_isready",
        "nc",
        "alembic",
        "pytest",
        "until",
        "sysctl",
        "useradd",
        "groupadd",
        "adduser",
        "addgroup",
        "mypy",
        "ruff",
        "black",
    }
)


@dataclass(frozen=True, slots=True)
class _Program:
    """How one server is told its number of workers."""

    workers: tuple[str, ...] = ()
    variables: tuple[str, ...] = ()
    """Environment variables that give the default, first wins."""
    default: int | None = 1
    """None: as many as there are cores."""
    role: Role = "web"
    options: Mapping[str, str] = field(default_factory=dict)
    """Other options by flag, and the setting that they give."""
    flags: Mapping[str, str] = field(default_factory=dict)
    """Options without a value."""


_GUNICORN: Final = _Program(
    workers=("-w", "--workers"),
    options={
        "--threads": "threads",
        "-k": "worker_class",
        "--worker-class": "worker_class",
        "--max-requests": "max_requests",
        "--max-requests-jitter": "max_requests_jitter",
        "-c": "config",
        "--config": "config",
        "-e": "raw_env",
        "--env": "raw_env",
        "-b": "bind",
        "--bind": "bind",
        "--dirty-workers": "dirty_workers",
    },
    flags={
        "--preload": "preload_app",
        "--reuse-port": "reuse_port",
        "--reload": "reload",
        "--no-reuse-port": "-reuse_port",
    },
)

PROGRAMS: Final[Mapping[str, _Program]] = {
    "gunicorn": _GUNICORN,
    "gunicorn3": _GUNICORN,
    "uvicorn": _Program(
        workers=("--workers",),
        variables=("UVICORN_WORKERS", "WEB_CONCURRENCY"),
        options={"--limit-max-requests": "max_requests"},
        flags={"--reload": "reload"},
    ),
    "fastapi": _Program(workers=("--workers",), variables=("WEB_CONCURRENCY",), flags={"--reload": "reload"}),
    "hypercorn": _Program(
        workers=("-w", "--workers"),
        options={
            "-c": "config",
            "--config": "config",
            "--max-requests": "max_requests",
            "-k": "worker_class",
        },
        flags={"--reload": "reload"},
    ),
    "granian": _Program(
        workers=("--workers",),
        variables=("GRANIAN_WORKERS",),
        options={"--workers-lifetime": "lifetime", "--blocking-threads": "threads"},
        flags={"--reload": "reload"},
    ),
    "daphne": _Program(),
    "waitress-serve": _Program(options={"--threads": "threads"}),
    "flask": _Program(),
    "quart": _Program(),
    "litestar": _Program(
        workers=("-W", "--wc", "--web-concurrency"),
        variables=("WEB_CONCURRENCY",),
        flags={"--reload": "reload"},
    ),
    "sanic": _Program(workers=("-w", "--workers"), flags={"--fast": "fast"}),
    "robyn": _Program(workers=("--processes", "--workers")),
    "streamlit": _Program(),
    "uwsgi": _Program(
        workers=("-p", "--processes", "--workers"),
        options={
            "--threads": "threads",
            "--max-requests": "max_requests",
            "--ini": "config",
            "--cheaper": "cheaper",
        },
    ),
    "mod_wsgi-express": _Program(
        workers=("--processes",), options={"--threads": "threads", "--maximum-requests": "max_requests"}
    ),
    "celery": _Program(
        workers=("-c", "--concurrency"),
        default=None,
        role="task",
        options={
            "--autoscale": "autoscale",
            "-P": "pool",
            "--pool": "pool",
            "--max-tasks-per-child": "max_requests",
        },
        flags={"-B": "beat", "--beat": "beat"},
    ),
    "rq": _Program(role="task", workers=("-n", "--num-workers")),
    "rqworker": _Program(role="task"),
    "dramatiq": _Program(
        role="task",
        workers=("-p", "--processes"),
        default=None,
        options={"-t": "threads", "--threads": "threads"},
    ),
    "arq": _Program(role="task"),
    "taskiq": _Program(role="task", workers=("-w", "--workers"), default=2),
    "huey_consumer": _Program(
        role="task",
        options={"-k": "pool", "--worker-type": "pool", "-w": "huey_workers", "--workers": "huey_workers"},
    ),
    "apscheduler": _Program(role="scheduler"),
}

_ALIASES: Final = {
    "gunicorn3": "gunicorn",
    "huey_consumer.py": "huey_consumer",
    "uwsgi-core": "uwsgi",
    "arq.cli": "arq",
    "celery.bin.celery": "celery",
}


@dataclass(slots=True)
class Recognised:
    """What a command leads to."""

    servers: list[Raw] = field(default_factory=list)
    opaque: list[Place] = field(default_factory=list)
    """Programs that may start anything: scripts that were not given, and binaries that the doctor does not know."""
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
    name = _name(argv[0]) if argv else ""
    if name in {"redis-server", "valkey-server", "keydb-server"}:
        found.stores.append(inner)
        return found
    if name in _NO_SERVER or not argv:
        return found
    if name in _SHELLS:
        return _shell(inner, world, files, depth)
    at = _server_at(argv)
    if at is not None:
        server = _server(argv[at:], inner, world, files, found)
        found.servers.extend(server)
        return found
    return _other(inner, world, files, depth, found)


def run_script(
    path: str, world: World, files: Files, arguments: tuple[Word, ...] = (), *, depth: int = 0
) -> Recognised:
    """What a shell script leads to."""
    found = Recognised(consumed={path})
    for invocation in shell.run(files.texts[path], Place(path), world, arguments):
        _join(found, recognise(invocation, world.seeing(invocation.environment), files, depth=depth + 1))
    return found


def run_line(text: str, place: Place, world: World, files: Files, *, depth: int = 0) -> Recognised:
    """What a shell command line leads to."""
    found = Recognised()
    for invocation in shell.run(text, place, world):
        _join(found, recognise(invocation, world.seeing(invocation.environment), files, depth=depth + 1))
    return found


def _join(into: Recognised, other: Recognised) -> None:
    into.servers.extend(other.servers)
    into.opaque.extend(other.opaque)
    into.consumed |= other.consumed
    into.stores.extend(other.stores)


def _name(word: Word) -> str:
    if isinstance(word, Unknown):
        return ""
    return PurePath(word).name


_WRAPPERS: Final = frozenset(
    {
        "exec",
        "env",
        "nohup",
        "tini",
        "dumb-init",
        "gosu",
        "su-exec",
        "sudo",
        "nice",
        "ionice",
        "chpst",
        "setuidgid",
        "s6-setuidgid",
        "time",
        "timeout",
        "stdbuf",
        "catatonit",
        "--",
        "poetry",
        "pipenv",
        "pdm",
        "uv",
        "hatch",
        "rye",
        "pixi",
        "conda",
        "mamba",
        "micromamba",
        "newrelic-admin",
        "ddtrace-run",
        "opentelemetry-instrument",
        "doppler",
        "chamber",
        "with-contenv",
        "run",
        "run-program",
        "dockerize",
        "flock",
        "catchsegv",
        "xvfb-run",
        "aws-vault",
        "infisical",
        "op",
        "sops",
    }
)


def _unwrapped(argv: list[Word]) -> list[Word]:
    """The arguments without the programs that only prepare the process, such as ``env``."""
    while (
        argv
        and isinstance(argv[0], str)
        and _name(argv[0]) in {"exec", "env", "nohup", "tini", "dumb-init", "--", "catatonit"}
    ):
        argv = argv[1:]
        while argv and isinstance(argv[0], str) and argv[0].startswith("-"):
            argv = argv[1:]
    return argv


def _server_at(argv: Sequence[Word]) -> int | None:
    """Where the server's name stands: first, after ``python -m``, or behind wrappers."""
    first = _name(argv[0])
    behind = (
        first in _WRAPPERS
        or first.startswith(("python", "pypy", "wait-for", "wait_for", "docker-entrypoint", "entrypoint"))
        or "--" in argv
    )
    for index, word in enumerate(argv):
        name = _ALIASES.get(_name(word), _name(word))
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
        return _name(argv[0]) not in {"newrelic-admin", "ddtrace-run"} and before in {
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


def _server(
    argv: Sequence[Word], invocation: Invocation, world: World, files: Files, found: Recognised
) -> list[Raw]:
    name = _ALIASES.get(_name(argv[0]), _name(argv[0]))
    program = PROGRAMS[name]
    seen = world.seeing(invocation.environment)
    options = _options(argv[1:], program)
    place = invocation.place
    settings = {
        key: Value(None if isinstance(word, Unknown) else word, place)
        for key, word in options.items()
        if key != "workers"
    }
    raw = Raw(
        program=name,
        place=place,
        role=program.role,
        settings=settings,
        environment=invocation.environment,
        application=_application(argv[1:]),
        workers=UNKNOWN,
        workers_place=place,
        why="",
    )
    if name == "gunicorn":
        return [_gunicorn(raw, options, seen, files, found)]
    if name == "celery":
        return _celery(raw, argv, options, seen)
    raw = _count(raw, program, options, seen)
    if name == "fastapi" and "dev" in argv[:4]:
        return [replace(raw, workers=1, why="`fastapi dev` runs one process", workers_place=place)]
    if "reload" in options:
        return [replace(raw, workers=1, why=f"{name} --reload runs one process", workers_place=place)]
    if name == "sanic" and "fast" in options:
        return [
            replace(raw, workers=seen.core_count(place), why="sanic --fast runs one worker for each core")
        ]
    if name == "huey_consumer":
        return [_huey(raw, options)]
    if name == "hypercorn" and "workers" not in options:
        return [_hypercorn(raw, options, files, found)]
    if name == "uwsgi":
        return [_uwsgi(raw, options, argv, files, found)]
    if name == "dramatiq":
        return [raw]
    if name == "waitress-serve" and "threads" not in raw.settings:
        raw = replace(raw, settings={**raw.settings, "threads": Value("4", place)})
    return [raw]


def _count(raw: Raw, program: _Program, options: Mapping[str, Word], world: World) -> Raw:
    """The number of workers: from the option, else from a variable, else the server's default."""
    if "workers" in options:
        flag = program.workers[-1]
        return replace(
            raw, workers=number(options["workers"]), why=f"{raw.program} {flag} {_shown(options['workers'])}"
        )
    for variable in program.variables:
        value = world.variable(variable, raw.place)
        if value is not None and value.text != "":
            return replace(
                raw,
                workers=number(value.text),
                workers_place=value.place,
                why=f"{variable}={_shown(value.text)}, which {raw.program} reads",
            )
    if program.default is None:
        return replace(
            raw,
            workers=world.core_count(raw.place),
            why=f"{raw.program} starts one worker process for each core by default",
        )
    if program.variables:
        return replace(
            raw,
            workers=program.default,
            why=f"{raw.program} runs {program.default} by default; {' or '.join(program.variables)} would "
            "change it, and nothing here sets it",
        )
    return replace(
        raw,
        workers=program.default,
        why=f"{raw.program} runs {program.default} process{'es' if program.default > 1 else ''} unless told "
        "otherwise",
    )


def _shown(word: Word | None) -> str:
    return "?" if word is None or isinstance(word, Unknown) else word


def _options(argv: Sequence[Word], program: _Program) -> dict[str, Word]:
    named = {**dict.fromkeys(program.workers, "workers"), **program.options}
    found: dict[str, Word] = {}
    index = 0
    while index < len(argv):
        word = argv[index]
        index += 1
        if isinstance(word, Unknown):
            continue
        flag, equals, given = word.partition("=")
        if flag in named and flag.startswith("--") and equals:
            _put(found, named[flag], given)
        elif word in named and index < len(argv):
            _put(found, named[word], argv[index])
            index += 1
        elif word in program.flags:
            setting = program.flags[word]
            found.pop(setting.removeprefix("-"), None)
            if not setting.startswith("-"):
                found[setting] = "true"
        elif len(word) > 2 and word[:2] in named and word[0] == "-" and word[1] != "-":
            _put(found, named[word[:2]], word[2:].removeprefix("="))
    return found


def _put(found: dict[str, Word], setting: str, given: Word) -> None:
    before = found.get(setting)
    if setting == "raw_env" and isinstance(before, str) and isinstance(given, str):
        given = f"{before}\n{given}"
    found[setting] = given


def _application(argv: Sequence[Word]) -> str | None:
    for word in argv:
        if isinstance(word, str) and re.fullmatch(r"[A-Za-z_][\w.]*:[A-Za-z_][\w.]*(\(.*\))?", word):
            return word
    return None


def _gunicorn(raw: Raw, options: Mapping[str, Word], world: World, files: Files, found: Recognised) -> Raw:
    environment = world.environment
    more: dict[str, Word] = {}
    arguments = world.variable("GUNICORN_CMD_ARGS", raw.place)
    if arguments is not None:
        try:
            more = _options(list(shlex.split(arguments.text or "")), _GUNICORN)
        except ValueError:
            more = {}
    config = options.get("config", more.get("config"))
    path, given = _config_path(config, raw, files)
    read = gunicorn_file.NOTHING
    if path is not None:
        found.consumed.add(path)
        read = gunicorn_file.read(path, files, world)
    settings = {**read.settings}
    if arguments is not None:
        settings |= {
            key: Value(None if isinstance(word, Unknown) else word, arguments.place)
            for key, word in more.items()
            if key != "workers"
        }
    settings |= raw.settings
    raw = replace(raw, settings=settings, application=raw.application or read.application)
    if "raw_env" in settings and settings["raw_env"].text:
        extra = {}
        for line in settings["raw_env"].text.splitlines():
            name, _, text = line.partition("=")
            extra[name] = Value(text, settings["raw_env"].place)
        raw = replace(raw, environment={**environment, **extra})
    if "workers" in options:
        return replace(
            raw, workers=number(options["workers"]), why=f"gunicorn --workers {_shown(options['workers'])}"
        )
    if "workers" in more and arguments is not None:
        return replace(
            raw,
            workers=number(more["workers"]),
            workers_place=arguments.place,
            why=f"GUNICORN_CMD_ARGS: --workers {_shown(more['workers'])}",
        )
    if read.workers is not None:
        return replace(raw, workers=read.workers, workers_place=read.workers_place or raw.place, why=read.why)
    if given and path is None:
        return replace(
            raw, why=f"{_shown(config)} may set the number of workers, and it was not given to the doctor"
        )
    return gunicorn_file.default(raw, world, read.workers_place or raw.place)


def _config_path(config: Word | None, raw: Raw, files: Files) -> tuple[str | None, bool]:
    """The file of settings that gunicorn reads, and whether the command names one."""
    if config is None:
        return files.find("./gunicorn.conf.py", raw.place.file), False
    if isinstance(config, Unknown):
        return None, True
    wanted = config
    if config.startswith("python:"):
        wanted = config.removeprefix("python:").replace(".", "/") + ".py"
    return files.find(wanted, raw.place.file), True


def _celery(raw: Raw, argv: Sequence[Word], options: Mapping[str, Word], world: World) -> list[Raw]:
    if "beat" in argv[:8] and "worker" not in argv:
        return [replace(raw, role="scheduler", workers=1, why="celery beat runs one process")]
    pool = options.get("pool")
    if pool in {"solo", "threads", "gevent", "eventlet"}:
        return [replace(raw, workers=1, why=f"celery --pool {pool} runs one process")]
    if isinstance(scale := options.get("autoscale"), str) and re.fullmatch(r"\d+,\d+", scale):
        high, low = map(int, scale.split(","))
        return [replace(raw, workers=low if world.decide() else high, why=f"celery --autoscale {scale}")]
    return [_count(raw, PROGRAMS["celery"], options, world)]


def _huey(raw: Raw, options: Mapping[str, Word]) -> Raw:
    if options.get("pool") == "process":
        return replace(
            raw, workers=number(options.get("huey_workers", "1")), why="huey runs its workers as processes"
        )
    return replace(raw, workers=1, why="huey runs its workers as threads of one process")


def _hypercorn(raw: Raw, options: Mapping[str, Word], files: Files, found: Recognised) -> Raw:
    config = options.get("config")
    if config is None:
        return raw
    path = files.find(_shown(config), raw.place.file)
    if path is None:
        return replace(
            raw,
            workers=UNKNOWN,
            why=f"{_shown(config)} may set the number of workers, and it was not given to the doctor",
        )
    found.consumed.add(path)
    value = ini.toml_setting(path, files.texts[path], "workers")
    if value is None:
        return raw
    return replace(
        raw,
        workers=number(value.text),
        workers_place=value.place,
        why=f"workers = {value.text} in {PurePath(path).name}",
    )


def _uwsgi(
    raw: Raw, options: Mapping[str, Word], argv: Sequence[Word], files: Files, found: Recognised
) -> Raw:
    if "workers" in options:
        return raw
    config = options.get("config") or next(
        (word for word in argv[1:] if isinstance(word, str) and word.endswith(".ini")), None
    )
    if config is None:
        return raw
    path = files.find(_shown(config), raw.place.file)
    if path is None:
        return replace(
            raw,
            workers=UNKNOWN,
            why=f"{_shown(config)} may set the number of processes, and it was not given to the doctor",
        )
    found.consumed.add(path)
    return ini.uwsgi(path, files.texts[path], raw)


def _shell(invocation: Invocation, world: World, files: Files, depth: int) -> Recognised:
    argv = list(invocation.argv)
    if _name(argv[0]) == "busybox":
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
            for each in shell.run(text, invocation.place, inner, rest):
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
    name = _name(argv[0])
    inner = world.seeing(invocation.environment)
    if name in _WRAPPERS or name.startswith(("wait-for", "wait_for")):
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
    """What a wrapper runs: what follows ``--``, or ``run``, or its options and its one plain argument."""
    words = list(argv)
    if "--" in words:
        return tuple(words[words.index("--") + 1 :])
    name = _name(words[0])
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
