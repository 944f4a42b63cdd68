"""Compare this machine with the needs of the lab."""

from __future__ import annotations

import os
import resource
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Literal

from kernel_lab.deployments.live import StackUnavailable
from kernel_lab.deployments.native.binaries import Binary, find_nginx, find_store
from kernel_lab.deployments.ports import ephemeral_range, server_ports

Level = Literal["ok", "warning", "missing"]
"""``missing`` prevents some of the deployments. A ``warning`` may distort figures."""

_PACKAGES = ("weaver-kernel", "fastapi", "uvicorn", "uvicorn-worker", "gunicorn", "redis", "locust")
_DESCRIPTORS = 4096
"""Enough for eight workers, their connections, and a load of a thousand clients."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """One part of the machine that was checked."""

    what: str
    level: Level
    detail: str
    """The finding and, unless the level is ok, what would be right."""

    @property
    def ok(self) -> bool:
        """Whether nothing is missing."""
        return self.level != "missing"


def diagnose(results: Path = Path("results")) -> list[Finding]:
    """Check which deployments run here, and how far their figures can be trusted.

    The folder `results` is made and tried.
    """
    return [
        _python(),
        _cores(),
        *_packages(),
        *_servers(),
        _docker(),
        _results(results),
        _descriptors(),
        _ports(),
        *_proxy(),
    ]


def in_short() -> str:
    """Return the result of `diagnose` as one sentence, without writing a file and without asking docker."""
    found = [_python(), _cores(), *_packages(), *_servers(), _descriptors(), _ports(), *_proxy()]
    missing = [each.what for each in found if each.level == "missing"]
    warnings = [each.what for each in found if each.level == "warning"]
    if missing:
        return f"This machine lacks {', '.join(missing)} for the lab: kernel-lab doctor --machine."
    if warnings:
        return f"This machine runs the lab; look at {', '.join(warnings)}: kernel-lab doctor --machine."
    return "This machine has what the lab needs: kernel-lab doctor --machine."


def _finding(what: str, level: Level, detail: str) -> Finding:
    return Finding(what=what, level=level, detail=detail)


def _python() -> Finding:
    found = f"{'.'.join(map(str, sys.version_info[:3]))} at {sys.executable}"
    if sys.version_info[:2] in {(3, 11), (3, 12), (3, 13), (3, 14)}:
        return _finding("python", "ok", found)
    return _finding("python", "warning", f"{found}: tested with 3.11 to 3.14 only")


def _cores() -> Finding:
    # the cores that this process may use; in a container, fewer than the machine has
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    if cores > 1:
        return _finding("cores", "ok", str(cores))
    return _finding("cores", "warning", "1: client and workers take turns and hardly overlap; have 2 or more")


def _packages() -> Iterator[Finding]:
    for name in _PACKAGES:
        try:
            yield _finding(name, "ok", version(name))
        except PackageNotFoundError:
            yield _finding(name, "missing", "not installed: make setup")


def _servers() -> Iterator[Finding]:
    for what, find in (("nginx", find_nginx), ("store", find_store)):
        try:
            yield _server(what, find())
        except StackUnavailable as error:
            yield _finding(what, "missing", f"{error}; deployments that need it are skipped")
    if url := os.environ.get("LAB_REDIS_URL"):
        yield _finding(
            "LAB_REDIS_URL", "warning", f"no store is started: {url.rpartition('@')[2]} is used as it is"
        )


def _server(what: str, binary: Binary) -> Finding:
    where = f"{binary.path} ({binary.source})"
    if told := binary.version():
        return _finding(what, "ok", f"{told} at {where}")
    return _finding(what, "missing", f"{where} cannot be run on this machine: install another on PATH")


def _docker() -> Finding:
    if not shutil.which("docker"):
        return _finding("docker", "warning", "no docker on PATH: only the compose stack needs it")
    try:
        told = subprocess.run(
            ("docker", "version", "--format", "{{.Server.Version}}"),
            capture_output=True, text=True, timeout=10, check=False,
        )  # fmt: skip
    except subprocess.TimeoutExpired:
        return _finding("docker", "warning", "its engine does not answer: only the compose stack needs it")
    if told.returncode == 0:
        return _finding("docker", "ok", f"engine {told.stdout.strip()}")
    return _finding("docker", "warning", "a client, but no engine behind it: only the compose stack needs it")


def _results(folder: Path) -> Finding:
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder):
            pass
    except OSError as error:
        return _finding("results", "missing", f"{folder}: {error.strerror}; name another with --out")
    return _finding("results", "ok", f"{folder}, {shutil.disk_usage(folder).free / 2**30:.0f} GiB free")


def _descriptors() -> Finding:
    soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft == resource.RLIM_INFINITY or soft >= _DESCRIPTORS:
        return _finding("open files", "ok", "no limit" if soft == resource.RLIM_INFINITY else str(soft))
    return _finding(
        "open files", "warning", f"{soft}: load needs {_DESCRIPTORS}, so: ulimit -n {_DESCRIPTORS}"
    )


def _ports() -> Finding:
    ephemeral = ephemeral_range()
    found = f"outgoing connections take {ephemeral.start} to {ephemeral.stop - 1}"
    if server_ports():
        return _finding("ports", "ok", f"{found}; servers are put outside")
    return _finding("ports", "warning", f"{found}: a server may lose its port to one as it starts")


def _proxy() -> Iterator[Finding]:
    names = [name for name in os.environ if name.lower() in {"http_proxy", "all_proxy"} and os.environ[name]]
    if names:
        yield _finding(
            "proxy", "warning",
            f"{', '.join(names)} set: the lab's own clients ignore it, curl and others need --noproxy '*'",
        )  # fmt: skip
