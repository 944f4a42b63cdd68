"""Another version of the package under test, beside the installed one: a folder that stands first on the path."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

from kernel_lab.deployments.live import StackUnavailable

PACKAGE = "weaver-kernel"
WITHIN_S = 90.0
"""How long an installation may take."""


def cache() -> Path:
    """The folder in which this machine keeps what the lab has installed.

    Raises:
        StackUnavailable: Nobody knows the home folder of this user.
    """
    try:
        return Path(os.environ.get("XDG_CACHE_HOME") or "~/.cache").expanduser() / "kernel-lab"
    except RuntimeError:
        raise StackUnavailable(
            f"{PACKAGE} of another version has no place: this user has no home folder; XDG_CACHE_HOME can name one"
        ) from None


def other_version(version: str) -> Path:
    """The folder with another version of the package, which is installed there once.

    Its dependencies are not installed with it: it finds them in the running environment.

    Raises:
        StackUnavailable: It cannot be installed, or not kept.
    """
    place = cache() / f"{PACKAGE}-{version}"
    if place.is_dir():
        return place
    try:
        place.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=place.parent, prefix=".new-") as folder:
            fresh = Path(folder) / "packages"
            _install(version, fresh)
            if not place.is_dir():  # another process may have been quicker
                shutil.move(fresh, place)
    except OSError as error:
        raise StackUnavailable(
            f"{PACKAGE} {version} cannot be kept in {place.parent} ({error.strerror or error})"
        ) from None
    return place


def _install(version: str, folder: Path) -> None:
    command = [
        sys.executable, "-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--no-deps",
        "--retries", "1", "--timeout", "15", "--target", str(folder), f"{PACKAGE}=={version}",
    ]  # fmt: skip
    try:
        done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=WITHIN_S)
        why = done.stderr if done.returncode else ""
    except subprocess.TimeoutExpired:
        why = f"not within {WITHIN_S:g} s"
    if why:
        raise StackUnavailable(f"{PACKAGE} {version} cannot be installed: {' '.join(why.split())[-200:]}")
