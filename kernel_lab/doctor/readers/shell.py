"""Evaluate a shell script without executing it: which programs it starts, and how.

tree-sitter's grammar for bash reads the text. This module follows assignments, conditions, `case`, loops and
functions. It expands ``${X:-4}``, ``$((2 * n + 1))`` and the few commands that tell the number of cores, and
notes every other command with its arguments. What it cannot know is `UNKNOWN`, and an unknown condition goes
both ways, one in each world.
"""

from __future__ import annotations

import ast
import contextlib
import functools
import re
import shlex
from dataclasses import dataclass, field
from typing import Final

import tree_sitter
import tree_sitter_bash

from kernel_lab.doctor.facts import Environment, Place, Value
from kernel_lab.doctor.readers import python_values
from kernel_lab.doctor.readers.worlds import UNKNOWN, TooMuch, Unknown, World

Word = str | Unknown

_LANGUAGE: Final = tree_sitter.Language(tree_sitter_bash.language())
_VARIABLE: Final = re.compile(r"^[A-Za-z_][A-Za-z0-9_]*$")
_TERNARY: Final = re.compile(r"^(.+?)\?(.+?):(.+)$")
_EXPANSION: Final = re.compile(
    r"^\$\{(#?)([A-Za-z_][A-Za-z0-9_]*|[0-9@*#?])(?:(:?[-=?+])(.*)|(.*))\}$", re.DOTALL
)
_IN_ARITHMETIC: Final = re.compile(r"\$\{([^{}]*)\}|\$?([A-Za-z_][A-Za-z0-9_]*)")
_RUNNERS: Final = frozenset({"exec", "command", "builtin", "time", "nohup", "eval"})
DEEPEST: Final = 80
LOOPS: Final = 50


@dataclass(frozen=True, slots=True)
class Invocation:
    """A program that the script starts."""

    argv: tuple[Word, ...]
    place: Place
    environment: Environment


@dataclass(slots=True)
class _State:
    variables: dict[str, Value | Unknown]
    started: list[Invocation] = field(default_factory=list)
    functions: dict[str, tree_sitter.Node] = field(default_factory=dict)
    depth: int = 0


class _Exit(Exception):  # noqa: N818
    """The script ends here: ``exit`` or ``exec``."""


@functools.lru_cache(maxsize=64)
def _parse(text: str) -> tree_sitter.Tree:
    return tree_sitter.Parser(_LANGUAGE).parse(text.encode())


def first_error(text: str) -> int | None:
    """The line of the first thing that is not shell, or None."""
    todo = [_parse(text).root_node]
    while todo:
        node = todo.pop()
        if node.type == "ERROR" or node.is_missing:
            return int(node.start_point[0]) + 1
        if node.has_error:
            todo.extend(reversed(node.children))
    return None


def run(text: str, start: Place, world: World, arguments: tuple[Word, ...] = ()) -> list[Invocation]:
    """What a script starts in one world; `start` is where its first line stands."""
    state = _State(variables={**world.environment})
    for index, argument in enumerate(arguments, start=1):
        state.variables[str(index)] = UNKNOWN if isinstance(argument, Unknown) else Value(argument, start)
    joined = (
        UNKNOWN
        if any(isinstance(each, Unknown) for each in arguments)
        else Value(shlex.join(each for each in arguments if isinstance(each, str)), start)
    )
    state.variables["@"] = state.variables["*"] = joined
    shell = Shell(world=world, start=start, state=state)
    with contextlib.suppress(_Exit):
        shell.statements(_parse(text).root_node)
    return state.started


def expand(text: str, start: Place, world: World) -> Word:
    """A text with ``$X``, ``${X:-d}``, ``$(nproc)`` and ``$((…))`` filled in, as in double quotes."""
    escaped = text.replace("\\", "\\\\").replace('"', '\\"').replace("`", "\\`")
    node = _parse(f'x="{escaped}"').root_node
    string = next((each for each in _walk(node) if each.type == "string"), None)
    if string is None:
        return text
    state = _State(variables={**world.environment})
    return Shell(world=world, start=start, state=state).word(string)


def _walk(node: tree_sitter.Node) -> list[tree_sitter.Node]:
    found, todo = [], [node]
    while todo:
        each = todo.pop()
        found.append(each)
        todo.extend(reversed(each.children))
    return found


def _text(node: tree_sitter.Node) -> str:
    return (node.text or b"").decode(errors="replace")


