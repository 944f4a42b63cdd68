"""What tests of several folders need: the command line in this process."""

import logging
from dataclasses import dataclass

import pytest
from effort import SLOW

from kernel_lab.cli.main import main


@dataclass
class Done:
    returncode: int
    stdout: str
    stderr: str


LONG = {"cli", "examples", "gate", "mutants", "upstream", "upstream_followups"}
"""Folders with tests of several seconds each that start no server of the lab."""


def pytest_collection_modifyitems(items):
    """A slow test is skipped and says who runs it. Those that take long come first, so that all workers end together.

    The files of short tests are marked as groups, so that their tests share a fixture of their module. With xdist 3.8
    and pytest 9.2 no group has an effect: xdist adds the group to a name that pytest no longer reads.
    """
    for item in items:
        if item.get_closest_marker("slow") and not SLOW:
            item.add_marker(pytest.mark.skip(reason="slow: make test-slow runs it"))
        if place(item) == SHORT:
            item.add_marker(pytest.mark.xdist_group(item.nodeid.partition("::")[0]))
    items.sort(key=place)


IN_A_GROUP, LIVE, ALONE, SHORT = range(4)


def place(item):
    """When a test is handed out: groups that share a server, live tests, other long tests, and then files."""
    group = item.get_closest_marker("xdist_group")
    if group and not group.args[0].endswith(".py"):
        return IN_A_GROUP
    if item.get_closest_marker("live"):
        return LIVE
    return ALONE if item.path.parent.name in LONG else SHORT


@pytest.fixture(autouse=True)
def logging_goes_on():
    """A program that was called in this process may have switched logging off, for every test after it."""
    yield
    logging.disable(logging.NOTSET)


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
