"""The words of a shell script, expanded without executing anything: ``$X``, ``${X:-4}``, ``$((2 * n + 1))``.

The few commands that tell the number of cores are expanded too. A word that cannot be known is `UNKNOWN`. `script`
follows the statements around these words.
"""

from __future__ import annotations

import ast
import functools
import re
import shlex
from dataclasses import dataclass
from typing import Final

import tree_sitter
import tree_sitter_bash

from kernel_lab.doctor.facts import Place, Value
from kernel_lab.doctor.readers.python import expressions, statements
from kernel_lab.doctor.readers.worlds import UNKNOWN, TooMuch, Unknown, World

Word = str | Unknown


_LANGUAGE: Final = tree_sitter.Language(tree_sitter_bash.language())


_VARIABLE: Final = re.compile(r"^[A-Za-z_][A-Za-z0-9_]*$")


_TERNARY: Final = re.compile(r"^(.+?)\?(.+?):(.+)$")


_EXPANSION: Final = re.compile(
    r"^\$\{(#?)([A-Za-z_][A-Za-z0-9_]*|[0-9@*#?])(?:(:?[-=?+])(.*)|(.*))\}$", re.DOTALL
)


_IN_ARITHMETIC: Final = re.compile(r"\$\{([^{}]*)\}|\$?([A-Za-z_][A-Za-z0-9_]*)")


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


@functools.lru_cache(maxsize=64)
def parse(text: str) -> tree_sitter.Tree:
    """Return the syntax tree of a script."""
    return tree_sitter.Parser(_LANGUAGE).parse(text.encode())


def expand(text: str, start: Place, world: World) -> Word:
    """A text with ``$X``, ``${X:-d}``, ``$(nproc)`` and ``$((…))`` filled in, as in double quotes."""
    escaped = text.replace("\\", "\\\\").replace('"', '\\"').replace("`", "\\`")
    node = parse(f'x="{escaped}"').root_node
    string = next((each for each in walk(node) if each.type == "string"), None)
    if string is None:
        return text
    return Words(world=world, start=start, variables={**world.environment}).word(string)


def walk(node: tree_sitter.Node) -> list[tree_sitter.Node]:
    """Return a node and every node below it, in the order of the text."""
    found, todo = [], [node]
    while todo:
        each = todo.pop()
        found.append(each)
        todo.extend(reversed(each.children))
    return found


def text_of(node: tree_sitter.Node) -> str:
    """Return the text of a node."""
    return (node.text or b"").decode(errors="replace")


@dataclass(slots=True)
class Words:
    """Expands the words of one script in one world."""

    world: World
    start: Place
    variables: dict[str, Value | Unknown]

    def place(self, node: tree_sitter.Node) -> Place:
        """Return the place of a node in its file."""
        return Place(self.start.file, self.start.line + int(node.start_point[0]))

    def variable(self, name: str, node: tree_sitter.Node) -> Word | None:
        """The value of a variable; None if nothing sets it."""
        if name in self.variables:
            found = self.variables[name]
            if name in self.world.environment:
                self.world.variable(name, self.place(node))
            if isinstance(found, Unknown) or found.text is None:
                return UNKNOWN
            return found.text
        if _VARIABLE.match(name):
            self.world.variable(name, self.place(node))
        return None

    def words(self, node: tree_sitter.Node) -> list[Word]:
        """Return the words that one word of a command line expands to. An unquoted expansion may give several."""
        word = self.word(node)
        quoted = node.type in {"string", "raw_string", "word", "concatenation"}
        if node.type == "string" and text_of(node) in {'"$@"', '"${@}"'}:
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
                return text_of(node)[1:-1]
            case "ansi_c_string" | "translated_string":
                return text_of(node).strip("$'\"")
            case "simple_expansion":
                found = self.variable(text_of(node)[1:], node)
                return "" if found is None else found
            case "expansion":
                return self._expansion(text_of(node), node)
            case "arithmetic_expansion":
                return self.arithmetic(text_of(node)[3:-2], node)
            case "command_substitution":
                return self._substitution(text_of(node), node)
            case "concatenation":
                return self._joined(node.children, node)
            case "word":
                return re.sub(r"\\(.)", r"\1", text_of(node))
            case _:
                return text_of(node)

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
                else re.sub(r'\\([$`"\\])', r"\1", text_of(node))
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
                    self.variables[name] = Value(word, self.place(node))
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
            (each for each in walk(parse(f'x="{escaped}"').root_node) if each.type == "string"), None
        )
        if string is None:
            return UNKNOWN
        return Words(world=self.world, start=self.place(node), variables=self.variables).word(string)

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
        evaluator = expressions.Expressions(file=self.start.file, world=self.world, top=expressions.Scope())
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
        """Return the output of the few commands that compute a value: expr, echo, bc and python -c."""
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
        printed = statements.run(tree, self.start.file, self.world).printed
        return printed[-1] if printed else UNKNOWN


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
