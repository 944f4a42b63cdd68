"""The value of a Python expression, computed from its syntax tree and without executing it.

The evaluator knows numbers, strings, lists and dicts, and the functions of `allowed`: the environment, the number of
cores, arithmetic. Everything else is `UNKNOWN`, and a condition on something unknown goes both ways, one in each
world. `statements` follows the statements of a file around these expressions.
"""

from __future__ import annotations

import ast
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from kernel_lab.doctor.facts import Place
from kernel_lab.doctor.readers.python.allowed import (
    BINARY,
    COMPARE,
    CORES,
    ENVIRONMENT,
    FUNCTIONS,
    LONGEST,
    METHODS,
    READERS_OF_ENVIRONMENT,
    bounded,
)
from kernel_lab.doctor.readers.worlds import UNKNOWN, TooMuch, Unknown, World

DEEPEST: Final = 60


CALLS: Final = 500


@dataclass(frozen=True, slots=True)
class Dotted:
    """A name from an import, such as ``os.environ``; a call of one ends in ``()``."""

    path: str


@dataclass(frozen=True, slots=True)
class Function:
    """A function of the file itself."""

    node: ast.FunctionDef | ast.Lambda


class Raised(Exception):  # noqa: N818
    """The file raises an error, or a call in it does, such as ``int("many")``."""


@dataclass(frozen=True, slots=True)
class Called:
    """A call of a function that is not the file's own."""

    path: str
    arguments: tuple[Any, ...]
    keywords: Mapping[str, Any]
    line: int


@dataclass(slots=True)
class Scope:
    """Names and their values, each with the line that bound it."""

    names: dict[str, Any] = field(default_factory=dict)
    lines: dict[str, int] = field(default_factory=dict)
    printed: list[str] = field(default_factory=list)
    calls: list[Called] = field(default_factory=list)
    """The calls of other people's functions, with the arguments that are known."""
    ended: bool = False
    """Whether the file raised before its end."""