@dataclass(slots=True)
class Shell:
    """Follows one script in one world."""

    world: World
    start: Place
    state: _State

    def place(self, node: tree_sitter.Node) -> Place:
        """Where a node stands in its file."""
        return Place(self.start.file, self.start.line + int(node.start_point[0]))

    def variable(self, name: str, node: tree_sitter.Node) -> Word | None:
        """The value of a variable; None if nothing sets it."""
        if name in self.state.variables:
            found = self.state.variables[name]
            if name in self.world.environment:
                self.world.variable(name, self.place(node))
            if isinstance(found, Unknown) or found.text is None:
                return UNKNOWN
            return found.text
        if _VARIABLE.match(name):
            self.world.variable(name, self.place(node))
        return None

    # statements: each returns whether it succeeded, or UNKNOWN

    def statements(self, node: tree_sitter.Node) -> bool | Unknown:
        """Follow the statements below a node; how the last one ended."""
        ended: bool | Unknown = True
        for child in node.named_children:
            if child.type != "comment":
                ended = self.statement(child)
        return ended

    def statement(self, node: tree_sitter.Node) -> bool | Unknown:
        """Follow one statement."""
        self.world.step()
        self.state.depth += 1
        try:
            if self.state.depth > DEEPEST:
                raise TooMuch
            return self._statement(node)
        finally:
            self.state.depth -= 1

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
                    self.state.functions[_text(name)] = body
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
        # what a program in a condition says cannot be known, and it ends before the service starts
        before = len(self.state.started)
        ended = self.statement(node)
        del self.state.started[before:]
        return ended if node.type in {"test_command", "list", "negated_command"} else UNKNOWN

    def _sequence(self, nodes: list[tree_sitter.Node]) -> bool | Unknown:
        ended: bool | Unknown = True
        for node in nodes:
            if node.type != "comment":
                ended = self.statement(node)
        return ended

    def _case(self, node: tree_sitter.Node) -> bool | Unknown:
        subject = node.child_by_field_name("value")
        value = self.word(subject) if subject is not None else UNKNOWN
        items = [child for child in node.named_children if child.type == "case_item"]
        for index, item in enumerate(items):
            patterns = item.children_by_field_name("value")
            if isinstance(value, Unknown):
                taken = index == len(items) - 1 or self.world.decide()
            else:
                taken = any(_matches(_text(pattern).strip("\"'"), value) for pattern in patterns)
            if taken:
                return self._sequence([child for child in item.named_children if child not in patterns])
        return True

    def _loop(self, node: tree_sitter.Node) -> bool | Unknown:
        body = node.child_by_field_name("body")
        if body is None:
            return UNKNOWN
        if node.type == "for_statement":
            variable = node.child_by_field_name("variable")
            words = [word for value in node.children_by_field_name("value") for word in self.words(value)]
            for word in words[:LOOPS]:
                if variable is not None:
                    self.state.variables[_text(variable)] = (
                        UNKNOWN if isinstance(word, Unknown) else Value(word, self.place(node))
                    )
                self.statements(body)
            return UNKNOWN
        self.statements(body)
        return UNKNOWN

    def _assign(self, node: tree_sitter.Node) -> None:
        name, value = node.child_by_field_name("name"), node.child_by_field_name("value")
        if name is None:
            return
        word = self.word(value) if value is not None else ""
        if "+=" in [child.type for child in node.children]:
            now = self.variable(_text(name), node)
            word = UNKNOWN if isinstance(now, Unknown) or isinstance(word, Unknown) else (now or "") + word
        self.state.variables[_text(name)] = (
            UNKNOWN if isinstance(word, Unknown) else Value(word, self.place(node))
        )

    def _command(self, node: tree_sitter.Node) -> bool | Unknown:
        argv: list[Word] = []
        own: dict[str, Value] = {}
        for child in node.named_children:
            if child.type == "variable_assignment":
                name, value = child.child_by_field_name("name"), child.child_by_field_name("value")
                word = self.word(value) if value is not None else ""
                if name is not None:
                    own[_text(name)] = Value(None if isinstance(word, Unknown) else word, self.place(child))
            elif child.type == "command_name":
                argv.extend(self.words(child.named_children[0]) if child.named_children else [])
            elif not child.type.endswith("redirect"):
                argv.extend(self.words(child))
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
            case str() if name in self.state.functions:
                self.statements(self.state.functions[name])
                return UNKNOWN
            case _:
                pass
        seen = {key: value for key, value in self.state.variables.items() if isinstance(value, Value)}
        self.state.started.append(
            Invocation(argv=tuple(argv), place=self.place(node), environment={**seen, **own})
        )
        if ends:
            raise _Exit
        return True

    # tests

    def _test(self, node: tree_sitter.Node) -> bool | Unknown:
        match node.type:
            case "parenthesized_expression":
                return self._test(node.named_children[0]) if node.named_children else UNKNOWN
            case "unary_expression":
                return self._unary(node)
            case "binary_expression":
                return self._binary(node)
            case _:
                word = self.word(node)
                return UNKNOWN if isinstance(word, Unknown) else bool(word)

    def _unary(self, node: tree_sitter.Node) -> bool | Unknown:
        operator, operand = _text(node.children[0]), node.children[-1]
        if operator == "!":
            inner = self._test(operand)
            return inner if isinstance(inner, Unknown) else not inner
        word = self.word(operand)
        if isinstance(word, Unknown):
            return UNKNOWN
        return {"-z": not word, "-n": bool(word)}.get(operator, UNKNOWN)

    def _binary(self, node: tree_sitter.Node) -> bool | Unknown:
        left, operator, right = node.children[0], _text(node.children[1]), node.children[-1]
        if operator in {"&&", "||", "-a", "-o"}:
            first = self._branch(self._test(left))
            if first != (operator in {"&&", "-a"}):
                return first
            return self._test(right)
        a, b = self.word(left), self.word(right)
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

    # words

    def words(self, node: tree_sitter.Node) -> list[Word]:
        """What one word of a command line becomes: an unquoted expansion may become several."""
        word = self.word(node)
        quoted = node.type in {"string", "raw_string", "word", "concatenation"}
        if node.type == "string" and _text(node) in {'"$@"', '"${@}"'}:
            quoted = False
        if quoted or isinstance(word, Unknown):
            return [word]
        try:
            return list(shlex.split(word))
        except ValueError:
            return list(word.split())

    def word(self, node: tree_sitter.Node) -> Word:
        """The text of a word."""
        self.world.step()
        match node.type:
            case "string":
                return self._joined(node.children[1:-1], node)
            case "raw_string":
                return _text(node)[1:-1]
            case "ansi_c_string" | "translated_string":
                return _text(node).strip("$'\"")
            case "simple_expansion":
                found = self.variable(_text(node)[1:], node)
                return "" if found is None else found
            case "expansion":
                return self._expansion(_text(node), node)
            case "arithmetic_expansion":
                return self.arithmetic(_text(node)[3:-2], node)
            case "command_substitution":
                return self._substitution(_text(node), node)
            case "concatenation":
                return self._joined(node.children, node)
            case "word":
                return re.sub(r"\\(.)", r"\1", _text(node))
            case _:
                return _text(node)

    def _joined(self, nodes: list[tree_sitter.Node], whole: tree_sitter.Node) -> Word:
        made, at = "", nodes[0].start_byte if nodes else 0
        source = whole.text or b""
        for node in nodes:
            made += source[at - whole.start_byte : node.start_byte - whole.start_byte].decode(
                errors="replace"
            )
            part = (
                self.word(node)
                if node.type != "string_content"
                else re.sub(r'\\([$`"\\])', r"\1", _text(node))
            )
            if isinstance(part, Unknown):
                return UNKNOWN
            made += part
            at = node.end_byte
        return made

    def _expansion(self, text: str, node: tree_sitter.Node) -> Word:
        found = _EXPANSION.match(text)
        if not found:
            return UNKNOWN
        length, name, operator, default, rest = found.groups()
        value = self.variable(name, node)
        if isinstance(value, Unknown):
            return UNKNOWN
        if length or rest:
            return UNKNOWN
        if not operator:
            return value or ""
        empty = value is None or (operator.startswith(":") and value == "")
        match operator[-1]:
            case "+":
                return "" if empty else self.inner(default, node)
            case "?":
                return UNKNOWN if empty else value or ""
            case _:
                if not empty:
                    return value or ""
                word = self.inner(default, node)
                if operator[-1] == "=" and isinstance(word, str):
                    self.state.variables[name] = Value(word, self.place(node))
                return word

    def inner(self, text: str, node: tree_sitter.Node) -> Word:
        """The text of a default, expanded."""
        bare = text[1:-1] if len(text) > 1 and text[0] == text[-1] and text[0] in "\"'" else text
        if "$" not in bare and "`" not in bare:
            return bare
        if len(bare) > 2000:
            raise TooMuch
        escaped = bare.replace('"', '\\"')
        string = next(
            (each for each in _walk(_parse(f'x="{escaped}"').root_node) if each.type == "string"), None
        )
        if string is None:
            return UNKNOWN
        return Shell(world=self.world, start=self.place(node), state=self.state).word(string)

    def arithmetic(self, text: str, node: tree_sitter.Node) -> Word:
        """The value of ``$((…))``."""
        filled = self._fill(text, node)
        if isinstance(filled, Unknown):
            return UNKNOWN
        plain = filled.replace("&&", " and ").replace("||", " or ")
        plain = re.sub(r"(?<![/])/(?!/)", "//", plain)
        if ternary := _TERNARY.match(plain):
            plain = f"(({ternary[2]}) if ({ternary[1]}) else ({ternary[3]}))"
        try:
            tree = ast.parse(plain.strip(), mode="eval")
        except (SyntaxError, ValueError, RecursionError, MemoryError):
            return UNKNOWN
        evaluator = python_values.Evaluator(file=self.start.file, world=self.world, top=python_values.Scope())
        try:
            value = evaluator.value(tree.body, {})
        except Exception as error:
            if isinstance(error, TooMuch):
                raise
            return UNKNOWN
        return str(int(value)) if isinstance(value, (int, float)) else UNKNOWN

    def _fill(self, text: str, node: tree_sitter.Node) -> Word:
        while "$(" in text or "`" in text:
            opened = text.find("$(") if "$(" in text else text.find("`")
            closed = _closing(text, opened)
            if closed is None:
                return UNKNOWN
            value = self._substitution(text[opened:closed], node)
            if isinstance(value, Unknown):
                return UNKNOWN
            text = text[:opened] + value.strip() + text[closed:]
        unknown = False

        def fill(found: re.Match[str]) -> str:
            nonlocal unknown
            value = (
                self._expansion(f"${{{found[1]}}}", node)
                if found[1] is not None
                else self.variable(found[2], node)
            )
            if isinstance(value, Unknown):
                unknown = True
                return "0"
            return value or "0"

        filled = _IN_ARITHMETIC.sub(fill, text)
        return UNKNOWN if unknown else filled

    def _substitution(self, text: str, node: tree_sitter.Node) -> Word:
        inner = text[1:-1] if text.startswith("`") else text[2:-1]
        if inner.startswith("(") and inner.endswith(")"):
            return self.arithmetic(inner[1:-1], node)
        if (cores := cores_command(inner)) is not None:
            return str(max(1, self.world.core_count(self.place(node)) - cores))
        return self._printed(inner.strip(), node)

    def _printed(self, command: str, node: tree_sitter.Node) -> Word:
        """What a command prints, for the few that compute something: expr, echo, bc and python -c."""
        head, _, calculator = command.partition("|")
        if head.startswith("expr "):
            words = self.inner(head[5:].replace("\\*", "*"), node)
            return UNKNOWN if isinstance(words, Unknown) else self.arithmetic(words, node)
        if head.startswith(("echo ", "printf ")) and calculator.strip().startswith("bc"):
            words = self.inner(head.split(None, 1)[1].strip().strip("\"'"), node)
            return UNKNOWN if isinstance(words, Unknown) else self.arithmetic(words, node)
        if head.startswith("echo ") and not calculator:
            return self.inner(head[5:].strip(), node)
        if found := re.match(r"python[0-9.]*\s+-c\s+(['\"])(.*)\1$", command, re.DOTALL):
            return self._python(found[2].replace('\\"', '"'))
        return UNKNOWN

    def _python(self, text: str) -> Word:
        try:
            tree = ast.parse(text)
        except (SyntaxError, ValueError, RecursionError, MemoryError):
            return UNKNOWN
        printed = python_values.run(tree, self.start.file, self.world).printed
        return printed[-1] if printed else UNKNOWN


