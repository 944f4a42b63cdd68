"""Read all the given files into one `Reading`: orchestrators first, then what they run.

A compose file runs images, an image runs a script, a script runs gunicorn, gunicorn reads its configuration. So
a file that another file runs is *consumed*: it does not count as a way of its own to run the service. The other
files are ranked: where a compose file, manifests, units or a Procfile say how the service runs, a Dockerfile
beside them only fills in what they leave open.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path, PurePath
from typing import Final

from kernel_lab.doctor import files as files_
from kernel_lab.doctor.facts import Count, Fact, Factor, Place, Reading, Server, Service, Value
from kernel_lab.doctor.files import Files
from kernel_lab.doctor.kinds import Kind, kind_of
from kernel_lab.doctor.readers import (
    apache,
    compose,
    containers,
    dockerfile,
    dotenv,
    embedded,
    gunicorn_file,
    helm,
    ini,
    kubernetes,
    nginx,
    redis,
    servers,
    units,
    yaml_tree,
)
from kernel_lab.doctor.readers.servers import Recognised
from kernel_lab.doctor.readers.shell import script
from kernel_lab.doctor.readers.shell.script import Invocation
from kernel_lab.doctor.readers.sources import checks
from kernel_lab.doctor.readers.worlds import World
from kernel_lab.doctor.readers.yaml_tree import Node

LOWER: Final[tuple[Kind, ...]] = ("dockerfile", "shell", "gunicorn", "uwsgi", "hypercorn", "python", "env")
"""The kinds of file that say how one container or host serves, from the outermost to the innermost."""


@dataclass(slots=True)
class Given:
    """The files, their kinds, and their YAML documents."""

    files: Files
    kinds: dict[str, Kind]
    documents: dict[str, list[Node]] = field(default_factory=dict)
    unknown: list[str] = field(default_factory=list)
    """Files that were named and whose kind the doctor does not know."""

    def of(self, kind: Kind) -> list[str]:
        """The files of one kind."""
        return [path for path, each in self.kinds.items() if each == kind]


def read(paths: Sequence[Path]) -> tuple[Reading, Given]:
    """Everything that the files say.

    Raises:
        BadInput: A named path is not there.
    """
    reading = Reading()
    given = _given(files_.collect(paths, reading), reading)
    for path in given.of("env"):
        if not PurePath(path).name.endswith((".example", ".sample", ".template", ".dist")):
            reading.environment |= dotenv.read(path, given.files.texts[path], reading)
    _orchestrators(given, reading)
    programs = _programs(given, reading)
    _adopt(programs, reading)
    if not _any_way(reading):
        _alone(programs, reading)
    for path in [*given.of("python"), *given.of("gunicorn")]:
        if path in given.of("python") or _is_application(given.files.texts[path]):
            checks.read(path, given.files.texts[path], reading)
        else:
            _check_python(path, given.files.texts[path], reading)
    return reading, given


def _given(files: Files, reading: Reading) -> Given:
    given = Given(files, {})
    for path, text in files.texts.items():
        kind = kind_of(path, text)
        if kind is None or kind in {"yaml", "conf"}:
            if path in files.named:
                given.unknown.append(path)
            continue
        given.kinds[path] = kind
        if kind in {"compose", "kubernetes", "helm"}:
            given.documents[path] = yaml_tree.read(path, text, reading)
    return given


def _is_application(text: str) -> bool:
    return any(word in text for word in ("fastapi", "flask", "django", "starlette"))


def _check_python(path: str, text: str, reading: Reading) -> None:
    try:
        gunicorn_file.parse(path, text)
    except SyntaxError as error:
        reading.trouble(
            Place(path, error.lineno or 1), f"This is not Python ({error.msg}), so the file was not read."
        )


def _any_way(reading: Reading) -> bool:
    return bool(reading.services)


def _orchestrators(given: Given, reading: Reading) -> None:
    files = given.files
    for path in given.of("compose"):
        if path not in reading.consumed:
            compose.read(path, given.documents[path], files, reading)
    reading.services[:] = [service for service in reading.services if service.group not in reading.consumed]
    values, manifests = given.of("helm"), list(given.of("kubernetes"))
    charts = [path for path in manifests if "{{" in files.texts[path] and values]
    plain = [path for path in manifests if path not in charts]
    images = _images(given, reading)
    if plain:
        kubernetes.read({path: given.documents[path] for path in plain}, files, reading, images)
    reading.consumed |= set(charts)
    _values(values, given, reading, images)
    for path in given.of("unit"):
        if path not in reading.consumed and not PurePath(path).parent.name.endswith(".d"):
            units.read(path, files, reading)
    for path in given.of("unit"):
        if path not in reading.consumed and PurePath(path).parent.name.endswith(".d"):
            units.read(path, files, reading)
    for path in given.of("apache"):
        apache.read(path, files.texts[path], reading)
    for path in given.of("nginx"):
        if path not in reading.consumed:
            nginx.read(path, files.texts[path], files, reading)
    for path in given.of("procfile"):
        if path not in reading.consumed:
            _procfile(path, given, reading)
    for path in given.of("supervisor"):
        if path not in reading.consumed and not given.of("dockerfile"):
            _supervisor(path, given, reading)
    for path in given.of("redis"):
        if path not in reading.consumed:
            redis.read(path, files.texts[path], reading, files)


def _images(given: Given, reading: Reading) -> dict[str, dockerfile.Image]:
    """The image of the only Dockerfile. Manifests without a command are taken to run this image."""
    paths = [path for path in given.of("dockerfile") if path not in reading.consumed]
    if len(paths) != 1 or not (given.of("kubernetes") or given.of("helm")):
        return {}
    image = dockerfile.read(paths[0], given.files.texts[paths[0]], reading)
    if image is None:
        return {}
    reading.consumed.add(paths[0])
    return {paths[0]: image}


def _values(
    paths: Sequence[str], given: Given, reading: Reading, images: Mapping[str, dockerfile.Image]
) -> None:
    """Values files.

    Each further file in the folder of values.yaml is laid over it, and gives one way to run the service.
    """
    base = next((path for path in paths if PurePath(path).name in {"values.yaml", "values.yml"}), None)
    others = [
        path
        for path in paths
        if path != base and base is not None and PurePath(path).parent == PurePath(base).parent
    ]
    for path in paths:
        if path == base and others:
            continue
        documents = given.documents[path]
        if path in others and base is not None and documents and given.documents[base]:
            documents = [_laid_over(given.documents[base][0], documents[0])]
        image = next(iter(images.values()), None)
        helm.read(path, documents, given.files.texts[path].splitlines(), given.files, reading, image)


def _laid_over(base: Node, over: Node, depth: int = 0) -> Node:
    if base.pairs is None or over.pairs is None or depth > 20:
        return over
    own, merged = over.mapping, dict(base.mapping)
    for key, value in own.items():
        merged[key] = _laid_over(merged[key], value, depth + 1) if key in merged else value
    return Node(over.file, over.line, pairs=[(key, value, value.line) for key, value in merged.items()])


def _beside(path: str, given: Given, reading: Reading) -> dict[str, Value]:
    """The variables of the .env file in the same folder."""
    found: dict[str, Value] = {}
    for each in given.of("env"):
        if PurePath(each).parent == PurePath(path).parent and not PurePath(each).name.endswith(
            (".example", ".sample", ".template", ".dist")
        ):
            found |= dotenv.read(each, given.files.texts[each], reading)
    return found


def _procfile(path: str, given: Given, reading: Reading) -> None:
    lines = servers.procfile_lines(given.files.texts[path])
    if not lines:
        reading.trouble(
            Place(path), "The Procfile has no line of the form `name: command`, so there is nothing to run."
        )
    environment = _beside(path, given, reading)
    for number, name, command in lines:
        if name == "release":
            continue
        place = Place(path, number)
        line = functools.partial(servers.run_line, command, place, files=given.files)
        found, opaque = containers.observe(line, environment, reading, place)
        if not found and opaque:
            found = [containers.opaque_server(name, place, environment, "")]
        reading.services.extend(
            Service(name=name, kind="process type", place=place, server=server, group=path)
            for server in found
        )


def _supervisor(path: str, given: Given, reading: Reading) -> None:
    for program in ini.supervisor(path, given.files.texts[path]):
        environment = {**_beside(path, given, reading), **program.environment}
        line = functools.partial(servers.run_line, program.command, program.place, files=given.files)
        found, opaque = containers.observe(line, environment, reading, program.place)
        if not found and opaque:
            found = [containers.opaque_server(program.name, program.place, environment, "")]
        count = Count.exactly(program.processes)
        factors = (
            (Factor(place=program.place, count=count, why=f"{program.name}: supervisor's numprocs"),)
            if program.processes > 1
            else ()
        )
        reading.services.extend(
            Service(
                name=program.name,
                kind="supervisor program",
                place=program.place,
                server=server,
                replicas=count,
                replica_factors=factors,
                group=path,
            )
            for server in found
        )


@dataclass(frozen=True, slots=True)
class Program:
    """A function from an environment to the servers that one of the lower files starts."""

    path: str
    kind: Kind
    evaluate: Callable[[World], Recognised]
    environment: Mapping[str, Value]


def _programs(given: Given, reading: Reading) -> list[Program]:
    files, found = given.files, list[Program]()
    for kind in LOWER:
        for path in given.of(kind):
            if path in reading.consumed:
                continue
            evaluate = _evaluator(path, kind, given, reading)
            if evaluate is not None:
                environment = reading.environment if kind == "env" else _beside(path, given, reading)
                found.append(Program(path, kind, evaluate, environment))
    _ = files
    return found


def _evaluator(path: str, kind: Kind, given: Given, reading: Reading) -> Callable[[World], Recognised] | None:
    files = given.files
    text = files.texts[path]
    match kind:
        case "dockerfile":
            image = dockerfile.read(path, text, reading)
            return None if image is None else lambda world: dockerfile.start(image, world, files)
        case "shell":
            line = script.first_error(text)
            if line is not None:
                reading.trouble(Place(path, line), "This line is not shell, so what follows may be misread.")
            return lambda world: servers.run_script(path, world, files)
        case "gunicorn":
            if path.endswith(".conf"):
                return None
            return lambda world: Recognised(servers=gunicorn_file.alone(path, files, world), consumed={path})
        case "uwsgi":
            raw = servers.one(Invocation(argv=("uwsgi",), place=Place(path), environment={}), "uwsgi", "")
            return lambda world: Recognised(
                servers=[replace(ini.uwsgi(path, text, raw), environment=world.environment)], consumed={path}
            )
        case "hypercorn":
            return lambda world: servers.recognise(
                Invocation(
                    argv=("hypercorn", "-c", PurePath(path).name),
                    place=Place(path),
                    environment=world.environment,
                ),
                world,
                files,
            )
        case "python":
            return lambda world: Recognised(servers=embedded.read(path, files, world), consumed=set())
        case "env":
            return lambda world: _environment(path, world)
        case _:
            return None


def _environment(path: str, world: World) -> Recognised:
    """Return the server that a .env file implies: its number of workers, for a server that reads it."""
    place = Place(path)
    if any(name in world.environment for name in ("WEB_CONCURRENCY", "GUNICORN_CMD_ARGS")):
        return servers.recognise(
            Invocation(argv=("gunicorn",), place=place, environment=world.environment), world, Files()
        )
    for name in ("UVICORN_WORKERS", "GRANIAN_WORKERS"):
        if name in world.environment:
            program = name.partition("_")[0].lower()
            return servers.recognise(
                Invocation(argv=(program,), place=place, environment=world.environment), world, Files()
            )
    named = containers.workers_variable(world.environment)
    if named is None:
        return Recognised()
    variable, value = named
    raw = servers.one(
        Invocation(argv=(), place=place, environment=world.environment),
        "unknown",
        f"{variable}={value.text}, by its name the number of workers",
    )
    number = value.number
    return Recognised(
        servers=[
            replace(raw, workers=number if number is not None else raw.workers, workers_place=value.place)
        ]
    )


def _adopt(programs: list[Program], reading: Reading) -> None:
    """Fill in services whose command no orchestrator tells, from the one program that fits."""
    for index, service in enumerate(reading.services):
        if (
            service.server.program != "unknown"
            or service.server.workers is not None
            or service.server.role != "web"
        ):
            continue
        program = _only(programs, reading)
        if program is None:
            return
        found, _ = containers.observe(
            program.evaluate, {**program.environment, **service.environment}, reading, service.place
        )
        if found:
            reading.services[index] = replace(service, server=found[0])
            reading.services.extend(replace(service, server=server) for server in found[1:])
            reading.consumed.add(program.path)


def _only(programs: Sequence[Program], reading: Reading) -> Program | None:
    for kind in LOWER[:-1]:
        candidates = [
            program for program in programs if program.kind == kind and program.path not in reading.consumed
        ]
        if len(candidates) == 1:
            found, _opaque = containers.observe(
                candidates[0].evaluate, candidates[0].environment, Reading(), Place(candidates[0].path)
            )
            if found:
                return candidates[0]
    return None


def _alone(programs: Sequence[Program], reading: Reading) -> None:
    """Without an orchestrator, the outermost kind of file that starts a server says how the service runs."""
    for kind in LOWER:
        made: list[Service] = []
        consumed: set[str] = set()
        for program in programs:
            if program.kind != kind or program.path in reading.consumed | consumed:
                continue
            attempt = Reading(consumed=set(reading.consumed))
            found, opaque = containers.observe(
                program.evaluate, program.environment, attempt, Place(program.path)
            )
            reading.stores.extend(store for store in attempt.stores if store not in reading.stores)
            for trouble in attempt.troubles:
                reading.trouble(trouble.place, trouble.message)
            consumed |= attempt.consumed
            if not found and opaque and kind == "dockerfile":
                found = _inside(program, programs, reading) or [
                    containers.opaque_server(
                        PurePath(program.path).stem, Place(program.path), program.environment, "the image"
                    )
                ]
            made.extend(
                Service(
                    name=PurePath(program.path).name,
                    kind=_KINDS.get(kind, kind),
                    place=server.place,
                    server=server,
                    group=program.path,
                )
                for server in found
            )
        if made:
            reading.services.extend(_deduplicated(made, consumed))
            reading.consumed |= consumed
            if kind == "env":
                reading.facts.append(
                    Fact(
                        rule="workers-only-in-environment",
                        place=made[0].server.workers_place,
                        values={"why": made[0].server.workers_why},
                    )
                )
            return


_KINDS: Final = {
    "dockerfile": "image",
    "shell": "start script",
    "gunicorn": "gunicorn",
    "python": "program",
    "env": "environment",
}


def _inside(program: Program, programs: Sequence[Program], reading: Reading) -> list[Server]:
    """An image whose command is not known, beside one script or one gunicorn file that it may run."""
    inner = _only([each for each in programs if LOWER.index(each.kind) > LOWER.index(program.kind)], reading)
    if inner is None:
        return []
    found, _ = containers.observe(
        inner.evaluate, {**inner.environment, **program.environment}, reading, Place(inner.path)
    )
    return found


def _deduplicated(made: Sequence[Service], consumed: set[str]) -> list[Service]:
    """Leave out scripts that another script of the same folder runs."""
    entries = [
        service
        for service in made
        if not any(
            service.group in consumed
            and other.group != service.group
            and service.server.place == other.server.place
            for other in made
        )
    ]
    return entries or list(made)
