"""Read a Dockerfile: the last stage's command, with its environment."""

from __future__ import annotations

import io
import json
import logging
import re
import shlex
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Final

from dockerfile_parse import DockerfileParser

from kernel_lab.doctor.facts import Environment, Place, Reading, Value
from kernel_lab.doctor.files import Files
from kernel_lab.doctor.readers import servers
from kernel_lab.doctor.readers.raw import Raw
from kernel_lab.doctor.readers.servers import Recognised
from kernel_lab.doctor.readers.shell.script import Invocation
from kernel_lab.doctor.readers.shell.words import Word
from kernel_lab.doctor.readers.worlds import World

_INSTRUCTIONS: Final = frozenset(
    {
        "FROM",
        "RUN",
        "CMD",
        "LABEL",
        "MAINTAINER",
        "EXPOSE",
        "ENV",
        "ADD",
        "COPY",
        "ENTRYPOINT",
        "VOLUME",
        "USER",
        "WORKDIR",
        "ARG",
        "ONBUILD",
        "STOPSIGNAL",
        "HEALTHCHECK",
        "SHELL",
        "COMMENT",
    }
)
_PAIR: Final = re.compile(r"([A-Za-z_]\w*)=(\"(?:[^\"\\]|\\.)*\"|'[^']*'|(?:[^\s\\]|\\.)*)")


@dataclass(frozen=True, slots=True)
class Command:
    """A CMD or an ENTRYPOINT: a list of arguments, or a line for the shell."""

    place: Place
    argv: tuple[Word, ...] | None = None
    line: str | None = None


@dataclass(slots=True)
class Image:
    """The command and the environment of an image when nothing else is stated."""

    place: Place
    base: str = ""
    entrypoint: Command | None = None
    command: Command | None = None
    environment: dict[str, Value] = field(default_factory=dict)


def read(
    path: str,
    text: str,
    reading: Reading | None = None,
    *,
    target: str | None = None,
    arguments: Mapping[str, str] | None = None,
) -> Image | None:
    """The image of the last stage, or of the stage `target`; None where the file holds no stage."""
    structure = _structure(text)
    stages: dict[str, Image] = {}
    now: Image | None = None
    given: dict[str, str] = {}
    outside: dict[str, str] = {}
    wanted: Image | None = None
    name = ""
    for each in structure:
        instruction, value = str(each["instruction"]).upper(), str(each["value"])
        place = Place(path, int(each["startline"]) + 1)
        if instruction not in _INSTRUCTIONS:
            if reading is not None:
                reading.trouble(
                    place,
                    f"`{instruction[:40]}` is no instruction of a Dockerfile, so the line was not read.",
                )
            continue
        if instruction == "ARG":
            key, equals, default = value.partition("=")
            key = key.strip()
            known = (arguments or {}).get(key, default.strip().strip("\"'") if equals else outside.get(key))
            if known is not None:
                (outside if now is None else given)[key] = known
            continue
        if instruction == "FROM":
            base, name = _from(_filled(value, outside))
            before = stages.get(base.lower())
            now = (
                replace(before, place=place, environment=dict(before.environment))
                if before
                else Image(place, base)
            )
            given = {}
            stages[name.lower() or str(len(stages))] = now
            if target is not None and name.lower() == target.lower():
                wanted = now
            continue
        if now is None:
            continue
        if instruction == "ENV":
            _env(now, value, given, place)
        elif instruction == "CMD":
            now.command = _command(value, place)
        elif instruction == "ENTRYPOINT":
            now.entrypoint = _command(value, place)
            now.command = None
    if now is None and reading is not None:
        reading.trouble(Place(path), "The Dockerfile has no FROM, so there is nothing to run.")
    return wanted or now


def _structure(text: str) -> list[dict[str, Any]]:
    # dockerfile-parse does not know here-documents: their lines are emptied, or it would read instructions there
    logging.getLogger("dockerfile_parse").setLevel(logging.ERROR)
    parser = DockerfileParser(fileobj=io.BytesIO(_without_heredocs(text).encode()))
    return list(parser.structure)


def _without_heredocs(text: str) -> str:
    lines, until = [], None
    for line in text.split("\n"):
        if until is not None:
            if line.strip() == until:
                until = None
            lines.append("")
            continue
        if found := re.match(r"^\s*(?:RUN|COPY|ADD)\b.*<<-?['\"]?(\w+)['\"]?", line, re.IGNORECASE):
            until = found[1]
        lines.append(line)
    return "\n".join(lines)


