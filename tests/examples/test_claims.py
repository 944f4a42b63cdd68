"""docs/claims.md is what the recorded rows say."""

import importlib.util
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
FILES = [path for path in (ROOT / "examples").glob("*/*.toml") if (path.parent / "requirements.txt").exists()]


@pytest.fixture(scope="module")
def claims():
    spec = importlib.util.spec_from_file_location("claims", ROOT / "examples" / "claims.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_the_page_is_made_of_the_rows(claims):
    assert claims.PAGE.read_text() == claims.page(claims.read_table())


def test_every_example_has_rows_and_every_row_a_source_and_a_command(claims):
    rows = claims.read_table()
    commands = {row["command"] for row in rows}
    examples = {f"{path.parent.name}/{path.stem}" for path in FILES}
    assert commands == {f"make -C examples {name}" for name in examples}
    for row in rows:
        assert row["source"].startswith("https://"), row
        assert row["promises"], row
        assert int(row["runs"]) >= 3, row


def test_the_versions_are_those_that_are_pinned(claims):
    for row in claims.read_table():
        folder = row["command"].split()[-1].split("/")[0]
        pinned = (ROOT / "examples" / folder / "requirements.txt").read_text()
        for version in row["version"].split(", "):
            assert f"=={version}\n" in pinned, row
