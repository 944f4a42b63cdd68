"""The guard, on servers made of a shell: what it starts ends with it, willing or not."""

import os
import shutil
import signal
import sys
import time

import psutil
import pytest

from kernel_lab.deployments import StackFailed
from kernel_lab.deployments.native.guarded import Command, Guard

WITHIN_S = 20.0


@pytest.fixture
async def guard(tmp_path, leftovers):
    guard = Guard(log=tmp_path / "guard.log")
    await guard.ready()
    yield guard
    await guard.close()
    assert leftovers.processes() == []
    assert leftovers.files() == []
    assert not (tmp_path / "guard.log").exists()


@pytest.fixture
def shell(tmp_path):
    def command(script):
        argv = (shutil.which("sh") or "", "-c", script)
        return Command(argv=argv, env=os.environ, cwd=tmp_path, log=tmp_path / "log")

    return command


def said(tmp_path):
    deadline = time.monotonic() + WITHIN_S
    while not (log := tmp_path / "log").exists() or not log.read_text().endswith("\n"):
        assert time.monotonic() < deadline
        time.sleep(0.01)
    return log.read_text()


@pytest.mark.parametrize(
    ("script", "status"), [("exit 0", 0), ("exit 7", 7), ("kill -KILL $$", -signal.SIGKILL)]
)
async def test_the_end_of_a_server_is_told_with_its_status(guard, shell, script, status):
    await guard.start("server", shell(script))
    assert await guard.ended("server", within_s=WITHIN_S)
    assert guard.status("server") == status


async def test_a_server_that_is_started_again_runs_until_it_ends_again(guard, shell):
    first = await guard.start("server", shell("exit 1"))
    await guard.ended("server", within_s=WITHIN_S)
    second = await guard.start("server", shell("sleep 60"))
    assert second != first
    assert guard.status("server") is None
    assert not await guard.ended("server", within_s=0.1)


async def test_what_a_dead_server_leaves_in_its_group_is_killed_before_its_end_is_told(
    guard, shell, leftovers
):
    await guard.start("server", shell("trap '' TERM; sleep 60 & sleep 60 & exit 0"))
    assert await guard.ended("server", within_s=WITHIN_S)
    assert not any("sleep" in line for line in leftovers.processes())


async def test_a_server_deaf_to_sigterm_is_killed_with_its_children_when_the_harness_goes(
    guard, shell, tmp_path
):
    await guard.start("server", shell("trap '' TERM; sleep 60 & echo deaf; while :; do sleep 1; done"))
    assert said(tmp_path) == "deaf\n"


async def test_a_stopped_server_ends_too(guard, shell, tmp_path):
    os.kill(await guard.start("server", shell("echo up; sleep 60")), signal.SIGSTOP)


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux lets a guard adopt what left its group")
async def test_a_process_that_left_its_group_ends_with_the_stack(guard, shell, tmp_path):
    await guard.start("server", shell("setsid sh -c 'echo up; sleep 60' & wait"))
    assert said(tmp_path) == "up\n"


async def test_each_server_leads_a_process_group_of_its_own_and_hears_no_ctrl_c_of_ours(guard, shell):
    pids = [await guard.start(name, shell("sleep 60")) for name in ("a", "b")]
    assert [os.getpgid(pid) for pid in pids] == pids
    assert {os.getsid(pid) for pid in pids} == {psutil.Process(pids[0]).ppid()}
    assert os.getsid(0) not in {os.getsid(pid) for pid in pids}


async def test_signals_reach_a_server_as_if_it_had_been_started_by_hand(guard, shell, tmp_path):
    await guard.start("server", shell("kill -INT $$; echo ignored"))
    await guard.ended("server", within_s=WITHIN_S)
    assert guard.status("server") == -signal.SIGINT


async def test_a_program_that_is_not_there_is_told_by_its_name(guard, tmp_path):
    command = Command(argv=("/nowhere/nginx",), env={}, cwd=tmp_path, log=tmp_path / "log")
    with pytest.raises(StackFailed, match=r"nginx could not be started: .*'/nowhere/nginx'"):
        await guard.start("nginx", command)


async def test_output_is_added_to_the_end_of_a_log(guard, shell, tmp_path):
    (tmp_path / "log").write_text("before\n")
    await guard.start("server", shell("echo out; echo err >&2"))
    await guard.ended("server", within_s=WITHIN_S)
    assert (tmp_path / "log").read_text() == "before\nout\nerr\n"
