"""The gate's tests: a run folder to judge, the command line in this process, a file to declare in."""

from dataclasses import dataclass

import pytest
from few_cells import few_cells

from kernel_lab.cli.main import main


@pytest.fixture(scope="session")
def saved(tmp_path_factory):
    """A finished run with long cells. Nobody changes it."""
    return few_cells(tmp_path_factory.mktemp("gate") / "run")


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


@pytest.fixture
def declare(tmp_path):
    """Writes a guarantees.toml and returns its path."""

    def write(text, name="guarantees.toml"):
        path = tmp_path / name
        path.write_text(text)
        return path

    return write
