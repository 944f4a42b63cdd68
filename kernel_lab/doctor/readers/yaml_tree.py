"""YAML as a tree that knows its lines, built without recursion and without copying aliases."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Final

import yaml

from kernel_lab.doctor.facts import Place, Reading, Value

DEEPEST: Final = 60
MOST_EVENTS: Final = 200_000

_LOADER: Final = getattr(yaml, "CSafeLoader", yaml.SafeLoader)


@dataclass(slots=True, eq=False)
class Node:
    """A value of a YAML document; accessors answer with nothing where the kind does not fit."""

    file: str
    line: int
    text: str | None = None
    """The text of a scalar; None for null and for collections."""
    pairs: list[tuple[str, Node, int]] | None = None
    items: list[Node] | None = None
    plain: bool = True
    """Whether a scalar stands without quotes."""
    _merged: dict[str, Node] | None = field(default=None, repr=False)
    _lines: dict[str, int] = field(default_factory=dict, repr=False)

    @property
    def place(self) -> Place:
        """The place of the node."""
        return Place(self.file, self.line)

    @property
    def mapping(self) -> dict[str, Node]:
        """The keys and values of a mapping, with ``<<`` merged in."""
        if self._merged is not None:
            return self._merged
        self._merged = {}  # a mapping that merges itself stays empty
        merged: dict[str, Node] = {}
        own: dict[str, Node] = {}
        for key, value, line in self.pairs or ():
            if key == "<<":
                for source in value.items or [value]:
                    for name, inner in source.mapping.items():
                        merged.setdefault(name, inner)
                        self._lines.setdefault(name, inner.line)
            else:
                own[key] = value
                self._lines[key] = line
        self._merged = {**merged, **own}
        return self._merged

    def get(self, *path: str) -> Node | None:
        """The value below a path of keys, or None."""
        node: Node | None = self
        for key in path:
            if node is None:
                return None
            node = node.mapping.get(key)
        return node

    def text_at(self, *path: str) -> str | None:
        """The text of the scalar below a path of keys, or None."""
        node = self.get(*path)
        return node.text if node is not None else None

    def list_at(self, *path: str) -> list[Node]:
        """The items of the sequence below a path of keys; a scalar counts as one item."""
        node = self.get(*path)
        if node is None:
            return []
        if node.items is not None:
            return node.items
        return [node] if node.text is not None else []

    def value(self) -> Value:
        """The scalar as a setting."""
        return Value(self.text if self.text is not None else "", self.place)

    @property
    def boolean(self) -> bool | None:
        """A scalar as true or false, or None."""
        lowered = (self.text or "").lower()
        return (
            True if lowered in {"true", "yes", "on"} else False if lowered in {"false", "no", "off"} else None
        )

    def walk(self) -> Iterator[tuple[tuple[str, ...], Node]]:
        """Every node below, once, with its path of keys."""
        seen: set[int] = set()
        todo: list[tuple[tuple[str, ...], Node]] = [((), self)]
        while todo:
            path, node = todo.pop(0)
            if id(node) in seen or len(path) > DEEPEST:
                continue
            seen.add(id(node))
            yield path, node
            todo.extend(((*path, key), value) for key, value in node.mapping.items())
            todo.extend((path, item) for item in node.items or ())


def read(path: str, text: str, reading: Reading) -> list[Node]:
    """The documents of a YAML file; one that is not YAML is a trouble, and those before it count."""
    documents: list[Node] = []
    if "{{" in text:
        text = without_templates(text)
    try:
        _documents(path, text, documents)
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None) or getattr(error, "context_mark", None)
        problem = " ".join(str(getattr(error, "problem", None) or error).split())
        line = mark.line + 1 if mark is not None else 1
        reading.trouble(Place(path, line), f"This is not YAML ({problem}), so the document was not read.")
    except _Bound as error:
        reading.trouble(Place(path, error.line), f"{error}, so the document was not read.")
    except ValueError as error:
        reading.trouble(Place(path), f"This is not YAML ({error}), so the document was not read.")
    return documents


class _Bound(Exception):  # noqa: N818
    def __init__(self, message: str, line: int) -> None:
        super().__init__(message)
        self.line = line


def _documents(path: str, text: str, documents: list[Node]) -> None:
    anchors: dict[str, Node] = {}
    stack: list[tuple[Node, list[Node]]] = []
    for count, event in enumerate(yaml.parse(text, Loader=_LOADER)):
        line = event.start_mark.line + 1 if event.start_mark else 1
        if count > MOST_EVENTS:
            raise _Bound(f"The file holds more than {MOST_EVENTS:,} YAML values", line)
        match event:
            case yaml.DocumentStartEvent():
                anchors = {}
            case yaml.AliasEvent():
                _put(stack, documents, anchors.get(event.anchor or "") or Node(path, line))
            case yaml.ScalarEvent():
                plain = event.style is None
                empty = plain and event.value in {"", "~", "null", "Null", "NULL"}
                node = Node(path, line, text=None if empty else event.value, plain=plain)
                if event.anchor:
                    anchors[event.anchor] = node
                _put(stack, documents, node)
            case yaml.MappingStartEvent() | yaml.SequenceStartEvent():
                if len(stack) > DEEPEST:
                    raise _Bound(f"The YAML is nested deeper than {DEEPEST} levels", line)
                mapping = isinstance(event, yaml.MappingStartEvent)
                node = Node(path, line, pairs=[] if mapping else None, items=None if mapping else [])
                if event.anchor:
                    anchors[event.anchor] = node
                stack.append((node, []))
            case yaml.MappingEndEvent() | yaml.SequenceEndEvent():
                node, children = stack.pop()
                if node.pairs is not None:
                    node.pairs.extend(
                        (key.text if key.text is not None else "", value, key.line)
                        for key, value in zip(children[::2], children[1::2], strict=False)
                    )
                else:
                    node.items = children
                _put(stack, documents, node)
            case _:
                pass


def _put(stack: list[tuple[Node, list[Node]]], documents: list[Node], node: Node) -> None:
    if stack:
        stack[-1][1].append(node)
    else:
        documents.append(node)


_ONLY_TEMPLATE: Final = re.compile(r"^\s*(-\s*)?\{\{.*\}\}\s*$")
_TEMPLATE: Final = re.compile(r"\{\{.*?\}\}")


def without_templates(text: str) -> str:
    """A Helm template without its lines of pure template, and with placeholders for its values."""
    lines = []
    for line in text.split("\n"):
        if _ONLY_TEMPLATE.match(line):
            lines.append("")
        else:
            lines.append(_TEMPLATE.sub(lambda found: _placeholder(found[0]), line))
    return "\n".join(lines)


def _placeholder(template: str) -> str:
    if found := re.search(r"\|\s*default\s+\"?([\w.-]+)\"?", template):
        return found[1]
    return "TEMPLATED"
