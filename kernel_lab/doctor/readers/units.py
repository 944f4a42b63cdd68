"""Read systemd units, their drop-ins, and podman's quadlets (.container)."""

from __future__ import annotations

import re
import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import PurePath
from typing import Final

from kernel_lab.doctor.facts import ONE, UNBOUNDED, Factor, Place, Reading, Server, Service, Value
from kernel_lab.doctor.files import Files
from kernel_lab.doctor.readers import containers, dotenv, servers
from kernel_lab.doctor.readers.dockerfile import Command, split
from kernel_lab.doctor.readers.servers import Recognised
from kernel_lab.doctor.readers.shell.script import Invocation
from kernel_lab.doctor.readers.shell.words import Word
from kernel_lab.doctor.readers.worlds import UNKNOWN, World

_PREFIX: Final = re.compile(r"^[-@:+!|]+")
_VARIABLE: Final = re.compile(r"\$\{([A-Za-z_]\w*)\}|\$([A-Za-z_]\w*)")


@dataclass(slots=True)
class Unit:
    """The lines of a unit, with its drop-ins: section and key to the values in their order."""

    path: str
    settings: dict[tuple[str, str], list[Value]] = field(default_factory=dict)

    def last(self, section: str, key: str) -> Value | None:
        """The value that counts."""
        found = self.settings.get((section, key.lower()))
        return found[-1] if found else None

    def all(self, section: str, key: str) -> list[Value]:
        """All values that count; an empty one forgets those before it."""
        return self.settings.get((section, key.lower()), [])


def lines(path: str, text: str, reading: Reading, unit: Unit) -> None:
    """Read one file into a unit: no library keeps repeated keys together with their lines."""
    section, number = "", 0
    rows = text.splitlines()
    while number < len(rows):
        start = number
        line = rows[number].strip()
        number += 1
        if not line or line[0] in "#;":
            continue
        while line.endswith("\\") and number < len(rows):
            following = rows[number].strip()
            number += 1
            if following[:1] in {"#", ";"}:
                continue
            line = f"{line[:-1].rstrip()} {following}"
        place = Place(path, start + 1)
        if found := re.fullmatch(r"\[([^\]]+)\]", line):
            section = found[1]
            continue
        key, equals, value = line.partition("=")
        if not equals or not section:
            reading.trouble(
                place,
                f"`{line[:60]}` is neither a section nor of the form Key=value, so the line was not read.",
            )
            continue
        values = unit.settings.setdefault((section, key.strip().lower()), [])
        if value.strip() == "":
            values.clear()
        else:
            values.append(Value(value.strip(), place))


def read(path: str, files: Files, reading: Reading) -> None:
    """The service of a unit, with the drop-ins that stand beside it."""
    unit = Unit(path)
    lines(path, files.texts[path], reading, unit)
    for drop_in in sorted(
        each
        for each in files.texts
        if PurePath(each).parent.name == f"{PurePath(path).name}.d" and each != path
    ):
        reading.consumed.add(drop_in)
        lines(drop_in, files.texts[drop_in], reading, unit)
    if any(section == "Container" for section, _ in unit.settings):
        _quadlet(unit, files, reading)
    elif unit.all("Service", "ExecStart"):
        _service(unit, files, reading)
    elif any(section == "Service" for section, _ in unit.settings) and not PurePath(
        path
    ).parent.name.endswith(".d"):
        reading.trouble(Place(path), "The unit has no ExecStart, so there is nothing to run.")


def _environment(unit: Unit, section: str, files: Files, reading: Reading) -> dict[str, Value]:
    environment: dict[str, Value] = {}
    for value in unit.all(section, "Environment"):
        try:
            words = shlex.split(value.text or "")
        except ValueError:
            reading.trouble(
                value.place, "Environment= has a quote that does not end, so the line was not read."
            )
            continue
        for word in words:
            name, equals, text = word.partition("=")
            if equals:
                environment[name] = Value(text, value.place)
    for value in unit.all(section, "EnvironmentFile"):
        found = files.find((value.text or "").removeprefix("-"), unit.path)
        if found is not None:
            reading.consumed.add(found)
            environment.update(dotenv.read(found, files.texts[found], reading))
    return environment


