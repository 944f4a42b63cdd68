"""The names that a Python file binds, found by following its statements without executing it.

The evaluator walks the syntax tree: assignments, `if`, loops and functions of the file itself. So nothing of the file
ever runs: no import, no open file, no connection. `docs/decisions/0016-doctor-reads-gunicorn.md` argues for this.
"""

from __future__ import annotations

import ast
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from kernel_lab.doctor.readers.python.allowed import LONGEST
from kernel_lab.doctor.readers.python.expressions import DEEPEST, Dotted, Expressions, Function, Raised, Scope
from kernel_lab.doctor.readers.worlds import UNKNOWN, TooMuch, World


class Return(Exception):  # noqa: N818
    """``return``, with its value."""

    def __init__(self, value: Any) -> None:
        self.value = value


class Loop(Exception):  # noqa: N818
    """``break`` or ``continue``."""

    def __init__(self, ends: bool) -> None:
        self.ends = ends


def run(tree: ast.Module, file: str, world: World, *, functions: bool = False) -> Scope:
    """Evaluate a module, and return the names that its top level bound. A file that raises is evaluated up to there.

    With `functions`, the bodies of functions that the module itself does not call are evaluated too, for
    the calls in them.
    """
    scope = Scope()
    evaluator = Statements(file=file, world=world, top=scope)
    try:
        evaluator.block(tree.body, scope.names)
    except (Raised, Return, Loop):
        scope.ended = True
    if functions:
        for node in ast.walk(tree):
            if (
                isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef))
                and id(node) not in evaluator.entered
            ):
                try:
                    evaluator.block(node.body, {argument.arg: UNKNOWN for argument in node.args.args})
                except (Raised, Return, Loop):
                    continue
    return scope


@dataclass(slots=True)
class Statements(Expressions):
    """Follows the statements of one file in one world, and evaluates their expressions."""

    entered: set[int] = field(default_factory=set)
    """The functions that the file called."""

    def block(self, body: Sequence[ast.stmt], names: dict[str, Any]) -> None:
        """Evaluate statements one after another."""
        for statement in body:
            self.statement(statement, names)

    def statement(self, node: ast.stmt, names: dict[str, Any]) -> None:
        """Evaluate one statement."""
        self.world.step()
        match node:
            case ast.Assign():
                value = self.value(node.value, names)
                for target in node.targets:
                    self.bind(target, value, names, node)
            case ast.AnnAssign(value=ast.expr() as given):
                self.bind(node.target, self.value(given, names), names, node)
            case ast.AugAssign():
                now = self.value(node.target, names)
                value = self.binary(node.op, now, self.value(node.value, names))
                self.bind(node.target, value, names, node)
            case ast.If():
                self.block(node.body if self.truth(node.test, names) else node.orelse, names)
            case ast.Import():
                for alias in node.names:
                    first = alias.name.split(".", maxsplit=1)[0]
                    names[alias.asname or first] = Dotted(alias.name if alias.asname else first)
            case ast.ImportFrom():
                for alias in node.names:
                    names[alias.asname or alias.name] = Dotted(f"{node.module or ''}.{alias.name}")
            case ast.FunctionDef():
                names[node.name] = Function(node)
            case ast.Return():
                raise Return(self.value(node.value, names) if node.value else None)
            case ast.Expr():
                self.value(node.value, names)
            case ast.For():
                self.loop(node, names)
            case ast.While():
                while self.truth(node.test, names):
                    try:
                        self.block(node.body, names)
                    except Loop as loop:
                        if loop.ends:
                            break
            case ast.Try():
                self.attempt(node, names)
            case ast.With():
                for item in node.items:
                    value = self.value(item.context_expr, names)
                    if item.optional_vars is not None:
                        self.bind(
                            item.optional_vars, value if isinstance(value, Dotted) else UNKNOWN, names, node
                        )
                self.block(node.body, names)
            case ast.Match():
                if self.world.decide():
                    for case in node.cases[:1]:
                        self.block(case.body, names)
                else:
                    for case in node.cases[-1:]:
                        self.block(case.body, names)
            case ast.Raise():
                raise Raised
            case ast.Break() | ast.Continue():
                raise Loop(isinstance(node, ast.Break))
            case ast.ClassDef():
                names[node.name] = Dotted(node.name)
            case ast.AsyncFunctionDef():
                names[node.name] = UNKNOWN
            case _:
                pass

    def attempt(self, node: ast.Try, names: dict[str, Any]) -> None:
        """Evaluate ``try``: after an error, evaluation goes on in the first handler."""
        try:
            self.block(node.body, names)
            self.block(node.orelse, names)
        except Raised:
            for handler in node.handlers[:1]:
                self.block(handler.body, names)
            if not node.handlers:
                raise
        finally:
            self.block(node.finalbody, names)

    def loop(self, node: ast.For, names: dict[str, Any]) -> None:
        """Evaluate ``for``. Where the iterated values are unknown, the body runs once or never."""
        over = self.value(node.iter, names)
        if not isinstance(over, (list, tuple, dict, str, set, range)) and type(over).__name__ not in {
            "dict_items",
            "dict_keys",
            "dict_values",
        }:
            self.bind(node.target, UNKNOWN, names, node)
            if self.world.decide():
                self.block(node.body, names)
            return
        for item in list(over)[:LONGEST]:
            self.bind(node.target, item, names, node)
            try:
                self.block(node.body, names)
            except Loop as loop:
                if loop.ends:
                    break

    def own(self, function: Function, arguments: list[Any], keywords: dict[str, Any]) -> Any:
        """Return the result of a call of the file's own function."""
        signature = function.node.args
        parameters = [*signature.posonlyargs, *signature.args]
        inner: dict[str, Any] = {}
        for parameter, default in zip(reversed(parameters), reversed(signature.defaults), strict=False):
            inner[parameter.arg] = self.value(default, self.top.names)
        for parameter, given in zip(signature.kwonlyargs, signature.kw_defaults, strict=True):
            inner[parameter.arg] = self.value(given, self.top.names) if given else UNKNOWN
        inner.update(zip((each.arg for each in parameters), arguments, strict=False))
        inner.update(keywords)
        for parameter in parameters:
            inner.setdefault(parameter.arg, UNKNOWN)
        self.depth += 1
        self.entered.add(id(function.node))
        try:
            if self.depth > DEEPEST:
                raise TooMuch
            if isinstance(function.node, ast.Lambda):
                return self.value(function.node.body, inner)
            try:
                self.block(function.node.body, inner)
            except Return as returned:
                return returned.value
            return None
        finally:
            self.depth -= 1
