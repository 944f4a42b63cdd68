"""A claim is a plug-in: a package beside the lab brings one, and nothing else is changed."""

import csv
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from kernel_lab.run import registry

PACKAGE = registry.root() / "examples" / "unique_tokens"
COMMAND = Path(sys.executable).with_name("kernel-lab")

pytestmark = [
    pytest.mark.live,
    pytest.mark.skipif(not PACKAGE.exists(), reason="no examples/ beside the lab"),
]


@pytest.fixture(scope="module")
def lab(tmp_path_factory):
    """`kernel-lab` with the package installed beside it, in a folder of its own."""
    place = tmp_path_factory.mktemp("plugin")
    shutil.copytree(PACKAGE, place / "source")
    install = [COMMAND.with_name("uv"), "pip", "install", "--quiet", "--no-deps", "--python", sys.executable]
    subprocess.run([*install, "--target", place / "site", place / "source"], check=True, capture_output=True)

    def run(*arguments):
        env = {**os.environ, "PYTHONPATH": str(place / "site")}
        return subprocess.run(
            [COMMAND, *map(str, arguments)], env=env, capture_output=True, text=True, check=False, timeout=100
        )

    return run


@pytest.fixture(scope="module")
def folder(lab, tmp_path_factory):
    """A real run of the installed claim on a real deployment."""
    folder = tmp_path_factory.mktemp("runs") / "run"
    done = lab(
        "run", "--quick", "--deployment", "single", "--scenario", "unique_tokens", "--connections", "fresh",
        "--out", folder,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    return folder


def rows(path):
    with path.open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def test_it_is_listed_where_it_is_installed_and_nowhere_else(lab):
    assert "unique_tokens" in lab("list", "scenarios").stdout.split()
    assert "unique_tokens" not in registry.scenarios()


def test_it_appears_in_the_verdicts_and_has_a_csv_of_its_own(folder):
    (verdict,) = rows(folder / "verdicts.csv")
    assert (verdict["scenario"], verdict["validity"], verdict["expected"]) == (
        "unique_tokens",
        "valid",
        "valid",
    )
    (row,) = rows(folder / "unique_tokens.csv")
    assert (row["deployment"], row["grants"], row["duplicates"]) == ("single", "32", "0")


def test_it_is_on_the_page(folder):
    page = " ".join((folder / "report.html").read_text(encoding="utf-8").split())
    assert "No two grants return the same token." in page
    assert "0 of 32 grants returned a token that was not new" in page
    assert "grants whose token was not new: 0 of 32 (95 %: at most 8.9 %)" in page
    assert '<a href="#claim-unique_tokens">unique tokens</a>' in page


@pytest.mark.slow
def test_its_saved_cell_is_judged_again(lab, folder):
    again = lab("check", folder, "--json")
    assert again.returncode == 0, again.stderr
    (verdict,) = json.loads(again.stdout)
    assert (verdict["claim"], verdict["validity"], verdict["measures"]["grants"]) == (
        "unique_tokens",
        "valid",
        32,
    )


@pytest.mark.slow
def test_its_checker_finds_a_token_that_was_returned_twice(lab, folder, tmp_path):
    cell = tmp_path / "cell"
    shutil.copytree(folder / "cells" / "unique_tokens" / "single-fresh", cell, symlinks=True)
    lines = [json.loads(line) for line in (cell / "history.jsonl").read_text().splitlines()]
    lines[7]["output"]["token_id"] = lines[3]["output"]["token_id"]
    (cell / "history.jsonl").write_text("".join(f"{json.dumps(line)}\n" for line in lines))
    # a digest would tell that the history was changed
    facts = json.loads((cell / "cell.json").read_text())
    (cell / "cell.json").write_text(json.dumps({key: facts[key] for key in facts if key != "sha256"}))
    again = lab("check", cell)
    assert again.returncode == 1
    assert "broke TokenUnique: op 7" in again.stdout


def test_without_the_package_the_saved_run_says_what_is_missing(folder):
    done = subprocess.run([COMMAND, "check", folder], capture_output=True, text=True, check=False)
    assert done.returncode == 2, "a cell that nobody can judge is unknown"
    assert "no scenario 'unique_tokens' is installed; one of: tokens" in done.stdout + done.stderr
