"""Usage: what a process tree has used, against what the process says of itself."""

import os
import subprocess
import sys
import time

import pytest

from kernel_lab.load import usage as module
from kernel_lab.load.usage import machine, memory_bytes, tree, usage


def burn(cpu_s: float) -> None:
    until = time.process_time() + cpu_s
    while time.process_time() < until:
        pass


def test_cpu_is_what_the_process_itself_counts():
    before, counted = usage([os.getpid()]), time.process_time()
    burn(0.05)
    counted = time.process_time() - counted
    assert usage([os.getpid()]).cpu_s - before.cpu_s == pytest.approx(counted, rel=0.1)


def test_where_threads_are_not_told_apart_ticks_are_counted(monkeypatch):
    monkeypatch.setattr(module, "_schedstat", lambda _pid: None)
    found = usage([os.getpid()])
    assert found.cpu_s > 0
    assert found.queued_s is None


def test_a_tree_holds_the_children_and_is_empty_once_it_has_ended():
    with subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE) as child:
        assert child.pid in tree(os.getpid())
        assert tree(child.pid) == [child.pid]
        assert memory_bytes([child.pid]) > 0
        child.communicate()
    assert tree(child.pid) == []
    assert usage([child.pid]).cpu_s == 0
    assert memory_bytes([child.pid]) == 0


def test_the_machine_is_at_least_as_busy_as_we_are():
    before = machine()
    burn(0.1)
    after = machine()
    # the machine counts in ticks of 10 ms
    assert after.busy_s - before.busy_s >= 0.05
    assert after.at_s > before.at_s
