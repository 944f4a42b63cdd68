"""The pytest plugin: the failure message is the counter-example, and nobody else's tests notice it."""

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
REFERENCE = ROOT / "results" / "reference"
TESTS = """
from kernel_lab.pytest_plugin import guarantee

@guarantee(claim="tokens", deployment="redis")
def test_holds():
    assert True

@guarantee(claim="revocation", deployment="memory-4", connections="round_robin")
def test_broken():
    raise AssertionError("the body of a broken guarantee is not run")

@guarantee(claim="tokens", deployment="redis")
@guarantee(claim="revocation", deployment="redis", upper_bound=0.0001)
def test_not_judged():
    pass

@guarantee(claim="tokens", deployment="redis")
def test_body():
    assert 1 == 2

@guarantee(claim="revokation", deployment="redis")
def test_misspelt():
    pass

def test_fixture(kernel_lab):
    assert kernel_lab.holds(claim="rate_limit", deployment="redis", measure="factor", max=1).said

def test_fixture_broken(kernel_lab):
    kernel_lab.holds(claim="handles", deployment="memory-4", connections="round_robin")
"""


def run_pytest(folder, *arguments):
    command = [sys.executable, "-m", "pytest", "-p", "no:cacheprovider", "-p", "no:locust", "-q", "-rf"]
    return subprocess.run(
        [*command, *map(str, arguments)],
        cwd=folder, capture_output=True, text=True, check=False,
    )  # fmt: skip


def test_each_test_says_for_itself_what_was_seen(tmp_path):
    (tmp_path / "test_mine.py").write_text(TESTS)
    done = run_pytest(tmp_path, "--kernel-lab-run", REFERENCE, "--strict-markers")
    assert done.returncode == 1
    assert "5 failed, 2 passed" in done.stdout, done.stdout
    assert "revocation on memory-4, round_robin: invalid over round_robin" in done.stdout
    assert "revoke token" in done.stdout
    assert "the body of a broken guarantee" not in done.stdout
    assert "without a failure" in done.stdout
    assert "assert 1 == 2" in done.stdout
    assert "claim 'revokation' is not known" in done.stdout
    assert "handle_not_found" in done.stdout


@pytest.mark.slow
def test_under_xdist_each_worker_judges_what_it_comes_to(tmp_path):
    (tmp_path / "test_mine.py").write_text(TESTS)
    done = run_pytest(tmp_path, "--kernel-lab-run", REFERENCE, "-n", "2")
    assert "5 failed, 2 passed" in done.stdout, done.stdout


def test_who_does_not_use_it_does_not_notice_it(tmp_path):
    (tmp_path / "test_mine.py").write_text(
        "import sys\n\ndef test_nothing_of_the_lab_is_imported():\n"
        "    ours = {name for name in sys.modules if name.startswith('kernel_lab.')}\n"
        "    assert ours <= {'kernel_lab.pytest_plugin'}\n"
    )
    done = run_pytest(tmp_path)
    assert done.returncode == 0, done.stdout
    assert not list(tmp_path.glob("results*"))
    assert run_pytest(tmp_path, "-p", "no:kernel_lab").returncode == 0


@pytest.mark.live
@pytest.mark.timeout(180)
def test_it_measures_what_the_selected_tests_need(tmp_path):
    (tmp_path / "test_mine.py").write_text(
        "from kernel_lab.pytest_plugin import guarantee\n\n"
        '@guarantee(claim="revocation", deployment="memory-2", connections="round_robin")\n'
        "def test_a_revoked_token_is_dead():\n    pass\n\n"
        '@guarantee(claim="tokens", deployment="memory-2", connections="round_robin")\n'
        "def test_a_token_is_good_everywhere():\n    pass\n\n"
        '@guarantee(claim="tokens", deployment="redis")\ndef test_left_out():\n    pass\n'
    )
    done = run_pytest(tmp_path, "--kernel-lab-quick", "-k", "not left_out")
    assert "1 failed, 1 passed, 1 deselected" in done.stdout, done.stdout
    assert "revoke token" in done.stdout
    [run] = (tmp_path / "results" / "pytest").iterdir()
    assert len((run / "verdicts.csv").read_text().splitlines()) == 3