def _from(value: str) -> tuple[str, str]:
    words = [word for word in value.split() if not word.startswith("--")]
    name = words[2] if len(words) > 2 and words[1].lower() == "as" else ""
    return (words[0] if words else ""), name


def _filled(text: str, given: Mapping[str, str]) -> str:
    def fill(found: re.Match[str]) -> str:
        name, operator, default = found[1] or found[4], found[2], found[3]
        value = given.get(name)
        if operator == ":+":
            return default or "" if value else ""
        return value or ((default or "") if operator else value or "")

    return re.sub(r"\$\{([A-Za-z_]\w*)(?:(:?[-+])([^}]*))?\}|\$([A-Za-z_]\w*)", fill, text)


def _env(image: Image, value: str, given: Mapping[str, str], place: Place) -> None:
    known = {**given, **{name: each.text or "" for name, each in image.environment.items()}}
    pairs = _PAIR.findall(value)
    if not re.match(r"^\s*[A-Za-z_]\w*=", value):
        name, _, text = value.strip().partition(" ")
        pairs = [(name, text.strip())]
    for name, text in pairs:
        bare = text[1:-1] if len(text) > 1 and text[0] == text[-1] and text[0] in "\"'" else text
        image.environment[name] = Value(_filled(bare, known), place)


def _command(value: str, place: Place) -> Command:
    if value.lstrip().startswith("["):
        try:
            words = json.loads(value)
        except (ValueError, RecursionError):
            return Command(place, line=value)
        if isinstance(words, list) and all(isinstance(word, str) for word in words):
            return Command(place, argv=tuple(words))
    return Command(place, line=value)


def start(
    image: Image,
    world: World,
    files: Files,
    *,
    command: Command | None = None,
    entrypoint: Command | None = None,
    environment: Environment | None = None,
) -> Recognised:
    """Return the servers that a container starts in one world. `command` and `entrypoint` replace the image's."""
    first = entrypoint or image.entrypoint
    second = command if command is not None else None if entrypoint is not None else image.command
    seen = world.seeing({**world.environment, **image.environment, **(environment or {})})
    if first is not None and first.line is not None:
        return servers.run_line(first.line, first.place, seen, files)
    if first is None and second is None:
        return _base_image(image, seen)
    if second is not None and second.line is not None and first is None:
        return servers.run_line(second.line, second.place, seen, files)
    tail: tuple[Word, ...] = ()
    if second is not None:
        tail = second.argv if second.argv is not None else ("/bin/sh", "-c", second.line or "")
    argv = (*(first.argv or () if first is not None else ()), *tail)
    place = second.place if second is not None else first.place if first is not None else image.place
    return servers.recognise(Invocation(argv=argv, place=place, environment=seen.environment), seen, files)


def base_starts(base: str) -> bool:
    """Whether the image of this name starts gunicorn by itself, by the number of cores."""
    return re.search(r"(^|/)tiangolo/(uvicorn-gunicorn|meinheld-gunicorn)", base) is not None


def _base_image(image: Image, world: World) -> Recognised:
    if not base_starts(image.base):
        return Recognised(opaque=[image.place])
    place = image.place
    given = world.variable("WEB_CONCURRENCY", place)
    per_core, most = world.variable("WORKERS_PER_CORE", place), world.variable("MAX_WORKERS", place)
    if given is not None and given.number is not None:
        workers, where, why = (
            given.number,
            given.place,
            f"WEB_CONCURRENCY={given.text}, which the image's start script reads",
        )
    else:
        factor = (
            float(per_core.text or 1) if per_core and re.fullmatch(r"[\d.]+", per_core.text or "") else 1.0
        )
        workers = max(2, int(factor * world.core_count(place)))
        if most is not None and most.number:
            workers = min(workers, most.number)
        where, why = place, f"{image.base} starts one worker for each core, at least 2"
    return Recognised(
        servers=[
            Raw(
                program="gunicorn",
                place=place,
                role="web",
                workers=workers,
                workers_place=where,
                why=why,
                settings={},
                environment=world.environment,
                application=None,
            ),
        ]
    )


def split(text: str) -> tuple[str, ...]:
    """A command line that no shell reads, as arguments."""
    try:
        return tuple(shlex.split(text))
    except ValueError:
        return tuple(text.split())
