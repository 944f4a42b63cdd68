"""Servers that a Python program starts itself: ``uvicorn.run(app, workers=4)`` and its relatives."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, Final

from kernel_lab.doctor.facts import Place, Value
from kernel_lab.doctor.files import Files
from kernel_lab.doctor.readers.gunicorn_file import parse
from kernel_lab.doctor.readers.python import statements
from kernel_lab.doctor.readers.python.expressions import Called, Dotted
from kernel_lab.doctor.readers.raw import Raw, number
from kernel_lab.doctor.readers.worlds import UNKNOWN, World

_STARTS: Final[Mapping[str, tuple[str, str]]] = {
    "uvicorn.run": ("uvicorn", "workers"),
    "uvicorn.Config": ("uvicorn", "-"),
    "granian.Granian": ("granian", "workers"),
    "granian.server.Granian": ("granian", "workers"),
    "waitress.serve": ("waitress", "-"),
    "app.run": ("flask", "processes"),
    "application.run": ("flask", "processes"),
    "werkzeug.serving.run_simple": ("werkzeug", "processes"),
    "hypercorn.run.run": ("hypercorn", "-"),
    "aiohttp.web.run_app": ("aiohttp", "-"),
    "mcp.run": ("mcp", "-"),
}
_MENTIONS: Final = re.compile(
    r"uvicorn|granian|waitress|gunicorn|hypercorn|\bapp\.run|run_simple|run_app|mcp\.run"
)


def read(path: str, files: Files, world: World) -> list[Raw]:
    """The servers that a program starts in one world."""
    text = files.texts[path]
    if not _MENTIONS.search(text):
        return []
    try:
        tree = parse(path, text)
    except SyntaxError:
        return []
    scope = statements.run(tree, path, world, functions=True)
    imports_gunicorn = "gunicorn" in text
    found: list[Raw] = []
    for call in scope.calls:
        raw = _started(call, path, world) or (_gunicorn(call, path, world) if imports_gunicorn else None)
        if raw is not None and not any(each.place == raw.place for each in found):
            found.append(raw)
    return found


def _started(call: Called, path: str, world: World) -> Raw | None:
    start = _STARTS.get(call.path)
    if start is None:
        return None
    program, keyword = start
    place = Place(path, call.line)
    given = call.keywords.get(keyword)
    if program == "uvicorn" and call.keywords.get("reload") is True:
        return _raw(program, place, 1, "uvicorn.run with reload runs one process", world)
    if given is not None:
        return _raw(program, place, given, f"{call.path} with {keyword}={_shown(given)}", world)
    if program == "uvicorn" and keyword == "workers":
        value = world.variable("WEB_CONCURRENCY", place)
        if value is not None:
            return _raw(
                program, value.place, value.text, f"WEB_CONCURRENCY={value.text}, which uvicorn reads", world
            )
    return _raw(program, place, 1, f"{call.path} runs one process unless told otherwise", world)


def _gunicorn(call: Called, path: str, world: World) -> Raw | None:
    """Gunicorn's custom application: a dict of options that names workers or bind."""
    for argument in (*call.arguments, *call.keywords.values()):
        if isinstance(argument, dict) and ("workers" in argument or "bind" in argument):
            place = Place(path, call.line)
            return _raw(
                "gunicorn",
                place,
                argument.get("workers", 1),
                f"the option workers={_shown(argument.get('workers', 1))} of gunicorn",
                world,
                argument,
            )
    return None


def _raw(
    program: str, place: Place, workers: Any, why: str, world: World, options: Mapping[str, Any] | None = None
) -> Raw:
    settings = {
        str(key): Value(str(value).lower() if isinstance(value, bool) else str(value), place)
        for key, value in (options or {}).items()
        if isinstance(value, (str, int, bool))
    }
    return Raw(
        program=program,
        place=place,
        role="web",
        workers=number(workers) if not isinstance(workers, Dotted) else UNKNOWN,
        workers_place=place,
        why=why,
        settings=settings,
        environment=world.environment,
        application=None,
    )


def _shown(value: Any) -> str:
    return str(value) if isinstance(value, (int, str)) else "?"
