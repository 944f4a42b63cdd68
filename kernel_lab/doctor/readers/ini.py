"""Read the settings of supervisor, uWSGI and hypercorn in INI and TOML files."""

from __future__ import annotations

import re
import tomllib
from dataclasses import dataclass, replace
from pathlib import PurePath

from kernel_lab.doctor.facts import Place, Value
from kernel_lab.doctor.readers.raw import Raw, number
from kernel_lab.doctor.readers.worlds import UNKNOWN, Unknown


@dataclass(frozen=True, slots=True)
class Program:
    """A program that supervisor keeps running."""

    name: str
    command: str
    place: Place
    processes: int
    environment: dict[str, Value]


def entries(path: str, text: str) -> list[tuple[str, str, str, Place]]:
    """Section, key, value and place of each line ``key = value``; continuation lines are joined.

    The standard library's configparser forgets line numbers and repeated keys, which the doctor needs.
    """
    found: list[tuple[str, str, str, Place]] = []
    section = ""
    for number_, line in enumerate(text.splitlines(), start=1):
        stripped = line.strip()
        if not stripped or stripped[0] in "#;":
            continue
        if header := re.fullmatch(r"\[([^\]]+)\]", stripped):
            section = header[1].strip()
            continue
        if line[0].isspace() and found and "=" not in stripped.split(" ", 1)[0]:
            section_, key, value, place = found[-1]
            found[-1] = (section_, key, f"{value} {stripped}", place)
            continue
        key, equals, value = stripped.partition("=")
        if equals:
            found.append((section, key.strip(), re.sub(r"\s;.*$", "", value).strip(), Place(path, number_)))
    return found


def supervisor(path: str, text: str) -> list[Program]:
    """The programs of a supervisor file."""
    programs: dict[str, dict[str, tuple[str, Place]]] = {}
    for section, key, value, place in entries(path, text):
        if section.startswith("program:"):
            programs.setdefault(section.removeprefix("program:"), {})[key] = (value, place)
    found = []
    for name, settings in programs.items():
        if (
            "command" not in settings
            or settings.get("autostart", ("true", Place(path)))[0].lower() == "false"
        ):
            continue
        command, place = settings["command"]
        processes = number(settings.get("numprocs", ("1", place))[0])
        environment = {
            pair[1]: Value(pair[2] or pair[3] or pair[4], place)
            for pair in re.finditer(
                r"(\w+)=(?:\"([^\"]*)\"|'([^']*)'|([^,]*))", settings.get("environment", ("", place))[0]
            )
        }
        found.append(
            Program(
                name,
                re.sub(r"%\([^)]*\)[sd]", "0", command),
                place,
                processes if isinstance(processes, int) else 1,
                environment,
            )
        )
    return found


def times(server: Raw, program: Program) -> Raw:
    """A server that supervisor starts several times."""
    if isinstance(server.workers, Unknown):
        return server
    return replace(
        server,
        workers=server.workers * program.processes,
        why=f"{server.why}, and supervisor's numprocs is {program.processes}",
    )


def uwsgi(path: str, text: str, raw: Raw) -> Raw:
    """UWSGI's processes from its INI file."""
    settings = {
        key: Value(value, place) for section, key, value, place in entries(path, text) if section == "uwsgi"
    }
    named = {key.replace("-", "_"): value for key, value in settings.items()}
    workers = named.get("processes") or named.get("workers")
    merged: dict[str, Value] = {
        **{key: named[key] for key in ("threads", "max_requests", "cheaper") if key in named},
        "preload_app": Value(
            "true" if not (named.get("lazy_apps") and named["lazy_apps"].true) else "false", raw.place
        ),
        **raw.settings,
    }
    raw = replace(raw, settings=merged)
    if workers is None:
        return replace(
            raw, workers=1, workers_place=Place(path), why="uWSGI runs 1 process unless told otherwise"
        )
    if (workers.text or "").startswith(("%k", "$(")):
        return replace(raw, workers=UNKNOWN, workers_place=workers.place, why=f"processes = {workers.text}")
    return replace(
        raw,
        workers=number(workers.text),
        workers_place=workers.place,
        why=f"processes = {workers.text} in {PurePath(path).name}",
    )


def toml_setting(path: str, text: str, key: str) -> Value | None:
    """A top-level setting of a TOML file, or None."""
    try:
        value = tomllib.loads(text).get(key)
    except (tomllib.TOMLDecodeError, RecursionError):
        return None
    if value is None:
        return None
    line = next(
        (
            n
            for n, each in enumerate(text.splitlines(), start=1)
            if re.match(rf"\s*{re.escape(key)}\s*=", each)
        ),
        1,
    )
    return Value(str(value), Place(path, line))
