"""Nothing of a stack survives it: no process, no file, no port; however the harness ends."""

import asyncio
import os
import signal
import subprocess
import sys
import time
from contextlib import contextmanager
from pathlib import Path

import psutil
import pytest
from effort import effort

from kernel_lab.deployments import NativeStack
from kernel_lab.deployments.deployment import Deployment

pytestmark = [pytest.mark.live, pytest.mark.usefixtures("heard")]
SLOW = pytest.mark.slow

ROUNDS = effort(2, 3, "STACK_ROUNDS")
"""Starts and stops in a row."""
WITHIN_S = 30.0
"""Far beyond what clearing up may take (the guard's grace is 2 s): past it, it never will."""

HARNESS = """
import asyncio, os, sys, time
from pathlib import Path
from kernel_lab.deployments.deployment import Deployment
from kernel_lab.deployments import AppSpec, NativeStack

async def main():
    row = Deployment(
        name="tiny", workers=2, replicas=2, routing="round_robin", store="redis", state="{store}"
    )
    app = AppSpec(root=Path(sys.argv[1]), app="app:app", config="gunicorn.conf.py")
    async with NativeStack(row, app=app, folder=Path(sys.argv[2])) as stack:
        if sys.argv[3:] == ["fork"] and not os.fork():
            time.sleep(60)
        print("up", *stack.workers(0), flush=True)
        await asyncio.sleep(600)

asyncio.run(main())
"""
EVERYTHING = 9
"""The harness, guard, store, two arbiters, and some of four workers and of nginx's two."""


@contextmanager
def started_harness(tiny, folder, *words):
    argv = (sys.executable, "-c", HARNESS, tiny.root, folder, *words)
    with subprocess.Popen(argv, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True) as harness:
        try:
            yield harness
        finally:
            harness.kill()


def until(condition):
    deadline = time.monotonic() + WITHIN_S
    while not (reached := condition()) and time.monotonic() < deadline:
        time.sleep(0.02)
    return reached


@pytest.fixture
def no_redis_url(monkeypatch):
    monkeypatch.delenv("LAB_REDIS_URL", raising=False)


@pytest.mark.parametrize(
    "number",
    [signal.SIGKILL, pytest.param(signal.SIGTERM, marks=SLOW), pytest.param(signal.SIGINT, marks=SLOW)],
)
def test_nothing_survives_a_harness_that_is_ended_while_a_stack_is_up(
    tiny, tmp_path, leftovers, no_redis_url, number
):
    with started_harness(tiny, tmp_path) as harness:
        assert harness.stdout.readline().startswith("up")
        assert len(leftovers.processes()) > EVERYTHING
        harness.send_signal(number)
        assert harness.wait() == -number
    assert until(lambda: not leftovers.processes()), leftovers.processes()
    assert leftovers.files() == []


@pytest.mark.parametrize(
    ("number", "processes"),
    [
        pytest.param(signal.SIGKILL, 2, marks=SLOW),  # a guard
        (signal.SIGKILL, 3),  # a store
        pytest.param(signal.SIGKILL, EVERYTHING, marks=SLOW),
        pytest.param(signal.SIGINT, 2, marks=SLOW),
        pytest.param(signal.SIGINT, 5, marks=SLOW),  # arbiters
        (signal.SIGTERM, 5),
    ],
)
def test_nothing_survives_a_harness_that_is_ended_at_any_moment_of_a_start(
    tiny, tmp_path, leftovers, no_redis_url, number, processes
):
    with started_harness(tiny, tmp_path) as harness:
        assert until(lambda: len(leftovers.processes()) >= processes)
        harness.send_signal(number)
        assert harness.wait() == -number
    assert until(lambda: not leftovers.processes()), leftovers.processes()
    assert leftovers.files() == []


def test_a_stopped_worker_and_a_stopped_store_do_not_survive_either(tiny, tmp_path, leftovers, no_redis_url):
    with started_harness(tiny, tmp_path) as harness:
        workers = [int(pid) for pid in harness.stdout.readline().split()[1:]]
        store = next(int(line.split()[0]) for line in leftovers.processes() if "-server 127.0.0.1" in line)
        for pid in (*workers, store):
            os.kill(pid, signal.SIGSTOP)
        harness.kill()
    assert until(lambda: not leftovers.processes()), leftovers.processes()
    assert leftovers.files() == []


