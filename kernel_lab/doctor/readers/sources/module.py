"""One source file as a syntax tree, and the small questions that several checks ask of it."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Final

from kernel_lab.doctor.facts import Fact, Place

REVOKED: Final = re.compile(
    r"revo|deny_?list|denied|black_?list|block_?list|blocked|banned|logged_out|invalidated|disabled_tokens",
    re.IGNORECASE,
)


@dataclass(slots=True)
class Module:
    """One source file and what the checks need of it."""

    path: str
    tree: ast.Module
    text: str
    imports: dict[str, str] = field(default_factory=dict)
    """Local name to dotted origin."""

    def place(self, node: ast.AST) -> Place:
        """Return the place of a node."""
        return Place(self.path, getattr(node, "lineno", 1))

    def called(self, node: ast.AST) -> str:
        """The dotted origin of what a call calls, or an empty text."""
        return self.origin(node.func) if isinstance(node, ast.Call) else ""

    def origin(self, node: ast.AST) -> str:
        """A dotted name with its import resolved."""
        parts: list[str] = []
        while isinstance(node, ast.Attribute):
            parts.append(node.attr)
            node = node.value
        if isinstance(node, ast.Call):
            parts.append(f"{self.called(node)}()")
        elif isinstance(node, ast.Name):
            parts.append(self.imports.get(node.id, node.id))
        else:
            return ""
        return ".".join(reversed(parts))

    def calls(self) -> Iterator[tuple[str, ast.Call]]:
        """Every call of the module with the origin of what it calls."""
        for node in ast.walk(self.tree):
            if isinstance(node, ast.Call):
                yield self.called(node), node


def keyword_of(node: ast.Call, *names: str) -> ast.expr | None:
    """Return the value of the first keyword argument with one of these names; None if there is none."""
    return next((each.value for each in node.keywords if each.arg in names), None)


def is_true(node: ast.expr | None) -> bool:
    """Return whether an expression is the constant True."""
    return isinstance(node, ast.Constant) and node.value is True


def string_of(node: ast.AST | None) -> str | None:
    """Return the text of a string constant; None for any other node."""
    return node.value if isinstance(node, ast.Constant) and isinstance(node.value, str) else None


def name_of(node: ast.AST) -> str:
    """Return the name that a name or an attribute ends with; an empty text for any other node."""
    if isinstance(node, ast.Name):
        return node.id
    return node.attr if isinstance(node, ast.Attribute) else ""


def fact_of(rule: str, module: Module, node: ast.AST, **values: str | int) -> Fact:
    """Return a fact of a rule at the place of a node."""
    return Fact(rule=rule, place=module.place(node), values=values)


def bindings(body: list[ast.stmt]) -> Iterator[tuple[ast.stmt, ast.expr, ast.expr | None]]:
    """Yield every assignment of a block, also inside `if`, `try` and `with`: statement, target and value."""
    for statement in body:
        if isinstance(statement, ast.Assign):
            for target in statement.targets:
                yield statement, target, statement.value
        elif isinstance(statement, ast.AnnAssign):
            yield statement, statement.target, statement.value
        elif isinstance(statement, (ast.If, ast.Try, ast.With)):
            yield from bindings(statement.body)
            yield from bindings(getattr(statement, "orelse", []))
            for handler in getattr(statement, "handlers", []):
                yield from bindings(handler.body)
