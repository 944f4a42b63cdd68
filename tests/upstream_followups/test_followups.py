"""Each follow-up is ready to file, and its script prints what it says on the version the lab pins."""

import ast
import csv
import os
import re
import subprocess
import sys
from dataclasses import replace
from importlib.metadata import version
from pathlib import Path

import pytest

from kernel_lab.upstream import followups
from kernel_lab.upstream.followups import Followup

UPSTREAM = followups.FOLDER.parent
EVERY = followups.every()
SECTIONS = [
    "Why",
    "Reproduction",
    "Affected versions",
    "Proposed change",
    "Compatibility",
    "Acceptance criteria",
    "Claim language",
]

each = pytest.mark.parametrize("one", EVERY, ids=lambda one: one.path.stem)


def run(script: str, folder: Path, **env: str) -> subprocess.CompletedProcess[str]:
    """The script as somebody runs it who copied it: alone, in an environment that sets nothing of ours."""
    (folder / "reproduction.py").write_text(script, encoding="utf-8")
    clean = {name: value for name, value in os.environ.items() if not name.startswith(("PYTHON", "WEAVER"))}
    return subprocess.run(
        [sys.executable, "reproduction.py"], cwd=folder, env={**clean, **env}, capture_output=True,
        text=True, check=False, timeout=60,
    )  # fmt: skip


@pytest.mark.parametrize(
    "one",
    [pytest.param(one, marks=[pytest.mark.slow] if number >= 4 else []) for number, one in enumerate(EVERY)],
    ids=lambda one: one.path.stem,
)
def test_its_script_prints_what_the_follow_up_shows(one: Followup, tmp_path: Path) -> None:
    done = run(one.script, tmp_path)
    assert (done.stdout, done.stderr, done.returncode) == (one.stdout, one.stderr, 0)


@each
def test_it_carries_what_a_maintainer_needs_to_file_it(one: Followup) -> None:
    assert set(one.head) <= {"title", "file", "scope", "affects", "after"}
    assert re.match(r"(feat|fix|docs)\([a-z]+\): \S|comment: \S", one.head["title"])
    assert one.head["file"] == "public" or one.head["file"].startswith("comment on #")
    assert one.head["scope"] in ("several workers", "one process too")
    assert version("weaver-kernel") in one.affects
    assert [
        name for name in re.findall(r"^## (.+)$", one.body, re.MULTILINE) if name != "Measured"
    ] == SECTIONS
    assert "weaver-kernel==" + version("weaver-kernel") in one.body
    assert "Prefer:" in one.body
    assert "Avoid:" in one.body
    assert "- [ ] " in one.body


@each
def test_what_is_filed_has_no_marker_and_no_link_into_this_folder(one: Followup) -> None:
    issue = one.issue()
    assert "<!--" not in issue
    assert re.findall(r"\]\((?!https://)[^)]+\)", issue) == []


@each
def test_its_script_needs_nothing_but_weaver_kernel(one: Followup) -> None:
    imported = {
        (node.module or "") if isinstance(node, ast.ImportFrom) else alias.name
        for node in ast.walk(ast.parse(one.script))
        if isinstance(node, ast.Import | ast.ImportFrom)
        for alias in node.names
    }
    assert {name.partition(".")[0] for name in imported} <= sys.stdlib_module_names | {"weaver_kernel"}


def test_the_scripts_keep_upstreams_lint_rules(tmp_path: Path) -> None:
    for one in EVERY:
        (tmp_path / f"reproduction_{one.number}.py").write_text(one.script, encoding="utf-8")
    ruff = [sys.executable, "-m", "ruff"]
    for command in (["check"], ["format", "--check"]):
        done = subprocess.run(
            [*ruff, *command, "--quiet", "--config", UPSTREAM / "ruff.toml", tmp_path],
            capture_output=True, text=True, check=False,
        )  # fmt: skip
        assert done.stdout == ""


@each
def test_the_versions_it_names_are_those_on_which_its_script_was_run(one: Followup) -> None:
    with (UPSTREAM / "versions.csv").open(encoding="utf-8") as file:
        rows = [row for row in csv.DictReader(file) if row["subject"] == one.number]
    assert one.affects == tuple(row["version"] for row in rows if row["outcome"] == "as described")


def test_the_index_says_of_each_where_to_file_it() -> None:
    index = (UPSTREAM / "README.md").read_text(encoding="utf-8")
    rows = re.findall(
        r"^\| \[(\d\d)\]\(followups/(.+)\.md\) \| (.+) \| (.+) \| (.+) \|$", index, re.MULTILINE
    )
    assert rows == [
        (one.number, one.path.stem, one.head["title"], one.head["file"], one.head["scope"]) for one in EVERY
    ]


def test_one_is_printed_as_it_is_filed(capsys: pytest.CaptureFixture[str]) -> None:
    assert followups.main(["05"]) == 0
    printed = capsys.readouterr().out
    assert printed.startswith("feat(policy): accept a limiter")
    assert "<!--" not in printed
    assert followups.main(["99"]) == 64
    assert capsys.readouterr().err.startswith("make upstream-issue: N should be one of: 01, ")


def test_a_text_that_shows_something_else_is_noticed(tmp_path: Path) -> None:
    """The commands are typed as they stand; here the environment is this one, so that nothing is installed."""
    one = EVERY[0]
    (tmp_path / "env" / "bin").mkdir(parents=True)
    (tmp_path / "env" / "bin" / "python").symlink_to(sys.executable)
    (tmp_path / "made").write_text(str(one.commands[:-1]), encoding="utf-8")
    script = "import sys\nprint('something else')\nprint('and more', file=sys.stderr)\nsys.exit(1)"
    body = one.body.replace(one.script.rstrip("\n"), script)
    assert followups.differences(replace(one, body=body), tmp_path) == [
        "'env/bin/python reproduction.py' ended with 1",
        "standard output is 'something else\\n'",
        "standard error is 'and more\\n'",
    ]
