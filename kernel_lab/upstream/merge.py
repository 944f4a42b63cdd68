"""Add tests to a test file that exists: its own text stays, and missing tests are added."""

from __future__ import annotations

import ast
import subprocess
import sys


def merged(kept: str, ours: str) -> str:
    """`kept` with every top-level statement of `ours` whose name it does not define.

    Imports of both come first. ruff formats the result with 99 columns, as the project under test does.
    """
    if not kept:
        return ours
    there, new = ast.parse(kept), ast.parse(ours)
    defined = {name for node in there.body for name in _names(node)}
    parts = [
        segment
        for node, segment in zip(new.body, _segments(new, ours), strict=True)
        if not _is_import(node) and not _is_docstring(node) and not (_names(node) & defined)
    ]
    lines = kept.splitlines(keepends=True)
    last = max((node.end_lineno or 0 for node in there.body if _is_import(node)), default=0)
    imports = "".join(
        f"{ast.unparse(node)}\n" for node in new.body if _is_import(node) and not _is_future(node)
    )
    text = "".join((*lines[:last], imports, *lines[last:], "\n\n", "\n\n".join(parts), "\n"))
    ruff = [sys.executable, "-m", "ruff"]
    isort = "lint.isort.known-first-party=['weaver_kernel']"
    for arguments in (["check", "--fix-only", "--select=I,F401,F811", "--config", isort], ["format"]):
        options = ["--quiet", "--isolated", "--line-length=99", "--stdin-filename=t.py"]
        command = [*ruff, *arguments, *options, "-"]
        text = subprocess.run(command, input=text, text=True, capture_output=True, check=True).stdout
    return text


def _segments(tree: ast.Module, source: str) -> list[str]:
    """The source of each statement, with its decorators and the comment above it."""
    lines = source.splitlines()
    found, previous = [], 0
    for node in tree.body:
        end = node.end_lineno or 0
        found.append("\n".join(lines[previous:end]).strip("\n"))
        previous = end
    return found


def _names(node: ast.stmt) -> set[str]:
    if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
        return {node.name}
    if isinstance(node, ast.Assign):
        return {target.id for target in node.targets if isinstance(target, ast.Name)}
    return set()


def _is_import(node: ast.stmt) -> bool:
    return isinstance(node, ast.Import | ast.ImportFrom)


def _is_future(node: ast.stmt) -> bool:
    return isinstance(node, ast.ImportFrom) and node.module == "__future__"


def _is_docstring(node: ast.stmt) -> bool:
    return isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant)