def _service(unit: Unit, files: Files, reading: Reading) -> None:
    environment = _environment(unit, "Service", files, reading)
    name = PurePath(unit.path).stem
    place = unit.all("Service", "ExecStart")[-1].place
    found, opaque = containers.observe(
        lambda world: _started(unit, environment, world, files), environment, reading, place
    )
    if not found and opaque:
        found = [containers.opaque_server(name, place, environment, "")]
    replicas, factors = ONE, tuple[Factor, ...]()
    if name.endswith("@"):
        replicas = UNBOUNDED
        factors = (
            Factor(
                place=Place(unit.path),
                count=None,
                why=f"{name}: a template runs once for each instance that is enabled",
            ),
        )
    hup = next(
        (
            value.place
            for value in unit.all("Service", "ExecReload")
            if re.search(r"\b(SIG)?HUP\b|-1\s", value.text or "")
        ),
        None,
    )
    for server in found:
        reading.services.append(
            Service(
                name=name,
                kind="systemd unit",
                place=place,
                server=server,
                replicas=replicas,
                replica_factors=factors,
                reloads_by_hup=hup,
                group=f"the units in {PurePath(unit.path).parent}" if _several(files) else unit.path,
            )
        )


def _several(files: Files) -> bool:
    return sum(PurePath(each).suffix in {".service", ".container"} for each in files.texts) > 1


def _started(unit: Unit, environment: Mapping[str, Value], world: World, files: Files) -> Recognised:
    found = Recognised()
    for value in unit.all("Service", "ExecStart"):
        line = _PREFIX.sub("", value.text or "")
        line = line.replace("%%", "%")
        try:
            words = shlex.split(line)
        except ValueError:
            words = line.split()
        argv = [part for word in words for part in _filled(word, environment, world, value.place)]
        one = servers.recognise(
            Invocation(argv=tuple(argv), place=value.place, environment=world.environment), world, files
        )
        found.servers.extend(one.servers)
        found.opaque.extend(one.opaque)
        found.consumed |= one.consumed
        found.stores.extend(one.stores)
    return found


def _filled(word: str, environment: Mapping[str, Value], world: World, place: Place) -> Sequence[Word]:
    """The word or words that systemd makes of one: ``$X`` alone becomes several."""
    whole = re.fullmatch(r"\$([A-Za-z_]\w*)", word)
    if whole:
        value = world.variable(whole[1], place)
        if value is None:
            return []
        return [UNKNOWN] if value.text is None else split(value.text)
    if any(world.variable(one or two, place) is None for one, two in _VARIABLE.findall(word)):
        return [_VARIABLE.sub("", word)] if not _VARIABLE.fullmatch(word) else [UNKNOWN]
    if any(
        environment[one or two].text is None
        for one, two in _VARIABLE.findall(word)
        if (one or two) in environment
    ):
        return [UNKNOWN]
    return [_VARIABLE.sub(lambda found: environment[found[1] or found[2]].text or "", word)]


def _quadlet(unit: Unit, files: Files, reading: Reading) -> None:
    environment = _environment(unit, "Container", files, reading)
    image, run, entry = (unit.last("Container", key) for key in ("Image", "Exec", "Entrypoint"))
    place = (run or image or Value("", Place(unit.path))).place
    name = PurePath(unit.path).stem
    template = Service(
        name=name,
        kind="quadlet",
        place=place,
        server=Server(program="unknown", place=place, workers_place=place, workers_why=""),
        group=f"the units in {PurePath(unit.path).parent}" if _several(files) else unit.path,
    )
    reading.services.extend(
        containers.services(
            name=name,
            kind="quadlet",
            place=place,
            image=None,
            image_name=(image.text or "") if image else "",
            command=Command(run.place, argv=split(run.text or "")) if run else None,
            entrypoint=Command(entry.place, argv=split(entry.text or "")) if entry else None,
            environment=environment,
            files=files,
            reading=reading,
            template=template,
        )
    )
