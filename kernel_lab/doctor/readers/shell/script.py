"""The programs that a shell script starts, and how, found without executing it.

tree-sitter's grammar for bash reads the text. This module follows assignments, conditions, `case`, loops and
functions, and notes every other command with its arguments. An unknown condition goes both ways, one in each world.
"""

from __future__ import annotations

import contextlib
import re
import shlex
from dataclasses import dataclass, field
from typing import Final

import tree_sitter

from kernel_lab.doctor.facts import Environment, Place, Value
from kernel_lab.doctor.readers.shell.words import Word, Words, parse, text_of
from kernel_lab.doctor.readers.worlds import UNKNOWN, TooMuch, Unknown, World

_RUNNERS: Final = frozenset({"exec", "command", "builtin", "time", "nohup", "eval"})


DEEPEST: Final = 80


LOOPS: Final = 50


@dataclass(frozen=True, slots=True)
class Invocation:
    """A program that the script starts."""

    argv: tuple[Word, ...]
    place: Place
    environment: Environment


class _Exit(Exception):  # noqa: N818
    """The script ends here: ``exit`` or ``exec``."""


def first_error(text: str) -> int | None:
    """The line of the first thing that is not shell, or None."""
    todo = [parse(text).root_node]
    while todo:
        node = todo.pop()
        if node.type == "ERROR" or node.is_missing:
            return int(node.start_point[0]) + 1
        if node.has_error:
            todo.extend(reversed(node.children))
    return None


def run(text: str, start: Place, world: World, arguments: tuple[Word, ...] = ()) -> list[Invocation]:
    """Return the programs that a script starts in one world. `start` is the place of its first line."""
    variables: dict[str, Value | Unknown] = {**world.environment}
    for index, argument in enumerate(arguments, start=1):
        variables[str(index)] = UNKNOWN if isinstance(argument, Unknown) else Value(argument, start)
    joined = (
        UNKNOWN
        if any(isinstance(each, Unknown) for each in arguments)
        else Value(shlex.join(each for each in arguments if isinstance(each, str)), start)
    )
    variables["@"] = variables["*"] = joined
    script = Script(Words(world=world, start=start, variables=variables))
    with contextlib.suppress(_Exit):
        script.statements(parse(text).root_node)
    return script.started


