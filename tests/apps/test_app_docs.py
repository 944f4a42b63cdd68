"""docs/any-app.md describes every key that app.toml may have, and its adapter is short."""

import re
from pathlib import Path

import msgspec
import pytest

from kernel_lab.apps import mapping
from kernel_lab.judge.checkers.limit_kinds import KINDS

PAGE = (Path(__file__).parents[2] / "docs" / "any-app.md").read_text(encoding="utf-8")
TABLES = (
    "File",
    "Start",
    "Attach",
    "Caller",
    "Limit",
    "Step",
    "Match",
    "Pick",
    "Revocation",
    "Handles",
    "About",
)


@pytest.mark.parametrize("table", TABLES)
def test_every_key_is_described(table):
    keys = [field.name for field in msgspec.structs.fields(getattr(mapping, table))]
    assert [key for key in keys if not re.search(rf"[`\[ (\n]{key}\b", PAGE)] == []


def test_every_kind_of_limit_is_described():
    assert [kind for kind in KINDS if f"`{kind}`" not in PAGE] == []


def test_the_mapping_on_the_page_is_a_service(tmp_path):
    (tmp_path / "app.toml").write_text(re.search(r"```toml\n(name = .*?)```", PAGE, re.DOTALL)[1])
    assert mapping.read(tmp_path / "app.toml").claims() == ["rate_limit"]


def test_the_adapter_on_the_page_is_at_most_twenty_lines_and_runs():
    text = re.search(r"```python\n(.*?)```", PAGE, re.DOTALL)[1]
    assert len([line for line in text.splitlines() if line.strip()]) <= 20
    found = {}
    exec(text, found)  # noqa: S102 - the page's own example
    assert found["Shop"]().lacks("revocation") == []
