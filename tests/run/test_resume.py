"""kernel-lab run --resume: a run that was killed and resumed has the cells and verdicts of one that was not.

`RESUMES=5` kills as many runs, each at another moment; the tests kill one.
"""

import csv
import json
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from effort import effort

from kernel_lab.run.noise import too_noisy

COMMAND = Path(sys.executable).with_name("kernel-lab")
ASKED = (
    "--quick", "--deployment", "memory-2", "--scenario", "tokens", "--scenario", "handles",
    "--scenario", "budget",
)  # fmt: skip
CELLS = 9


def verdicts(run):
    with (run / "verdicts.csv").open(newline="") as file:
        return {
            (row["scenario"], row["deployment"], row["connections"]): row["validity"]
            for row in csv.DictReader(file)
        }


def kill_when(run, finished):
    """Start a run and kill it, with no chance to clean up, once so many of its cells are finished."""
    process = subprocess.Popen([COMMAND, "run", *ASKED, "--out", run], stderr=subprocess.DEVNULL)
    while process.poll() is None:
        if len(list(run.glob("cells/*/*/verdict.json"))) >= finished:
            time.sleep(random.random() / 2)
            process.send_signal(signal.SIGKILL)
        time.sleep(0.02)
    process.wait()


@pytest.mark.live
@pytest.mark.slow
@pytest.mark.timeout(600)
def test_a_run_that_is_killed_and_resumed_equals_one_that_was_not(tmp_path, command_line):
    for number in range(effort(1, 2, "RESUMES")):
        run = tmp_path / f"run{number}"
        kill_when(run, 1 + number % 4)
        left = {path.parent for path in run.glob("cells/*/*/verdict.json")}
        done = command_line("run", "--resume", run)
        assert done.returncode == 0, done.stderr
        found = verdicts(run)
        assert len(found) == CELLS
        # what these deployments are expected to show is what a run that nobody killed shows
        with (run / "verdicts.csv").open(newline="") as file:
            assert all(row["validity"] in (row["expected"], "skipped") for row in csv.DictReader(file))
        about = json.loads((run / "environment.json").read_text())
        assert about["finished"]
        assert about["resumed"][0]["kept"] >= min(1, len(left))
        assert command_line("check", run).returncode == 1
    done = command_line("run", "--resume", run)
    assert (done.returncode, "is finished" in done.stderr) == (64, True)


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--resume", "nowhere"], "environment.json: is missing"),
        (["--resume", "nowhere", "--quick"], "cannot be combined with --quick"),
        (["--resume", "old"], "does not say what was asked for"),
    ],
)
def test_what_cannot_be_resumed_is_one_sentence(tmp_path, command_line, arguments, said):
    (tmp_path / "old").mkdir()
    (tmp_path / "old" / "environment.json").write_text("{}")
    done = command_line("run", *arguments)
    assert (done.returncode, said in done.stderr) == (64, True), done.stderr
    assert len(done.stderr.splitlines()) == 1


def test_a_busy_machine_is_named():
    assert too_noisy(load_before=0.5, cores=2, steal=0.0) == ""
    assert "load of 3.0 on 2 cores" in too_noisy(load_before=3.0, cores=2, steal=0.0)
    assert "20 % of its time stolen" in too_noisy(load_before=0.0, cores=2, steal=0.2)
