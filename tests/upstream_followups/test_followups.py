"""Each follow-up is ready to file, and its reproduction holds on the version it names."""

import ast
import re
import subprocess
import sys
from importlib.metadata import version
from pathlib import Path

import pytest

UPSTREAM = Path(__file__).parents[2] / "docs" / "upstream"
FOLLOWUPS = sorted((UPSTREAM / "followups").glob("*.md"))
SECTIONS = [
    "Why",
    "Evidence",
    "Reproduction",
    "Proposed seam",
    "Acceptance criteria",
    "Compatibility",
    "Claim language",
]
ADVISORY_FIRST = {
    "02-revoke-principal-race",
    "03-revocation-lost-after-lock",
    "04-sweep-under-clock-skew",
    "09-forged-handle",
    "11-side-effect-without-audit-row",
}
PUBLISHED = [
    UPSTREAM.parents[1] / "README.md",
    *(UPSTREAM / name for name in ("recommendation.md", "deployment-consistency.md", "checklist.md")),
    *(UPSTREAM / name for name in ("changelog.md", "security.md")),
    *sorted((UPSTREAM.parents[1] / "kernel_lab" / "publish" / "report").rglob("*.py")),
]
"""What is shown to everybody, the report page's own words among it."""

each_followup = pytest.mark.parametrize("path", FOLLOWUPS, ids=lambda path: path.stem)


def front_matter(path: Path) -> dict[str, str]:
    head = path.read_text(encoding="utf-8").split("---\n")[1]
    pairs = (line.split(": ", 1) for line in head.splitlines())
    return {key: value.strip('"') for key, value in pairs}


def reproduction(path: Path) -> Path:
    return path.with_name(front_matter(path)["reproduction"])


@each_followup
def test_what_a_followup_describes_is_what_its_reproduction_meets(path: Path) -> None:
    done = subprocess.run(
        [sys.executable, reproduction(path)], capture_output=True, text=True, check=False, timeout=60
    )
    assert done.returncode == 0, f"upstream no longer behaves as described:\n{done.stdout}{done.stderr}"
    (shown,) = re.findall(r"^```text\n(.*?)^```$", path.read_text(encoding="utf-8"), re.DOTALL | re.MULTILINE)
    assert shown == done.stdout


@each_followup
def test_a_followup_carries_what_a_maintainer_needs_to_file_it(path: Path) -> None:
    head, text = front_matter(path), path.read_text(encoding="utf-8")
    assert list(head) == ["title", "disclosure", "affects", "scope", "reproduction"]
    assert re.match(r"(feat|fix|docs|refactor)(\([a-z]+\))?: \S", head["title"])
    assert head["affects"] == f"weaver-kernel {version('weaver-kernel')}"
    assert head["reproduction"] == f"{path.stem.replace('-', '_')}.py"
    assert re.findall(r"^## (.+)$", text, re.MULTILINE) == SECTIONS
    assert "**Good:**" in text
    assert "**Avoid:**" in text


@each_followup
def test_evidence_is_figures_of_a_run_or_the_reproduction_alone(path: Path) -> None:
    text = path.read_text(encoding="utf-8")
    evidence = text.partition("## Evidence\n")[2].partition("\n## ")[0]
    alone = "<!-- evidence: reproduction -->" in evidence
    assert alone != ("<!-- figure: " in evidence)
    assert "To be filled" not in text


@pytest.mark.parametrize("stem", sorted(ADVISORY_FIRST))
def test_an_advisory_is_not_named_in_what_everybody_is_shown(stem: str) -> None:
    head = front_matter(UPSTREAM / "followups" / f"{stem}.md")
    for page in PUBLISHED:
        text = page.read_text(encoding="utf-8")
        assert [name for name in (stem, head["title"], head["reproduction"]) if name in text] == [], page


@each_followup
def test_what_could_be_abused_is_an_advisory_first(path: Path) -> None:
    expected = "advisory-first" if path.stem in ADVISORY_FIRST else "public"
    assert front_matter(path)["disclosure"] == expected


@each_followup
def test_what_one_process_shows_too_is_not_called_a_worker_finding(path: Path) -> None:
    scope, text = front_matter(path)["scope"], path.read_text(encoding="utf-8")
    assert scope in ("several workers", "one process too")
    assert ("One process too: not a multi-worker effect." in text) == (scope == "one process too")


@each_followup
def test_a_reproduction_needs_nothing_but_weaver_kernel(path: Path) -> None:
    imported = {
        (node.module or "") if isinstance(node, ast.ImportFrom) else alias.name
        for node in ast.walk(ast.parse(reproduction(path).read_text(encoding="utf-8")))
        if isinstance(node, ast.Import | ast.ImportFrom)
        for alias in node.names
    }
    roots = {name.partition(".")[0] for name in imported}
    assert roots <= sys.stdlib_module_names | {"weaver_kernel"}


def test_every_reproduction_belongs_to_a_followup() -> None:
    scripts = set((UPSTREAM / "followups").glob("*.py"))
    assert scripts == {reproduction(path) for path in FOLLOWUPS}


def test_the_index_lists_every_followup_as_its_front_matter_has_it() -> None:
    index = (UPSTREAM / "README.md").read_text(encoding="utf-8")
    rows = re.findall(
        r"^\| \[(\d\d)\]\(followups/(.+)\.md\) \| (.+) \| (.+) \| (.+) \|$", index, re.MULTILINE
    )
    expected = [
        (path.stem[:2], path.stem, head["title"], head["disclosure"], head["scope"])
        for path in FOLLOWUPS
        for head in [front_matter(path)]
    ]
    assert rows == expected


def test_the_tests_for_upstream_pass_on_the_version_they_are_about() -> None:
    tests = UPSTREAM / "test_multi_worker_consistency.py"
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", tests],
        capture_output=True,
        text=True,
        check=False,
        timeout=100,
    )
    assert done.returncode == 0, done.stdout
    assert "7 passed" in done.stdout
