"""A run that is ended early leaves no process, and keeps what it recorded."""

import csv
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest

COMMAND = Path(sys.executable).with_name("kernel-lab")
MARK = "KERNEL_LAB_TEST_MARK"

pytestmark = [pytest.mark.live, pytest.mark.usefixtures("heard")]
SLOW = pytest.mark.slow


def marked(mark):
    """Processes that were started by the run: they carry its environment."""
    found = []
    for process in psutil.process_iter():
        try:
            if process.environ().get(MARK) == mark and process.status() != psutil.STATUS_ZOMBIE:
                found.append(" ".join(process.cmdline()))
        except psutil.Error:
            continue
    return found


def wait_for(condition, within_s):
    deadline = time.monotonic() + within_s
    while not condition() and time.monotonic() < deadline:
        time.sleep(0.1)
    return condition()


@pytest.mark.parametrize(
    "end",
    [signal.SIGINT, pytest.param(signal.SIGHUP, marks=SLOW), pytest.param(signal.SIGKILL, marks=SLOW)],
    ids=lambda end: end.name,
)
def test_no_process_survives_and_the_record_stays(tmp_path, end):
    mark = f"{os.getpid()}-{end.name}"
    out = tmp_path / "run"
    run = subprocess.Popen(
        [
            COMMAND,
            "run",
            "--deployment",
            "memory-2",
            "--scenario",
            "tokens",
            "--scenario",
            "rate_limit",
            "--out",
            out,
        ],
        env={**os.environ, MARK: mark},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    wait_for(lambda: any(p.stat().st_size for p in out.glob("cells/rate_limit/*/history.jsonl")), 60)
    assert len(marked(mark)) > 2
    run.send_signal(end)
    said = run.communicate(timeout=60)[0]
    assert wait_for(lambda: marked(mark) == [], 30), marked(mark)
    recorded = list(out.glob("cells/rate_limit/*/history.jsonl"))
    assert recorded
    judged = subprocess.run([COMMAND, "check", out], capture_output=True, text=True, check=False)
    assert judged.returncode in (1, 2), judged.stderr
    assert "cut off" in judged.stdout
    if end is not signal.SIGKILL:
        assert run.returncode == 130
        assert "kernel-lab check" in said
        with (out / "verdicts.csv").open(newline="") as file:
            assert csv.DictReader(file).fieldnames
