"""The gate's tests: a run folder to judge, the command line in this process, a file to declare in."""

import pytest
from few_cells import few_cells


@pytest.fixture(scope="session")
def saved(tmp_path_factory):
    """A finished run with long cells. Nobody changes it."""
    return few_cells(tmp_path_factory.mktemp("gate") / "run", quick=False)


@pytest.fixture
def declare(tmp_path):
    """Writes a guarantees.toml and returns its path."""

    def write(text, name="guarantees.toml"):
        path = tmp_path / name
        path.write_text(text)
        return path

    return write
