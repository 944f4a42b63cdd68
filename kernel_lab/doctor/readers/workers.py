"""The number of workers of one server: read from its options, its variables and its configuration file.

`programs` has the options of each server. `servers` finds the server in a command, and calls `started_by`.
"""

from __future__ import annotations

import re
import shlex
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import PurePath

from kernel_lab.doctor.facts import Value
from kernel_lab.doctor.files import Files
from kernel_lab.doctor.readers import gunicorn_file, ini
from kernel_lab.doctor.readers.programs import ALIASES, GUNICORN, PROGRAMS, Program
from kernel_lab.doctor.readers.raw import Raw, number
from kernel_lab.doctor.readers.shell.script import Invocation
from kernel_lab.doctor.readers.shell.words import Word
from kernel_lab.doctor.readers.worlds import UNKNOWN, Unknown, World


def base_name(word: Word) -> str:
    """Return the name of a program without its folder; an empty text where it is unknown."""
    if isinstance(word, Unknown):
        return ""
    return PurePath(word).name


def started_by(
    argv: Sequence[Word], invocation: Invocation, world: World, files: Files, consumed: set[str]
) -> list[Raw]:
    """Return the servers that a command line of a known server starts; usually one.

    Args:
        argv: The command line, from the name of the server on.
        invocation: Where the command stands, and its environment.
        world: What is assumed about unknown conditions.
        files: The files that were given to the doctor.
        consumed: Gets the paths of the configuration files that were read.
    """
    name = ALIASES.get(base_name(argv[0]), base_name(argv[0]))
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
        return [_gunicorn(raw, options, seen, files, consumed)]
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
        return [_hypercorn(raw, options, files, consumed)]
    if name == "uwsgi":
        return [_uwsgi(raw, options, argv, files, consumed)]
    if name == "dramatiq":
        return [raw]
    if name == "waitress-serve" and "threads" not in raw.settings:
        raw = replace(raw, settings={**raw.settings, "threads": Value("4", place)})
    return [raw]


def _count(raw: Raw, program: Program, options: Mapping[str, Word], world: World) -> Raw:
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


def _options(argv: Sequence[Word], program: Program) -> dict[str, Word]:
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


def _gunicorn(raw: Raw, options: Mapping[str, Word], world: World, files: Files, consumed: set[str]) -> Raw:
    environment = world.environment
    more: dict[str, Word] = {}
    arguments = world.variable("GUNICORN_CMD_ARGS", raw.place)
    if arguments is not None:
        try:
            more = _options(list(shlex.split(arguments.text or "")), GUNICORN)
        except ValueError:
            more = {}
    config = options.get("config", more.get("config"))
    path, given = _config_path(config, raw, files)
    read = gunicorn_file.NOTHING
    if path is not None:
        consumed.add(path)
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


def _given(config: Word, raw: Raw, files: Files, consumed: set[str]) -> str | None:
    """The path of a configuration file, noted as consumed; None if the doctor was not given it."""
    path = files.find(_shown(config), raw.place.file)
    if path is not None:
        consumed.add(path)
    return path


def _not_given(config: Word, raw: Raw, what: str) -> Raw:
    why = f"{_shown(config)} may set the number of {what}, and it was not given to the doctor"
    return replace(raw, workers=UNKNOWN, why=why)


def _hypercorn(raw: Raw, options: Mapping[str, Word], files: Files, consumed: set[str]) -> Raw:
    config = options.get("config")
    if config is None:
        return raw
    path = _given(config, raw, files, consumed)
    if path is None:
        return _not_given(config, raw, "workers")
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
    raw: Raw, options: Mapping[str, Word], argv: Sequence[Word], files: Files, consumed: set[str]
) -> Raw:
    if "workers" in options:
        return raw
    config = options.get("config") or next(
        (word for word in argv[1:] if isinstance(word, str) and word.endswith(".ini")), None
    )
    if config is None:
        return raw
    path = _given(config, raw, files, consumed)
    if path is None:
        return _not_given(config, raw, "processes")
    return ini.uwsgi(path, files.texts[path], raw)
