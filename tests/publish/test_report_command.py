"""kernel-lab report and kernel-lab pack, as they are typed."""

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from kernel_lab.publish.report.page import render
from kernel_lab.publish.reporting import subjects
from kernel_lab.run.saved import read_run

COMMAND = Path(sys.executable).with_name("kernel-lab")


def kernel_lab(*arguments, cwd):
    return subprocess.run([COMMAND, *arguments], capture_output=True, text=True, check=False, cwd=cwd)


def test_a_page_is_made_anew_and_named(folder, tmp_path):
    shutil.copytree(folder, tmp_path / "run")
    (tmp_path / "run" / "report.html").unlink()
    done = kernel_lab("report", "run", cwd=tmp_path)
    assert (done.returncode, done.stdout, done.stderr) == (0, "run/report.html\n", "")
    assert (tmp_path / "run" / "report.html").read_text() == render(read_run(folder), subjects())


def test_a_packed_run_has_its_page_and_is_judged(folder, tmp_path):
    done = kernel_lab("pack", str(folder), "packed", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert "look at it: packed/report.html" in done.stdout
    again = kernel_lab("check", "packed", cwd=tmp_path)
    assert again.returncode == 1, again.stderr
    assert "✗ invalid  handles" in " ".join(again.stdout.split(" "))


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["report", "nowhere"], "nowhere: there is no such folder"),
        (["report", "."], "has no verdicts.csv: `kernel-lab run` writes a run folder"),
        (["pack", "nowhere", "out"], "nowhere: there is no such folder"),
        (["pack", "nowhere"], "Missing argument"),
    ],
)
def test_bad_input_is_one_line_and_exit_code_64(arguments, said, tmp_path):
    done = kernel_lab(*arguments, cwd=tmp_path)
    assert (done.returncode, done.stdout) == (64, "")
    assert said in done.stderr
    assert len(done.stderr.splitlines()) == 1