def test_a_child_that_the_harness_forked_does_not_keep_the_servers_alive(
    tiny, tmp_path, leftovers, no_redis_url
):
    with started_harness(tiny, tmp_path, "fork") as harness:
        assert harness.stdout.readline().startswith("up")
        (child,) = [c for c in psutil.Process(harness.pid).children() if "guard.py" not in str(c.cmdline())]
        harness.kill()
    assert until(lambda: [line.split()[0] for line in leftovers.processes()] == [str(child.pid)])
    assert leftovers.files() == []
    child.kill()


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux tells a process that its parent has died")
async def test_a_guard_that_is_killed_takes_the_servers_along(tiny, tmp_path, leftovers):
    row = Deployment(name="tiny", workers=2, replicas=2, routing="round_robin")
    async with NativeStack(row, app=tiny, folder=tmp_path) as stack:
        guard = next(int(line.split()[0]) for line in leftovers.processes() if "guard.py" in line)
        os.kill(guard, signal.SIGKILL)
        assert await asyncio.to_thread(until, lambda: len(leftovers.processes()) == 0), leftovers.processes()
        assert not stack.alive()
        assert sorted(stack.ended()) == ["gunicorn-r0", "gunicorn-r1", "nginx"]
    assert leftovers.files() == []


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux tells a process that its parent has died")
async def test_what_a_killed_guard_and_harness_leave_goes_with_the_next_start(
    tiny, tmp_path, leftovers, no_redis_url
):
    with started_harness(tiny, tmp_path) as harness:
        assert harness.stdout.readline().startswith("up")
        (living,) = leftovers.temp.glob("kernel-lab-*")
        async with NativeStack(Deployment(name="tiny"), app=tiny, folder=tmp_path / "second"):
            assert living.is_dir(), "the folder of a guard that lives stays"
        guard = next(int(line.split()[0]) for line in leftovers.processes() if "guard.py" in line)
        for pid in (guard, harness.pid):
            os.kill(pid, signal.SIGSTOP)
        for pid in (guard, harness.pid):
            os.kill(pid, signal.SIGKILL)
    assert until(lambda: not leftovers.processes()), leftovers.processes()
    assert [path.name for path in leftovers.temp.glob("kernel-lab-*")] == [living.name]
    foreign, link = leftovers.temp / "kernel-lab-foreign", leftovers.temp / "kernel-lab-link"
    foreign.mkdir()
    link.symlink_to(tmp_path)
    (tmp_path / "guard.lock").touch()
    async with NativeStack(Deployment(name="tiny"), app=tiny, folder=tmp_path / "third"):
        assert not living.exists()
    assert foreign.is_dir(), "a folder without a lock is somebody else's"
    assert (tmp_path / "guard.lock").exists(), "no link is followed"
    foreign.rmdir()
    link.unlink()


async def test_an_error_inside_the_stack_stops_it(tiny, tmp_path, leftovers):
    with pytest.raises(ZeroDivisionError):
        async with NativeStack(Deployment(name="tiny"), app=tiny, folder=tmp_path):
            1 / 0  # noqa: B018
    assert leftovers.processes() == []
    assert leftovers.files() == []


@pytest.mark.parametrize(
    "row",
    [
        pytest.param({"workers": 2}, marks=SLOW),
        {"workers": 2, "replicas": 2, "routing": "round_robin", "store": "redis", "state": "{store}"},
        pytest.param({"replicas": 2, "routing": "round_robin", "remote": True}, marks=SLOW),
    ],
    ids=str,
)
async def test_starts_and_stops_in_a_row_leave_nothing_behind(tiny, tmp_path, leftovers, no_redis_url, row):
    for round_ in range(ROUNDS):
        folder = tmp_path / str(round_)
        async with NativeStack(Deployment(name="tiny", **row), app=tiny, folder=folder) as stack:
            assert leftovers.processes()
            assert leftovers.files()
        assert leftovers.processes() == []
        assert leftovers.files() == []
        assert leftovers.ports(stack) == []
        assert {path.suffix for path in Path(folder).iterdir()} <= {".log", ".conf"}