@dataclass(slots=True)
class Expressions:
    """Evaluates the expressions of one file in one world."""

    file: str
    world: World
    top: Scope
    depth: int = 0

    def place(self, node: ast.AST) -> Place:
        """Return the place of a node."""
        return Place(self.file, getattr(node, "lineno", 1))

    def bind(self, target: ast.expr, value: Any, names: dict[str, Any], node: ast.stmt) -> None:
        """Bind a name, a tuple of names, an item of a dict, or a setting of ``globals()``."""
        match target:
            case ast.Name():
                names[target.id] = value
                if names is self.top.names:
                    self.top.lines[target.id] = node.lineno
            case ast.Tuple() | ast.List():
                known = isinstance(value, (list, tuple)) and len(value) == len(target.elts)
                for index, element in enumerate(target.elts):
                    self.bind(element, value[index] if known else UNKNOWN, names, node)
            case ast.Subscript():
                holder, key = self.value(target.value, names), self.value(target.slice, names)
                if isinstance(holder, dict) and isinstance(key, (str, int)):
                    holder[key] = value
                    if holder is self.top.names:
                        self.top.lines[str(key)] = node.lineno
            case _:
                pass

    def truth(self, node: ast.expr, names: dict[str, Any]) -> bool:
        """Whether a condition holds; the world decides where that is unknown."""
        value = self.value(node, names)
        if isinstance(value, (Unknown, Dotted, Function)):
            return self.world.decide() if isinstance(value, Unknown) else True
        return bool(value)

    def value(self, node: ast.expr, names: dict[str, Any]) -> Any:
        """The value of an expression, or UNKNOWN."""
        self.world.step()
        self.depth += 1
        try:
            if self.depth > DEEPEST:
                raise TooMuch
            return self._value(node, names)
        finally:
            self.depth -= 1

    def _value(self, node: ast.expr, names: dict[str, Any]) -> Any:
        match node:
            case ast.Constant():
                return node.value
            case ast.Name():
                return self.name(node.id, names)
            case ast.BinOp():
                return self.binary(node.op, self.value(node.left, names), self.value(node.right, names))
            case ast.UnaryOp(op=ast.Not()):
                return not self.truth(node.operand, names)
            case ast.UnaryOp():
                return self._negate(node, self.value(node.operand, names))
            case ast.BoolOp():
                return self._either(node, names)
            case ast.Compare():
                return self._compare(node, names)
            case ast.IfExp():
                return self.value(node.body if self.truth(node.test, names) else node.orelse, names)
            case ast.List() | ast.Tuple() | ast.Set():
                values = [
                    self.value(element, names)
                    for element in node.elts
                    if not isinstance(element, ast.Starred)
                ]
                return tuple(values) if isinstance(node, ast.Tuple) else values
            case ast.Dict():
                return self._dict(node, names)
            case ast.JoinedStr():
                return self._joined(node, names)
            case ast.NamedExpr():
                value = self.value(node.value, names)
                names[node.target.id] = value
                return value
            case ast.Lambda():
                return Function(node)
            case ast.Attribute():
                return self._attribute(self.value(node.value, names), node.attr)
            case ast.Subscript():
                return self._item(node, names)
            case ast.Call():
                return self._call(node, names)
            case ast.ListComp() | ast.GeneratorExp() | ast.SetComp():
                return self._comprehension(node, names)
            case _:
                return UNKNOWN

    def name(self, name: str, names: dict[str, Any]) -> Any:
        """A name of the scope, of the module, or of the builtins."""
        if name in names:
            return names[name]
        if name in self.top.names:
            return self.top.names[name]
        if name == "__name__":
            return "__main__"
        return Dotted(name)

    def binary(self, op: ast.operator, left: Any, right: Any) -> Any:
        """Arithmetic, bounded."""
        if isinstance(left, (Unknown, Dotted, Function)) or isinstance(right, (Unknown, Dotted, Function)):
            return UNKNOWN
        if isinstance(op, ast.Mod) and isinstance(left, str):
            return UNKNOWN
        if isinstance(op, (ast.Pow, ast.LShift)) and not (
            isinstance(right, (int, float)) and abs(right) <= 64
        ):
            return UNKNOWN
        if isinstance(op, ast.Mult) and (
            (
                isinstance(left, (str, list, tuple))
                and (not isinstance(right, int) or len(left) * abs(right) > LONGEST)
            )
            or (
                isinstance(right, (str, list, tuple))
                and (not isinstance(left, int) or len(right) * abs(left) > LONGEST)
            )
        ):
            return UNKNOWN
        function = BINARY.get(type(op))
        if function is None:
            return UNKNOWN
        try:
            result = function(left, right)
        except (TypeError, ValueError, ZeroDivisionError, OverflowError):
            raise Raised from None
        return bounded(result)

    def _negate(self, node: ast.UnaryOp, value: Any) -> Any:
        if isinstance(value, (int, float)):
            return -value if isinstance(node.op, ast.USub) else +value
        return UNKNOWN

    def _either(self, node: ast.BoolOp, names: dict[str, Any]) -> Any:
        stops_at = isinstance(node.op, ast.Or)
        value: Any = None
        for index, operand in enumerate(node.values):
            value = self.value(operand, names)
            if index == len(node.values) - 1:
                break
            true = self.world.decide() if isinstance(value, Unknown) else bool(value)
            if true == stops_at:
                return value
        return value

    def _compare(self, node: ast.Compare, names: dict[str, Any]) -> Any:
        left = self.value(node.left, names)
        for op, operand in zip(node.ops, node.comparators, strict=True):
            right = self.value(operand, names)
            if (
                isinstance(op, (ast.In, ast.NotIn))
                and right == Dotted("os.environ")
                and isinstance(left, str)
            ):
                there = self.world.variable(left, self.place(node)) is not None
                if there != isinstance(op, ast.In):
                    return False
                left = right
                continue
            if any(isinstance(each, (Unknown, Dotted, Function)) for each in (left, right)):
                return UNKNOWN
            try:
                if not COMPARE[type(op)](left, right):
                    return False
            except TypeError:
                raise Raised from None
            left = right
        return True

    def _dict(self, node: ast.Dict, names: dict[str, Any]) -> Any:
        made: dict[Any, Any] = {}
        for key, value in zip(node.keys, node.values, strict=True):
            given = self.value(value, names)
            if key is None:
                made.update(given if isinstance(given, dict) else {})
                continue
            name = self.value(key, names)
            if isinstance(name, (str, int, float, bool)) or name is None:
                made[name] = given
        return made

    def _joined(self, node: ast.JoinedStr, names: dict[str, Any]) -> Any:
        text = ""
        for part in node.values:
            value = self.value(part.value if isinstance(part, ast.FormattedValue) else part, names)
            if isinstance(value, (Unknown, Dotted, Function)) or len(text) > LONGEST:
                return UNKNOWN
            text += str(value)
        return text

    def _comprehension(
        self, node: ast.ListComp | ast.GeneratorExp | ast.SetComp, names: dict[str, Any]
    ) -> Any:
        first = node.generators[0]
        over = self.value(first.iter, names)
        if len(node.generators) > 1 or not isinstance(over, (list, tuple, str, range)):
            return UNKNOWN
        made: list[Any] = []
        for item in list(over)[:LONGEST]:
            inner = {**names}
            self.bind(first.target, item, inner, ast.Pass(lineno=node.lineno))
            if all(self.truth(test, inner) for test in first.ifs):
                made.append(self.value(node.elt, inner))
        return made

    def _attribute(self, value: Any, name: str) -> Any:
        if isinstance(value, Dotted):
            path = f"{value.path}.{name}"
            if path == "sys.platform":
                return "linux"
            return Dotted(path)
        return UNKNOWN

    def _item(self, node: ast.Subscript, names: dict[str, Any]) -> Any:
        holder = self.value(node.value, names)
        if isinstance(node.slice, ast.Slice):
            if isinstance(holder, (str, list, tuple)):
                parts = [
                    self.value(each, names) if each else None for each in (node.slice.lower, node.slice.upper)
                ]
                if all(part is None or isinstance(part, int) for part in parts):
                    return holder[parts[0] : parts[1]]
            return UNKNOWN
        key = self.value(node.slice, names)
        if holder == Dotted("os.environ") and isinstance(key, str):
            found = self.world.variable(key, self.place(node))
            return UNKNOWN if found is None or found.text is None else found.text
        try:
            if isinstance(holder, (dict, list, tuple, str)) and not isinstance(
                key, (Unknown, Dotted, Function)
            ):
                return holder[key]
        except (KeyError, IndexError, TypeError):
            raise Raised from None
        return UNKNOWN

    def _call(self, node: ast.Call, names: dict[str, Any]) -> Any:
        arguments = [self.value(each, names) for each in node.args if not isinstance(each, ast.Starred)]
        keywords = {each.arg: self.value(each.value, names) for each in node.keywords if each.arg}
        if isinstance(node.func, ast.Attribute):
            holder = self.value(node.func.value, names)
            if not isinstance(holder, (Dotted, Unknown, Function)):
                return self._method(holder, node.func.attr, arguments, node)
            if holder == Dotted("socket") or isinstance(holder, Unknown):
                return UNKNOWN
            function: Any = self._attribute(holder, node.func.attr)
        else:
            function = self.value(node.func, names)
        if isinstance(function, Function):
            return self.own(function, arguments, keywords)
        if isinstance(function, Dotted):
            return self._known(function.path, arguments, keywords, node, names)
        return UNKNOWN

    def _known(
        self, path: str, arguments: list[Any], keywords: dict[str, Any], node: ast.Call, names: dict[str, Any]
    ) -> Any:
        if path in CORES:
            return self.world.core_count(self.place(node))
        if path == "os.sched_getaffinity":
            return range(self.world.core_count(self.place(node)))
        if path in {"globals", "vars", "locals"}:
            return self.top.names if path == "globals" else names
        if path == "print":
            self.top.printed.append(
                " ".join(str(each) for each in arguments if not isinstance(each, Unknown))
            )
            return None
        if path == "typing.cast" and len(arguments) == 2:
            return arguments[1]
        if path in {"sys.exit", "exit", "quit"}:
            raise Raised
        if path == "range":
            whole = [each for each in arguments if isinstance(each, int) and abs(each) <= LONGEST]
            return range(*whole) if whole and len(whole) == len(arguments) else UNKNOWN
        if self._reads_environment(path):
            return self._variable(path, arguments, keywords, node)
        if path in FUNCTIONS:
            if any(
                isinstance(each, (Unknown, Dotted, Function)) for each in (*arguments, *keywords.values())
            ):
                return UNKNOWN
            try:
                return bounded(FUNCTIONS[path](*arguments, **keywords))
            except (TypeError, ValueError, OverflowError, ZeroDivisionError):
                raise Raised from None
        if len(self.top.calls) < CALLS:
            self.top.calls.append(Called(path, tuple(arguments), keywords, node.lineno))
        if path.rpartition(".")[2] in {"Config", "Env", "FileAwareEnv", "AutoConfig"}:
            return Dotted("environment-reader")
        return UNKNOWN

    def _reads_environment(self, path: str) -> bool:
        return path in ENVIRONMENT or path in READERS_OF_ENVIRONMENT or path.startswith("environment-reader")

    def _variable(self, path: str, arguments: list[Any], keywords: dict[str, Any], node: ast.Call) -> Any:
        if not arguments or not isinstance(arguments[0], str):
            return UNKNOWN
        found = self.world.variable(arguments[0], self.place(node))
        cast = keywords.get("cast") or (
            Dotted(path.rpartition(".")[2]) if path.startswith("environment-reader.") else None
        )
        if found is not None and found.text is None:
            return UNKNOWN
        given = "default" in keywords or len(arguments) > 1
        if found is None and not given and path not in {"os.getenv", "os.environ.get"}:
            return UNKNOWN
        value = found.text if found else keywords.get("default", arguments[1] if len(arguments) > 1 else None)
        if (
            isinstance(cast, Dotted)
            and cast.path in {"int", "float", "bool", "str"}
            and isinstance(value, (str, int, float))
        ):
            if cast.path == "bool":
                return str(value).strip().lower() in {"1", "true", "yes", "on"}
            try:
                return FUNCTIONS[cast.path](value)
            except ValueError:
                raise Raised from None
        return value

    def _method(self, holder: Any, name: str, arguments: list[Any], node: ast.Call) -> Any:
        if any(isinstance(each, (Unknown, Dotted, Function)) for each in arguments) and not isinstance(
            holder, (dict, list)
        ):
            return UNKNOWN
        for kind, allowed in METHODS.items():
            if isinstance(holder, kind) and name in allowed and not isinstance(holder, bool):
                try:
                    result = getattr(holder, name)(*arguments)
                except (TypeError, ValueError, KeyError, IndexError, AttributeError):
                    raise Raised from None
                if (
                    holder is self.top.names
                    and name == "update"
                    and arguments
                    and isinstance(arguments[0], dict)
                ):
                    self.top.lines.update({str(key): node.lineno for key in arguments[0]})
                return bounded(result)
        return UNKNOWN

    def own(self, function: Function, arguments: list[Any], keywords: dict[str, Any]) -> Any:
        """Return the result of a call of the file's own function: unknown, because its body has statements."""
        del function, arguments, keywords
        return UNKNOWN
