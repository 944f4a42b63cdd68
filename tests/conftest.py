"""What tests of several folders need: the command line in this process."""

from dataclasses import dataclass

import pytest

from kernel_lab.cli.main import main


@dataclass
class Done:
    returncode: int
    stdout: str
    stderr: str


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
