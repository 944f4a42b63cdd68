"""``kernel-lab up``: the lab's own app in the foreground, and what is printed works as it is printed."""

import shutil
import signal
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
UP = """
import sys
from pathlib import Path
from kernel_lab.deployments.deployment import Deployment
from kernel_lab.deployments import AppSpec
from kernel_lab.deployments.up import up_forever

row = Deployment(name="one", title="one worker", **eval(sys.argv[3]))
sys.exit(up_forever(row, app=AppSpec(root=Path(sys.argv[1])), folder=Path(sys.argv[2])))
"""

pytestmark = [pytest.mark.live, pytest.mark.usefixtures("heard")]


def up(folder, row=None):
    argv = (sys.executable, "-u", "-c", UP, ROOT, folder, repr(row or {}))
    return subprocess.Popen(argv, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def lines_until(stream, start):
    lines = []
    for line in stream:
        lines.append(line)
        if line.startswith(start):
            break
    return lines


@pytest.mark.skipif(not shutil.which("curl"), reason="what is printed is for curl")
@pytest.mark.parametrize("number", [pytest.param(signal.SIGINT, marks=pytest.mark.slow), signal.SIGTERM])
def test_what_is_printed_can_be_pasted_and_a_signal_stops_it_cleanly(tmp_path, leftovers, number):
    with up(tmp_path / "logs") as running:
        try:
            head = lines_until(running.stdout, "Ctrl-C")
            assert head[0] == "one is up: one worker\n"
            assert any(str(tmp_path / "logs" / "server.log") in line for line in head)
            lines_until(running.stdout, "\n")
            script = "".join(lines_until(running.stdout, "\n") + lines_until(running.stdout, "\n"))
            pasted = subprocess.run(("bash",), input=script, capture_output=True, text=True, check=True)
            assert pasted.stderr == ""
            told = [line.split()[0] for line in pasted.stdout.splitlines()]
            assert told[:8] == ["200"] * 8
            assert '"revoked":true' in told[8]
            assert told[9:] == ["403"] * 8  # one worker: whoever is asked has heard of it
            running.send_signal(number)
            assert running.wait() == 0
            assert running.stdout.read() == "one is down\n"
            assert running.stderr.read() == ""
        finally:
            running.kill()
    assert leftovers.processes() == []
    assert leftovers.files() == []


def test_a_deployment_that_does_not_start_ends_with_the_reason(tmp_path, leftovers):
    with up(tmp_path, {"env": {"LAB_TOKEN_TTL_S": "soon"}}) as running:
        told = running.stderr.read()
    assert running.returncode == 2
    assert told.startswith("one: gunicorn-r0 ended with exit code 3 before it was ready")
    assert "LAB_TOKEN_TTL_S" in told
    assert "Traceback" not in told
    assert leftovers.processes() == []