_CORES: Final = (
    re.compile(r"^nproc(?:\s+--all)?(?:\s+--ignore[= ](?P<less>\d+))?$"),
    re.compile(r"^getconf\s+_NPROCESSORS_(?:ONLN|CONF)$"),
    re.compile(r"^grep\s+(?:-\w*c\w*|--count)\s+['\"]?\^?processor['\"]?\s+/proc/cpuinfo$"),
    re.compile(
        r"^(?:cat\s+/proc/cpuinfo\s*\|\s*)?grep\s+['\"]?\^?processor['\"]?(?:\s+/proc/cpuinfo)?\s*\|\s*wc\s+-l$"
    ),
    re.compile(r"^sysctl\s+-n\s+hw\.(?:logical|physical)?(?:cpu|ncpu)$"),
    re.compile(r"^lscpu\s+-p.*\|\s*(?:grep|wc).*$"),
)


def cores_command(command: str) -> int | None:
    """If a command prints the number of cores: how many fewer it prints; else None."""
    plain = re.sub(
        r"\s*2>\s*/dev/null|\s*\|\|\s*(?:echo\s+)?\d+$|\s*\|\|\s*(?:nproc|sysctl[^|]*|getconf[^|]*)",
        "",
        command.strip(),
    ).strip()
    for pattern in _CORES:
        if found := pattern.match(plain):
            return int(found.groupdict().get("less") or 0)
    return None


def _closing(text: str, opened: int) -> int | None:
    if text[opened] == "`":
        end = text.find("`", opened + 1)
        return None if end < 0 else end + 1
    depth = 0
    for index in range(opened + 1, len(text)):
        depth += (text[index] == "(") - (text[index] == ")")
        if depth == 0:
            return index + 1
    return None


def _matches(pattern: str, text: str) -> bool:
    if pattern == "*":
        return True
    plain = re.escape(pattern).replace(r"\*", ".*").replace(r"\?", ".")
    return re.fullmatch(plain, text, re.DOTALL) is not None
