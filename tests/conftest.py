"""What tests of several folders need: the command line in this process."""

from dataclasses import dataclass

import pytest
from effort import SLOW

from kernel_lab.cli.main import main


@dataclass
class Done:
    returncode: int
    stdout: str
    stderr: str


def pytest_collection_modifyitems(items):
    """A slow test is skipped and says who runs it."""
    if not SLOW:
        for item in items:
            if item.get_closest_marker("slow"):
                item.add_marker(pytest.mark.skip(reason="slow: make test-slow runs it"))


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
