import making
import pytest

from kernel_lab.publish.report import write_report
from kernel_lab.run.saved import read_run


@pytest.fixture(scope="session")
def folder(tmp_path_factory):
    """A small run folder with its page."""
    made = making.make_run(tmp_path_factory.mktemp("report") / "run")
    write_report(made, making.subjects())
    return made


@pytest.fixture(scope="session")
def run(folder):
    return read_run(folder)


@pytest.fixture(scope="session")
def page(folder):
    return (folder / "report.html").read_text(encoding="utf-8")
