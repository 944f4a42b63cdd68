"""Read gunicorn's configuration file: Python that is evaluated here by its syntax tree, never executed."""

from __future__ import annotations

import ast
import functools
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import PurePath
from typing import Any, Final

from kernel_lab.doctor.facts import Place, Value
from kernel_lab.doctor.files import Files
from kernel_lab.doctor.readers.python import statements
from kernel_lab.doctor.readers.python.expressions import Dotted, Function
from kernel_lab.doctor.readers.raw import Raw, number
from kernel_lab.doctor.readers.worlds import UNKNOWN, Unknown, World

SETTINGS: Final = (
    "threads",
    "worker_class",
    "preload_app",
    "max_requests",
    "max_requests_jitter",
    "reuse_port",
    "reload",
    "raw_env",
    "bind",
    "dirty_workers",
    "worker_connections",
)


@dataclass(frozen=True, slots=True, kw_only=True)
class ConfigFile:
    """The settings of a configuration file, in one world."""

    workers: int | Unknown | None = None
    workers_place: Place | None = None
    why: str = ""
    settings: Mapping[str, Value] = field(default_factory=dict)
    application: str | None = None


NOTHING: Final = ConfigFile()


@functools.lru_cache(maxsize=256)
def parse(path: str, text: str) -> ast.Module:
    """The syntax tree of a Python file.

    Raises:
        SyntaxError: It is not Python; ``lineno`` says where.
    """
    try:
        return ast.parse(text, filename=path)
    except (ValueError, RecursionError, MemoryError) as error:
        raise SyntaxError(f"it cannot be parsed: {type(error).__name__}") from None


def read(path: str, files: Files, world: World) -> ConfigFile:
    """Return the settings of the file in one world; empty where it is not Python."""
    try:
        tree = parse(path, files.texts[path])
    except SyntaxError:
        return NOTHING
    scope = statements.run(tree, path, world)
    names = scope.names
    settings: dict[str, Value] = {
        name: Value(_text(names[name]), Place(path, scope.lines.get(name, 1)))
        for name in SETTINGS
        if name in names
    }
    application = names.get("wsgi_app")
    found = ConfigFile(
        settings=settings,
        application=application if isinstance(application, str) else None,
        workers_place=Place(path, 1),
    )
    if "workers" not in names or names["workers"] is None:
        return found
    workers = names["workers"]
    shown = workers if isinstance(workers, (int, str)) else "?"
    return replace(
        found,
        workers=number(workers),
        workers_place=Place(path, scope.lines.get("workers", 1)),
        why=f"workers in {PurePath(path).name}"
        if shown == "?"
        else f"workers in {PurePath(path).name} is {shown}",
    )


def default(raw: Raw, world: World, place: Place) -> Raw:
    """Gunicorn without a number of workers: WEB_CONCURRENCY, or 1."""
    value = world.variable("WEB_CONCURRENCY", place)
    if value is not None and value.text != "":
        return replace(
            raw,
            workers=number(value.text),
            workers_place=value.place,
            why=f"WEB_CONCURRENCY={value.text}, which gunicorn reads",
        )
    return replace(
        raw,
        workers=1,
        workers_place=place,
        why="gunicorn runs 1 worker by default; WEB_CONCURRENCY would change it, and nothing here sets it "
        "(the platform may)",
    )


def alone(path: str, files: Files, world: World) -> list[Raw]:
    """The server that a configuration file stands for when no command names it."""
    found = read(path, files, world)
    place = Place(path, 1)
    raw = Raw(
        program="gunicorn",
        place=place,
        role="web",
        workers=UNKNOWN,
        workers_place=found.workers_place or place,
        why=found.why,
        settings=found.settings,
        environment=world.environment,
        application=found.application,
    )
    lines = (found.settings["raw_env"].text or "") if "raw_env" in found.settings else ""
    if lines:
        pairs = (line.partition("=") for line in lines.splitlines())
        raw = replace(
            raw,
            environment={
                **world.environment,
                **{name: Value(text, found.settings["raw_env"].place) for name, _, text in pairs},
            },
        )
    if found.workers is None:
        return [default(raw, world, place)]
    return [replace(raw, workers=found.workers)]


def _text(value: Any) -> str | None:
    if isinstance(value, (Unknown, Dotted, Function)):
        return None
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, (list, tuple)):
        return "\n".join(str(each) for each in value if isinstance(each, (str, int)))
    return str(value)
