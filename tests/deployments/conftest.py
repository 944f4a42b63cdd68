"""A tiny app that real servers serve, and an eye on what they leave behind."""

import secrets
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from kernel_lab.deployments import AppSpec, NativeStack
from kernel_lab.deployments.ports import is_free


class Leftovers:
    """Who runs under our mark, or in our temp folder, and what is in that folder."""

    def __init__(self, mark: str, temp: Path) -> None:
        self.mark = mark
        self.temp = temp

    def processes(self) -> list[str]:
        found = []
        for process in psutil.process_iter():
            try:
                # nginx and Valkey write a title over their environment; but they run in the folder
                ours = process.environ().get("STACK_MARK") == self.mark or process.cwd().startswith(
                    f"{self.temp}/"
                )
                if ours and process.status() != psutil.STATUS_ZOMBIE:
                    found.append(f"{process.pid} {' '.join(process.cmdline())}")
            except (psutil.NoSuchProcess, psutil.AccessDenied):
                continue
        return found

    def files(self) -> list[str]:
        return [str(path) for path in self.temp.rglob("*")]

    def ports(self, stack: NativeStack) -> list[int]:
        return [process.port for process in stack.processes.values() if not is_free(process.port)]


@pytest.fixture
def leftovers(monkeypatch: pytest.MonkeyPatch) -> Iterator[Leftovers]:
    temp = Path(tempfile.mkdtemp(prefix="lab-"))  # not tmp_path, which is too long for a socket
    mark = secrets.token_hex(8)
    monkeypatch.setenv("STACK_MARK", mark)
    monkeypatch.setenv("TMPDIR", str(temp))
    monkeypatch.setattr(tempfile, "tempdir", None)
    yield Leftovers(mark, temp)
    shutil.rmtree(temp)


@pytest.fixture
def tiny() -> AppSpec:
    root = Path(__file__).with_name("tiny")
    return AppSpec(root=root, app="app:app", sidecar_app="app:app", config="gunicorn.conf.py")
