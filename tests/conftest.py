"""What tests of several folders need: the command line in this process."""

import logging
import signal
from dataclasses import dataclass
from pathlib import Path

import pytest
from effort import SLOW
from xdist.scheduler import LoadFileScheduling

from kernel_lab.cli.entry import ENDS
from kernel_lab.cli.main import main


@dataclass
class Done:
    returncode: int
    stdout: str
    stderr: str


LONG = {"cli", "examples", "gate", "mutants", "upstream", "upstream_followups"}
"""Folders with tests of several seconds each that start no server of the lab."""


def pytest_collection_modifyitems(items):
    """A slow test is skipped and says who runs it. Files that take long come first, so that all workers end together.

    xdist's marker `xdist_group` has no effect: xdist 3.8 adds the group to a name that pytest 9.2 no longer reads.
    """
    for item in items:
        if item.get_closest_marker("slow") and not SLOW:
            item.add_marker(pytest.mark.skip(reason="slow: make test-slow runs it"))
    items.sort(key=place)


def place(item):
    """When a test is handed out: those that start servers, then other long ones, and then the rest."""
    if item.get_closest_marker("live"):
        return 0
    return 1 if item.path.parent.name in LONG else 2


APART = {"test_followups.py", "test_own_kernel.py", "test_reactions.py", "test_remedies.py", "test_teeth.py"}
"""Files whose tests take several seconds each and share nothing."""


class ByFile(LoadFileScheduling):
    """A worker is given a file at a time, so that its tests share its fixtures; a test alone where they share none."""

    def _split_scope(self, nodeid):
        file = super()._split_scope(nodeid)
        return nodeid if Path(file).name in APART else file


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config, log):
    """xdist's own scheduler, where another way of spreading the tests was asked for."""
    return ByFile(config, log) if config.option.dist == "loadfile" else None


@pytest.fixture(autouse=True)
def logging_goes_on():
    """A program that was called in this process may have switched logging off, for every test after it."""
    yield
    logging.disable(logging.NOTSET)


@pytest.fixture
def heard():
    """What a test starts hears each signal. It would inherit one that whoever runs the tests ignores, as nohup does."""
    ignored = [one for one in ENDS if signal.getsignal(one) is signal.SIG_IGN]
    for one in ignored:
        signal.signal(one, signal.SIG_DFL)
    yield
    for one in ignored:
        signal.signal(one, signal.SIG_IGN)


@pytest.fixture
def command_line(capsys, monkeypatch, tmp_path):
    """Runs kernel-lab in this process, in the test's own folder."""
    monkeypatch.chdir(tmp_path)

    def run(*arguments):
        monkeypatch.setattr("sys.argv", ["kernel-lab", *map(str, arguments)])
        with pytest.raises(SystemExit) as ended:
            main()
        said = capsys.readouterr()
        return Done(ended.value.code, said.out, said.err)

    return run
