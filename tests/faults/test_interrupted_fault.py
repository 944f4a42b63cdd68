"""A run that is interrupted while a fault is in force leaves no process, no file system and no folder behind."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path

import psutil
import pytest

from kernel_lab.faults.disk import no_mount

LASTING = """
import sys
from dataclasses import replace
from kernel_lab.cli.main import main
from kernel_lab.faults import disk
from kernel_lab.run import under_fault

under_fault.DURING_S = 600.0
disk.FAULTS = tuple(replace(fault, lasts_s=600.0) for fault in disk.FAULTS)
sys.exit(main())
"""
"""The command, with faults that last until they are interrupted."""
MARK = "KERNEL_LAB_TEST_FAULT"
WITHIN_S = 180.0

pytestmark = [pytest.mark.live, pytest.mark.usefixtures("heard")]
SLOW = pytest.mark.slow
SMALL_DISK = pytest.mark.skipif(bool(no_mount()), reason=no_mount() or "-")


def marked(mark):
    """The environments of the processes that the run started, stopped ones too."""
    found = []
    for process in psutil.process_iter():
        try:
            if process.environ().get(MARK) == mark and process.status() != psutil.STATUS_ZOMBIE:
                found.append(process.environ())
        except psutil.Error:
            continue
    return found


def namespaces():
    """The namespaces of mounts in which the processes of this machine are."""
    found = set()
    for process in psutil.pids():
        with suppress(OSError):
            found.add((Path("/proc") / str(process) / "ns" / "mnt").readlink().name)
    return found


def until(condition):
    deadline = time.monotonic() + WITHIN_S
    while not (reached := condition()) and time.monotonic() < deadline:
        time.sleep(0.05)
    return reached


def mounted():
    """Where a file system is mounted."""
    return {line.split()[4] for line in Path("/proc/self/mountinfo").read_text("utf-8").splitlines()}


@pytest.mark.parametrize(
    ("fault", "deployment", "number"),
    [
        ("stop_worker", "single", signal.SIGINT),
        pytest.param("full_disk", "sqlite", signal.SIGINT, marks=[SLOW, SMALL_DISK]),
        pytest.param("full_disk", "sqlite", signal.SIGKILL, marks=[SLOW, SMALL_DISK]),
        pytest.param("stop_store", "redis", signal.SIGINT, marks=SLOW),
        pytest.param("mixed_version", "sqlite", signal.SIGINT, marks=SLOW),
    ],
    ids=lambda one: str(getattr(one, "name", one)),
)
@pytest.mark.skipif(sys.platform != "linux", reason="it reads /proc")
def test_nothing_is_left_of_a_fault_that_was_in_force(tmp_path, fault, deployment, number):
    mark, out = f"{os.getpid()}-{fault}-{number}", tmp_path / "run"
    command = [
        sys.executable, "-c", LASTING, "run", "--fault", fault, "--deployment", deployment,
        "--scenario", "tokens", "--out", str(out),
    ]  # fmt: skip
    with (tmp_path / "said").open("wb") as said:
        run = subprocess.Popen(command, env={**os.environ, MARK: mark}, stdout=said, stderr=said)
    try:
        in_force = until(
            lambda: (
                any(f"fault.{fault}" in one.read_text("utf-8") for one in out.rglob("history.jsonl"))
                or run.poll() is not None
            )
        )
        told = (tmp_path / "said").read_text("utf-8")
        if run.poll() is not None and "skipped" in told:
            pytest.skip(told)
        assert in_force, told
        assert run.poll() is None, told
        sockets = [Path(env["LAB_CONTROL_SOCKET"]) for env in marked(mark) if "LAB_CONTROL_SOCKET" in env]
        assert sockets
        # a server whose disk is small has a namespace of mounts of its own
        own = {
            (Path("/proc") / str(process.pid) / "ns" / "mnt").readlink().name
            for process in psutil.Process(run.pid).children(recursive=True)
        } - {Path("/proc/self/ns/mnt").readlink().name}
        assert bool(own) == (fault == "full_disk")
        run.send_signal(number)
        run.wait(WITHIN_S)
        assert until(lambda: marked(mark) == []), [env.get("LAB_REPLICA") for env in marked(mark)]
        assert until(lambda: not sockets[0].parent.exists())
        assert not own & namespaces()
        assert not [one for one in mounted() if one.startswith(str(sockets[0].parent))]
        if number is signal.SIGINT:
            assert run.returncode == 130, (tmp_path / "said").read_text("utf-8")
    finally:
        run.kill()
        run.wait()
