"""Read docker compose files, interpolated as compose does it."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import PurePath
from typing import Final

from kernel_lab.doctor.facts import ONE, UNBOUNDED, Count, Factor, Place, Reading, Server, Service, Value
from kernel_lab.doctor.files import Files
from kernel_lab.doctor.readers import containers, dockerfile, dotenv, yaml_tree
from kernel_lab.doctor.readers.dockerfile import Command, Image
from kernel_lab.doctor.readers.shell.words import Word
from kernel_lab.doctor.readers.worlds import UNKNOWN
from kernel_lab.doctor.readers.yaml_tree import Node

_VARIABLE: Final = re.compile(
    r"\$(?:(\$)|([A-Za-z_]\w*)|\{([A-Za-z_]\w*)(?:(:?[-?+])((?:[^{}]|\{[^{}]*\}|\$\{[^{}]*\})*))?\})"
)
MOST_EXTENDS: Final = 10
_MARK: Final = "\x00"
"""Stands for a variable that must be set. No YAML text contains this character."""


@dataclass(frozen=True, slots=True)
class _Texts:
    """Interpolation of one project: the variables of its .env, and the variables that were asked for and not set."""

    environment: Mapping[str, Value]
    missing: set[str]

    def fill(self, text: str, depth: int = 0, *, unknown: str | None = None) -> str | None:
        """The text with its variables filled in; None, or the mark `unknown`, where a variable must be set."""
        missing = False

        def one(found: re.Match[str]) -> str:
            nonlocal missing
            if found[1]:
                return "$"
            name, operator, default = found[2] or found[3], found[4] or "", found[5] or ""
            value = self.environment.get(name)
            text = value.text if value is not None else None
            if text is None:
                self.missing.add(name)
            there = text is not None and (text != "" or not operator.startswith(":"))
            inner = (self.fill(default, depth + 1) or "") if depth < 5 else default
            if operator.endswith("+"):
                return inner if there else ""
            if there:
                return text or ""
            if operator.endswith("-"):
                return inner
            if operator.endswith("?"):
                missing = True
                return unknown or ""
            return ""

        filled = _VARIABLE.sub(one, text)
        return None if missing and unknown is None else filled


def read(path: str, documents: Sequence[Node], files: Files, reading: Reading) -> None:
    """The services of a compose file, with its override file laid over it."""
    if PurePath(path).stem.endswith(".override") and _base_of(path, files) is not None:
        return
    layers = [document for document in documents if document.get("services") is not None][:1]
    if not layers:
        reading.trouble(Place(path), "The compose file has no `services`, so there is nothing to run.")
        return
    if layers[0].get("services").pairs is None:  # type: ignore[union-attr]
        place = layers[0].get("services").place  # type: ignore[union-attr]
        reading.trouble(place, "`services` must be a mapping from names to services, and it is not.")
        return
    override = _override_of(path, files)
    if override is not None:
        reading.consumed.add(override)
        layers.extend(
            document
            for document in yaml_tree.read(override, files.texts[override], reading)
            if document.get("services")
        )
    beside = (
        files.find("./.env", path)
        if PurePath(path).parent == PurePath(files.find("./.env", path) or path).parent
        else None
    )
    environment: dict[str, Value] = {}
    if beside is not None:
        environment = dotenv.read(beside, files.texts[beside], reading)
        reading.consumed.add(beside)
    texts = _Texts(environment, set())
    names = dict.fromkeys(name for layer in layers for name in (layer.get("services") or layer).mapping)
    for name in names:
        chain = [node for layer in layers if (node := layer.get("services", name)) is not None]
        _service(name, path, _extended(name, chain, path, layers[0], files, reading), texts, files, reading)


def _base_of(path: str, files: Files) -> str | None:
    pure = PurePath(path)
    return next(
        (
            each
            for each in files.texts
            if PurePath(each) == pure.with_name(pure.stem.removesuffix(".override") + pure.suffix)
        ),
        None,
    )


def _override_of(path: str, files: Files) -> str | None:
    pure = PurePath(path)
    return next(
        (
            each
            for each in files.texts
            if PurePath(each).parent == pure.parent and PurePath(each).stem == f"{pure.stem}.override"
        ),
        None,
    )


def _extended(
    name: str, chain: list[Node], path: str, document: Node, files: Files, reading: Reading
) -> list[Node]:
    """The chain of mappings that a service consists of, the one it extends first."""
    for _ in range(MOST_EXTENDS):
        extends = chain[0].get("extends") if chain else None
        if extends is None:
            return chain
        other = extends.text or extends.text_at("service") or name
        file = extends.text_at("file")
        source: Node | None = document
        if file is not None:
            found = files.find(file, path)
            if found is None:
                reading.trouble(
                    extends.place, f"The service `{name}` extends {file}, which was not given to the doctor."
                )
                return chain
            documents = yaml_tree.read(found, files.texts[found], reading)
            source = documents[0] if documents else None
            reading.consumed.add(found)
        base = source.get("services", other) if source is not None else None
        if base is None or base in chain:
            return chain
        chain = [base, *chain]
    return chain


def _last(chain: Sequence[Node], *keys: str) -> Node | None:
    return next((node for layer in reversed(chain) if (node := layer.get(*keys)) is not None), None)


def _service(name: str, path: str, chain: list[Node], texts: _Texts, files: Files, reading: Reading) -> None:
    if not chain or chain[-1].pairs is None:
        if chain:
            reading.trouble(chain[-1].place, f"The service `{name}` is not a mapping, so it was not read.")
        return
    place = chain[-1].place
    texts.missing.clear()
    replicas, factors = _replicas(name, chain, texts, reading)
    image_node = _last(chain, "image")
    image_name = (texts.fill(image_node.text) or "") if image_node is not None and image_node.text else ""
    environment = _environment(chain, path, texts, files, reading)
    image = _image(chain, path, texts, files, reading)
    surge = _surge(chain)
    template = Service(
        name=name,
        kind="compose service",
        place=place,
        server=_placeholder(place),
        replicas=replicas,
        replica_factors=factors,
        surge=1 if surge is not None else 0,
        surge_factor=surge,
        surge_stated=surge is not None,
        group=path,
    )
    found = containers.services(
        name=name,
        kind="compose service",
        place=place,
        image=image,
        image_name=image_name,
        command=_command(_last(chain, "command"), texts),
        entrypoint=_command(_last(chain, "entrypoint"), texts),
        environment=environment,
        files=files,
        reading=reading,
        template=template,
    )
    changed = tuple(sorted(texts.missing))
    for service in found:
        server = replace(
            service.server,
            changed_by=(
                *service.server.changed_by,
                *(each for each in changed if each not in service.server.changed_by),
            ),
        )
        reading.services.append(replace(service, server=server))


def _placeholder(place: Place) -> Server:
    return Server(program="unknown", place=place, workers_place=place, workers_why="")


def _replicas(
    name: str, chain: Sequence[Node], texts: _Texts, reading: Reading
) -> tuple[Count, tuple[Factor, ...]]:
    mode = _last(chain, "deploy", "mode")
    if mode is not None and mode.text == "global":
        return UNBOUNDED, (
            Factor(
                place=mode.place, count=UNBOUNDED, why=f"{name}: mode global runs one replica on each node"
            ),
        )
    node = _last(chain, "deploy", "replicas") or _last(chain, "scale")
    if node is None:
        return ONE, ()
    text = texts.fill(node.text or "")
    if text is None or text == "":
        return UNBOUNDED, (
            Factor(
                place=node.place,
                count=None,
                why=f"{name}: the replicas come from a variable that nothing here sets",
            ),
        )
    try:
        count = Count.exactly(int(text))
    except ValueError:
        reading.trouble(
            node.place, f"The number of replicas of `{name}` is {text!r}, which is not a whole number."
        )
        return UNBOUNDED, (
            Factor(place=node.place, count=None, why=f"{name}: the number of replicas cannot be read"),
        )
    how = f" ({node.text})" if "$" in (node.text or "") else ""
    return count, (
        Factor(
            place=node.place, count=count, why=f"{name}: {count} replica{'' if count == ONE else 's'}{how}"
        ),
    )


def _surge(chain: Sequence[Node]) -> Factor | None:
    order = _last(chain, "deploy", "update_config", "order")
    if order is None or order.text != "start-first":
        return None
    return Factor(
        place=order.place,
        count=ONE,
        why="an update starts the new replica before the old one ends (start-first)",
    )


def _command(node: Node | None, texts: _Texts) -> Command | None:
    if node is None:
        return None
    if node.items is not None:
        return Command(
            node.place, argv=tuple(_word(texts.fill(item.text or "", unknown=_MARK)) for item in node.items)
        )
    if node.text is None:
        return None
    return Command(
        node.place,
        argv=tuple(_word(word) for word in dockerfile.split(texts.fill(node.text, unknown=_MARK) or "")),
    )


def _word(word: str | None) -> Word:
    return UNKNOWN if word is None or _MARK in word else word


def _environment(
    chain: Sequence[Node], path: str, texts: _Texts, files: Files, reading: Reading
) -> dict[str, Value]:
    environment: dict[str, Value] = {}
    for layer in chain:
        for item in layer.list_at("env_file"):
            wanted = item.text or item.text_at("path")
            found = files.find(wanted, path) if wanted else None
            if found is not None:
                reading.consumed.add(found)
                environment.update(dotenv.read(found, files.texts[found], reading))
    for layer in chain:
        node = layer.get("environment")
        if node is None:
            continue
        for name, each in node.mapping.items():
            if each.text is None and name in texts.environment:
                environment[name] = texts.environment[name]
            elif each.text is not None:
                environment[name] = Value(texts.fill(each.text), each.place)
            elif each.items is None and each.pairs is None:
                texts.missing.add(name)
        for item in node.items or ():
            name, equals, text = (item.text or "").partition("=")
            if equals:
                environment[name] = Value(texts.fill(text), item.place)
            elif name in texts.environment:
                environment[name] = texts.environment[name]
    return environment


def _image(chain: Sequence[Node], path: str, texts: _Texts, files: Files, reading: Reading) -> Image | None:
    build = _last(chain, "build")
    if build is None:
        return None
    if (inline := build.text_at("dockerfile_inline")) is not None:
        return dockerfile.read(path, inline, reading)
    context = texts.fill(build.text or build.text_at("context") or ".") or "."
    name = texts.fill(build.text_at("dockerfile") or "Dockerfile") or "Dockerfile"
    found = files.find(str(PurePath(context) / name), path)
    if found is None and build.text_at("dockerfile") is None:
        candidates = [
            each
            for each in files.texts
            if PurePath(each).name.lower().endswith(("dockerfile", "containerfile"))
        ]
        found = candidates[0] if len(candidates) == 1 else None
    if found is None:
        return None
    reading.consumed.add(found)
    arguments = {
        key: texts.fill(value.text or "") or ""
        for key, value in (build.get("args") or build).mapping.items()
        if value.text
    }
    for item in build.list_at("args"):
        key, equals, value = (item.text or "").partition("=")
        if equals:
            arguments[key] = texts.fill(value) or ""
    return dockerfile.read(found, files.texts[found], target=build.text_at("target"), arguments=arguments)
