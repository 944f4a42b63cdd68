"""The patch series says what the reference run says, applies, and keeps the tests that are there."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

from kernel_lab.bad_input import BadInput
from kernel_lab.publish import docs
from kernel_lab.run.saved import SavedRun
from kernel_lab.upstream import check, merge, sdist, series


@pytest.fixture(scope="module")
def run() -> SavedRun:
    return docs.read(docs.reference())


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    """A checkout with the lines that the series needs, and with the test file of the main branch."""
    tree = tmp_path / "checkout"
    for folder in ("docs", "tests"):
        (tree / folder).mkdir(parents=True)
    (tree / "CHANGELOG.md").write_text(
        "# Changelog\n\n## [Unreleased]\n\n### Added\n- Older.\n\n## [0.12.0]\n"
    )
    (tree / "AGENTS.md").write_text("| Security model & threats | here |\n| Other | there |\n")
    (tree / "docs" / "security.md").write_text(
        "The consistency model and mitigation architecture are tracked in #226. More.\n\n## Next\n"
    )
    (tree / "docs" / "deployment-consistency.md").write_text("# An older page\n")
    (tree / "tests" / "test_multi_worker_consistency.py").write_text(
        '"""Theirs."""\n\nimport sys\n\nfrom weaver_kernel import HandleStore\n\n_SECRET = "theirs"\n\n\n'
        "def test_rate_limit_windows_are_process_local() -> None:\n    assert HandleStore() and sys.path\n"
    )
    return tree


def test_the_committed_patches_say_what_the_reference_run_says(run: SavedRun) -> None:
    assert series.stale(run) == []


def test_a_patch_that_another_run_made_is_noticed(run: SavedRun, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(run.environment, "started", "2031-01-01T00:00:00+00:00")
    assert len(series.stale(run)) == 1


def test_what_goes_upstream_has_no_marker_and_no_placeholder(run: SavedRun) -> None:
    for path in series.PATCHES.glob("*.patch"):
        assert not re.search(r"<!--|RUN_|KERNEL_LAB_URL", path.read_text(encoding="utf-8")), path.name
    page = series.page("[kernel-lab](KERNEL_LAB_URL)", run, "https://lab.example")
    assert page == "[kernel-lab](https://lab.example)"


def test_every_link_of_the_page_leads_to_a_file_that_upstream_has_or_gets(run: SavedRun) -> None:
    source = (series.FOLDER / "series" / "deployment-consistency.md.in").read_text(encoding="utf-8")
    there = {"../tests/test_multi_worker_consistency.py", "security-contract.md", "../ROADMAP.md"}
    assert set(re.findall(r"\]\(([^)#]+)\)", series.page(source, run, ""))) <= there


def test_the_series_applies_to_a_checkout_and_keeps_its_tests(
    run: SavedRun, checkout: Path, tmp_path: Path
) -> None:
    patches = series.write(run, checkout, tmp_path / "series")
    sdist.repository(checkout)
    sdist.git(checkout, "am", "--quiet", *map(str, patches))
    tests = (checkout / "tests" / "test_multi_worker_consistency.py").read_text(encoding="utf-8")
    assert tests.startswith('"""Theirs."""')
    assert tests.count('_SECRET = "theirs"') == 1
    assert "assert HandleStore() and sys.path" in tests
    assert len(re.findall(r"^def test_", tests, re.MULTILINE)) == 11
    log = (checkout / "CHANGELOG.md").read_text(encoding="utf-8")
    assert log.count("### Added") == 1
    assert log.index("Deployment consistency model") < log.index("Older.")
    assert "deployment-consistency.md" in (checkout / "docs" / "security.md").read_text(encoding="utf-8")


def test_a_checkout_without_the_line_that_an_insertion_follows_is_refused(
    run: SavedRun, checkout: Path, tmp_path: Path
) -> None:
    (checkout / "AGENTS.md").write_text("nothing\n")
    with pytest.raises(BadInput, match="0 lines begin with"):
        series.write(run, checkout, tmp_path / "series")


def test_what_is_there_is_not_written_twice() -> None:
    ours = "import a\n\nX = 1\n\n\ndef test_one():\n    a\n\n\ndef test_two():\n    a\n"
    theirs = "import b\n\n\ndef test_one():\n    b\n"
    text = merge.merged(theirs, ours)
    assert text == "import a\nimport b\n\n\ndef test_one():\n    b\n\n\nX = 1\n\n\ndef test_two():\n    a\n"
    assert merge.merged("", ours) == ours


def test_no_patches_and_no_sdist_are_one_sentence(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert check.main(["--patches", str(tmp_path)]) == 64
    assert capsys.readouterr().err.endswith("holds no patch; `make upstream-patches` writes them\n")
    (tmp_path / "0001.patch").write_text("not one")
    (tmp_path / "no.tar.gz").write_text("not one")
    assert check.main(["--patches", str(tmp_path), "--sdist", str(tmp_path / "no.tar.gz")]) == 64
    assert "is no sdist" in capsys.readouterr().err


@pytest.mark.slow
def test_the_tests_for_upstream_pass_on_the_version_they_are_about() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", series.FOLDER / "series"],
        capture_output=True, text=True, check=False, timeout=900,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout
    assert "11 passed" in done.stdout
