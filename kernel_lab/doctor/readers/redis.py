"""Read a Redis or Valkey server's options: from redis.conf and from its command line."""

from __future__ import annotations

import shlex
from collections.abc import Iterable
from pathlib import PurePath

from kernel_lab.doctor.facts import Environment, Place, Reading, Store, Value
from kernel_lab.doctor.files import Files
from kernel_lab.doctor.readers.dockerfile import Command
from kernel_lab.doctor.readers.shell.script import Invocation
from kernel_lab.doctor.readers.worlds import Unknown

Line = tuple[str, str, Place]


def read(path: str, text: str, reading: Reading, files: Files | None = None) -> None:
    """A redis.conf: one store."""
    reading.stores.append(store(Place(path), lines(path, text, reading, files)))


def lines(path: str, text: str, reading: Reading, files: Files | None = None, depth: int = 0) -> list[Line]:
    """Name, value and place of each option, with included files where they were given."""
    found: list[Line] = []
    for number, line in enumerate(text.splitlines(), start=1):
        stripped = line.strip()
        if not stripped or stripped.startswith("#"):
            continue
        place = Place(path, number)
        try:
            words = shlex.split(stripped)
        except ValueError:
            reading.trouble(place, "The line has a quote that does not end, so it was not read.")
            continue
        name = words[0].lower()
        if name == "include" and files is not None and depth < 5 and len(words) > 1:
            inner = files.find(words[1], path)
            if inner is not None and inner not in reading.consumed:
                reading.consumed.add(inner)
                found.extend(lines(inner, files.texts[inner], reading, files, depth + 1))
            continue
        found.append((name, " ".join(words[1:]), place))
    return found


def store(place: Place, options: Iterable[Line]) -> Store:
    """A store with these options; `save` adds up, the others replace each other."""
    settings: dict[str, Value] = {}
    for name, text, where in options:
        if name == "save" and name in settings and text:
            settings[name] = Value(f"{settings[name].text};{text}", where)
        else:
            settings[name] = Value(text, where)
    cluster = settings.get("cluster-enabled")
    return Store(place=place, settings=settings, cluster=bool(cluster and cluster.true))


def from_command(invocation: Invocation, reading: Reading, files: Files | None = None) -> None:
    """``redis-server /etc/redis.conf --maxmemory 1gb``: one store."""
    place = invocation.place
    options: list[Line] = []
    name, words = "", list[str]()
    for word in invocation.argv[1:]:
        text = "" if isinstance(word, Unknown) else word
        if text.startswith("--") and len(text) > 2:
            if name:
                options.append((name, " ".join(words), place))
            name, words = text[2:].lower(), []
            if "=" in name:
                name, _, value = name.partition("=")
                words = [value]
        elif not name and files is not None and text.endswith(".conf"):
            path = files.find(text, place.file)
            if path is not None:
                reading.consumed.add(path)
                options.extend(lines(path, files.texts[path], reading, files))
        elif name:
            words.append(text)
    if name:
        options.append((name, " ".join(words), place))
    made = store(place, options)
    if made not in reading.stores:
        reading.stores.append(made)


def from_container(command: Command, environment: Environment, files: Files, reading: Reading) -> None:
    """The command of a Redis container, with or without ``redis-server`` in front."""
    if command.argv is not None:
        argv = tuple("" if isinstance(word, Unknown) else word for word in command.argv)
    else:
        try:
            argv = tuple(shlex.split(command.line or ""))
        except ValueError:
            argv = tuple((command.line or "").split())
    if len(argv) > 2 and PurePath(argv[0]).name in {"sh", "bash"}:
        try:
            argv = tuple(shlex.split(argv[-1]))
        except ValueError:
            argv = tuple(argv[-1].split())
    while (
        argv
        and PurePath(argv[0]).name not in {"redis-server", "valkey-server", "keydb-server"}
        and not argv[0].startswith("--")
        and not argv[0].endswith(".conf")
    ):
        argv = argv[1:]
    if argv and (argv[0].startswith("--") or argv[0].endswith(".conf")):
        argv = ("redis-server", *argv)
    from_command(Invocation(argv=argv, place=command.place, environment=environment), reading, files)
