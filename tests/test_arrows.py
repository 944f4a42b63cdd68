"""The house: who imports whom, that a test file's name is found once, and that no command lives in tests/.

scenarios -> kernel_lab; kernel_lab imports neither of the others, nor does lab. What checks them, imports them.
"""

import ast
import re
from collections import Counter
from functools import cache
from graphlib import TopologicalSorter
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
CLAIMS = {"scenarios", "kernel_lab_scenarios"}
CHECKS = {"mutants", "beside_upstream", "tests"}
FORBIDDEN = {
    "kernel_lab": {"lab", *CLAIMS, *CHECKS}, "lab": {"kernel_lab", *CLAIMS, *CHECKS}, "scenarios": {"lab", *CHECKS},
    "mutants": {"beside_upstream", "tests"}, "beside_upstream": {"mutants", "tests"},
}  # fmt: skip


@cache
def imports(path: Path) -> list[ast.Import | ast.ImportFrom]:
    """The import statements of a module, inside its functions too."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    return [node for node in ast.walk(tree) if isinstance(node, (ast.Import, ast.ImportFrom))]


def imported(path: Path) -> set[str]:
    """The top-level packages a module imports, inside its functions too."""
    names = set()
    for node in imports(path):
        if isinstance(node, ast.Import):
            names |= {alias.name.split(".")[0] for alias in node.names}
        elif node.module:
            names.add(node.module.split(".")[0])
    return names


@pytest.mark.parametrize("package", FORBIDDEN)
def test_a_package_imports_nothing_it_must_not_know(package):
    modules = sorted((ROOT / package).rglob("*.py"))
    assert modules
    broken = [
        f"{module.relative_to(ROOT)} imports {', '.join(sorted(wrong))}"
        for module in modules
        if (wrong := imported(module) & FORBIDDEN[package])
    ]
    assert broken == []


def name_of(path: Path) -> str:
    """The dotted name of a module; scenarios by the name under which it is installed."""
    parts = path.relative_to(ROOT).with_suffix("").parts
    parts = ("kernel_lab_scenarios", *parts[1:]) if parts[0] == "scenarios" else parts
    return ".".join(part for part in parts if part != "__init__")


def modules_imported(path: Path, known: set[str]) -> set[str]:
    """Of the known modules, those that a module imports, inside its functions too."""
    package = name_of(path) if path.name == "__init__.py" else name_of(path).rpartition(".")[0]
    found = set()
    for node in imports(path):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        else:
            above = (
                ".".join(package.split(".")[: len(package.split(".")) - node.level + 1]) if node.level else ""
            )
            base = ".".join(filter(None, (above, node.module)))
            inside = {f"{base}.{alias.name}" for alias in node.names}
            found |= (inside & known) or {base}
    return (found & known) - {name_of(path)}


def test_no_module_imports_itself_by_way_of_others():
    paths = {name_of(path): path for package in FORBIDDEN for path in (ROOT / package).rglob("*.py")}
    assert len(paths) > 200
    # raises CycleError, which names the modules of the circle
    order = TopologicalSorter({name: modules_imported(path, set(paths)) for name, path in paths.items()})
    assert set(order.static_order()) == set(paths)


def test_a_folder_of_the_instrument_imports_only_folders_below_it():
    page = (ROOT / "docs" / "architecture.md").read_text(encoding="utf-8")
    lines = page.partition("<!-- layers -->\n```\n")[2].partition("```\n<!-- /layers -->")[0].splitlines()
    level = {folder: number for number, line in enumerate(lines) for folder in line.split()}
    paths = {name_of(path): path for path in (ROOT / "kernel_lab").rglob("*.py")}
    paths.pop("kernel_lab")  # the interface for scripts imports everything that it offers
    assert set(level) == {name.split(".")[1] for name in paths}
    broken = [
        f"{name} imports {other}"
        for name, path in paths.items()
        for other in sorted(modules_imported(path, set(paths)))
        if (mine := name.split(".")[1]) != (theirs := other.split(".")[1]) and level[mine] >= level[theirs]
    ]
    assert broken == []


def test_a_test_files_name_is_found_once():
    """pytest imports test files by their bare names: of two that are called the same, one is not run."""
    names = Counter(path.name for path in (ROOT / "tests").rglob("test_*.py"))
    assert len(names) > 100
    assert [name for name, count in names.items() if count > 1] == []


def test_no_command_lives_in_tests():
    made = (ROOT / "Makefile").read_text(encoding="utf-8")
    assert re.findall(r"\$\(BIN\)/python (?:-m )?tests\S*", made) == []
    commands = [path for path in (ROOT / "tests").rglob("*.py") if "argparse" in imported(path)]
    assert commands == []