@dataclass(slots=True)
class Script:
    """Follows one script in one world."""

    words: Words
    started: list[Invocation] = field(default_factory=list)
    functions: dict[str, tree_sitter.Node] = field(default_factory=dict)
    depth: int = 0

    @property
    def world(self) -> World:
        """The world in which the script is followed."""
        return self.words.world

    def statements(self, node: tree_sitter.Node) -> bool | Unknown:
        """Follow the statements below a node, and return how the last one ended."""
        ended: bool | Unknown = True
        for child in node.named_children:
            if child.type != "comment":
                ended = self.statement(child)
        return ended

    def statement(self, node: tree_sitter.Node) -> bool | Unknown:
        """Follow one statement."""
        self.world.step()
        self.depth += 1
        try:
            if self.depth > DEEPEST:
                raise TooMuch
            return self._statement(node)
        finally:
            self.depth -= 1

    def _statement(self, node: tree_sitter.Node) -> bool | Unknown:
        match node.type:
            case "command":
                return self._command(node)
            case "variable_assignment":
                self._assign(node)
                return True
            case "declaration_command" | "variable_assignments":
                for child in node.named_children:
                    if child.type == "variable_assignment":
                        self._assign(child)
                return True
            case "list":
                return self._list(node)
            case "if_statement":
                return self._if(node)
            case "case_statement":
                return self._case(node)
            case "for_statement" | "while_statement" | "c_style_for_statement":
                return self._loop(node)
            case "function_definition":
                name, body = node.child_by_field_name("name"), node.child_by_field_name("body")
                if name is not None and body is not None:
                    self.functions[text_of(name)] = body
                return True
            case "test_command":
                inner = node.named_children
                return self._test(inner[0]) if inner else UNKNOWN
            case "negated_command":
                ended = self.statement(node.named_children[0]) if node.named_children else UNKNOWN
                return ended if isinstance(ended, Unknown) else not ended
            case "pipeline":
                ended = UNKNOWN
                for child in node.named_children:
                    ended = self.statement(child)
                return ended
            case "redirected_statement":
                body = node.child_by_field_name("body")
                return self.statement(body) if body is not None else True
            case "subshell":
                try:
                    return self.statements(node)
                except _Exit:
                    return UNKNOWN
            case _:
                return self.statements(node)

    def _list(self, node: tree_sitter.Node) -> bool | Unknown:
        children = [child for child in node.children if child.type != "comment"]
        ended: bool | Unknown = True
        operator = ""
        for child in children:
            if child.type in {"&&", "||", ";", "&"}:
                operator = child.type
                continue
            if operator in {"&&", "||"}:
                true = self.world.decide() if isinstance(ended, Unknown) else ended
                if true != (operator == "&&"):
                    continue
            ended = self.statement(child)
        return ended

    def _branch(self, ended: bool | Unknown) -> bool:
        return self.world.decide() if isinstance(ended, Unknown) else ended

    def _if(self, node: tree_sitter.Node) -> bool | Unknown:
        condition = node.children_by_field_name("condition")
        tests = [child for child in condition if child.is_named]
        ended: bool | Unknown = True
        for test in tests:
            ended = self._condition(test)
        clauses = [child for child in node.named_children if child.type in {"elif_clause", "else_clause"}]
        body = [child for child in node.named_children if child not in tests and child not in clauses]
        if self._branch(ended):
            return self._sequence(body)
        for clause in clauses:
            if clause.type == "else_clause":
                return self._sequence(clause.named_children)
            inner = clause.named_children
            if inner and self._branch(self._condition(inner[0])):
                return self._sequence(inner[1:])
        return True

    def _condition(self, node: tree_sitter.Node) -> bool | Unknown:
        # the result of a program in a condition cannot be known, and the program ends before the service starts
        before = len(self.started)
        ended = self.statement(node)
        del self.started[before:]
        return ended if node.type in {"test_command", "list", "negated_command"} else UNKNOWN

    def _sequence(self, nodes: list[tree_sitter.Node]) -> bool | Unknown:
        ended: bool | Unknown = True
        for node in nodes:
            if node.type != "comment":
                ended = self.statement(node)
        return ended

    def _case(self, node: tree_sitter.Node) -> bool | Unknown:
        subject = node.child_by_field_name("value")
        value = self.words.word(subject) if subject is not None else UNKNOWN
        items = [child for child in node.named_children if child.type == "case_item"]
        for index, item in enumerate(items):
            patterns = item.children_by_field_name("value")
            if isinstance(value, Unknown):
                taken = index == len(items) - 1 or self.world.decide()
            else:
                taken = any(_matches(text_of(pattern).strip("\"'"), value) for pattern in patterns)
            if taken:
                return self._sequence([child for child in item.named_children if child not in patterns])
        return True

    def _loop(self, node: tree_sitter.Node) -> bool | Unknown:
        body = node.child_by_field_name("body")
        if body is None:
            return UNKNOWN
        if node.type == "for_statement":
            variable = node.child_by_field_name("variable")
            words = [
                word for value in node.children_by_field_name("value") for word in self.words.words(value)
            ]
            for word in words[:LOOPS]:
                if variable is not None:
                    self.words.variables[text_of(variable)] = (
                        UNKNOWN if isinstance(word, Unknown) else Value(word, self.words.place(node))
                    )
                self.statements(body)
            return UNKNOWN
        self.statements(body)
        return UNKNOWN

    def _assign(self, node: tree_sitter.Node) -> None:
        name, value = node.child_by_field_name("name"), node.child_by_field_name("value")
        if name is None:
            return
        word = self.words.word(value) if value is not None else ""
        if "+=" in [child.type for child in node.children]:
            now = self.words.variable(text_of(name), node)
            word = UNKNOWN if isinstance(now, Unknown) or isinstance(word, Unknown) else (now or "") + word
        self.words.variables[text_of(name)] = (
            UNKNOWN if isinstance(word, Unknown) else Value(word, self.words.place(node))
        )

    def _command(self, node: tree_sitter.Node) -> bool | Unknown:
        argv: list[Word] = []
        own: dict[str, Value] = {}
        for child in node.named_children:
            if child.type == "variable_assignment":
                name, value = child.child_by_field_name("name"), child.child_by_field_name("value")
                word = self.words.word(value) if value is not None else ""
                if name is not None:
                    own[text_of(name)] = Value(
                        None if isinstance(word, Unknown) else word, self.words.place(child)
                    )
            elif child.type == "command_name":
                argv.extend(self.words.words(child.named_children[0]) if child.named_children else [])
            elif not child.type.endswith("redirect"):
                argv.extend(self.words.words(child))
        return self.start_program(argv, node, own)

    def start_program(
        self, argv: list[Word], node: tree_sitter.Node, own: dict[str, Value]
    ) -> bool | Unknown:
        """Note a program that starts, or follow a function, ``set``, ``exit`` or ``exec``."""
        name = argv[0] if argv else None
        ends = name == "exec"
        while argv and isinstance(argv[0], str) and argv[0] in _RUNNERS:
            argv = argv[1:]
        name = argv[0] if argv else None
        match name:
            case (
                None
                | "set"
                | ":"
                | "true"
                | "cd"
                | "echo"
                | "printf"
                | "trap"
                | "umask"
                | "ulimit"
                | "sleep"
                | "shift"
            ):
                return True
            case "exit" | "return":
                raise _Exit
            case "false":
                return False
            case "[" | "test":
                return UNKNOWN
            case "export" | "local" | "declare" | "readonly":
                return True
            case str() if name in self.functions:
                self.statements(self.functions[name])
                return UNKNOWN
            case _:
                pass
        seen = {key: value for key, value in self.words.variables.items() if isinstance(value, Value)}
        self.started.append(
            Invocation(argv=tuple(argv), place=self.words.place(node), environment={**seen, **own})
        )
        if ends:
            raise _Exit
        return True

    def _test(self, node: tree_sitter.Node) -> bool | Unknown:
        match node.type:
            case "parenthesized_expression":
                return self._test(node.named_children[0]) if node.named_children else UNKNOWN
            case "unary_expression":
                return self._unary(node)
            case "binary_expression":
                return self._binary(node)
            case _:
                word = self.words.word(node)
                return UNKNOWN if isinstance(word, Unknown) else bool(word)

    def _unary(self, node: tree_sitter.Node) -> bool | Unknown:
        operator, operand = text_of(node.children[0]), node.children[-1]
        if operator == "!":
            inner = self._test(operand)
            return inner if isinstance(inner, Unknown) else not inner
        word = self.words.word(operand)
        if isinstance(word, Unknown):
            return UNKNOWN
        return {"-z": not word, "-n": bool(word)}.get(operator, UNKNOWN)

    def _binary(self, node: tree_sitter.Node) -> bool | Unknown:
        left, operator, right = node.children[0], text_of(node.children[1]), node.children[-1]
        if operator in {"&&", "||", "-a", "-o"}:
            first = self._branch(self._test(left))
            if first != (operator in {"&&", "-a"}):
                return first
            return self._test(right)
        a, b = self.words.word(left), self.words.word(right)
        if isinstance(a, Unknown) or isinstance(b, Unknown):
            return UNKNOWN
        if operator in {"=", "=="}:
            return _matches(b, a)
        if operator == "!=":
            return not _matches(b, a)
        try:
            x, y = int(a or "0"), int(b or "0")
        except ValueError:
            return UNKNOWN
        return {
            "-eq": x == y,
            "-ne": x != y,
            "-lt": x < y,
            "-le": x <= y,
            "-gt": x > y,
            "-ge": x >= y,
            "<": x < y,
            ">": x > y,
            "<=": x <= y,
            ">=": x >= y,
        }.get(operator, UNKNOWN)


def _matches(pattern: str, text: str) -> bool:
    if pattern == "*":
        return True
    plain = re.escape(pattern).replace(r"\*", ".*").replace(r"\?", ".")
    return re.fullmatch(plain, text, re.DOTALL) is not None
