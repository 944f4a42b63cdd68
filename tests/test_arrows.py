"""The arrows of import: scenarios -> kernel_lab; kernel_lab imports neither of the others, nor does lab."""

import ast
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
CLAIMS = {"scenarios", "kernel_lab_scenarios"}
FORBIDDEN = {"kernel_lab": {"lab", *CLAIMS}, "lab": {"kernel_lab", *CLAIMS}, "scenarios": {"lab"}}


def imported(path: Path) -> set[str]:
    """The top-level packages a module imports, inside its functions too."""
    names = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            names |= {alias.name.split(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
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
