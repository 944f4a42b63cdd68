"""kernel-lab report and kernel-lab pack, as they are typed."""

import shutil

import pytest

from kernel_lab.publish.report.page import render
from kernel_lab.publish.reporting import subjects
from kernel_lab.run.saved import read_run


def test_a_page_is_made_anew_and_named(folder, tmp_path, command_line):
    shutil.copytree(folder, tmp_path / "run")
    (tmp_path / "run" / "report.html").unlink()
    done = command_line("report", "run")
    assert (done.returncode, done.stdout, done.stderr) == (0, "run/report.html\n", "")
    assert (tmp_path / "run" / "report.html").read_text() == render(read_run(folder), subjects())


def test_a_packed_run_has_its_page_and_is_judged(folder, command_line):
    done = command_line("pack", str(folder), "packed")
    assert done.returncode == 0, done.stderr
    assert "look at it: packed/report.html" in done.stdout
    again = command_line("check", "packed")
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
def test_bad_input_is_one_line_and_exit_code_64(arguments, said, command_line):
    done = command_line(*arguments)
    assert (done.returncode, done.stdout) == (64, "")
    assert said in done.stderr
    assert len(done.stderr.splitlines()) == 1
