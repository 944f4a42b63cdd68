"""The sdist of the project under test: fetched through pip, unpacked, laid out as a repository."""

from __future__ import annotations

import os
import subprocess
import sys
import tarfile
from collections.abc import Mapping
from importlib.metadata import version
from pathlib import Path
from types import MappingProxyType

from kernel_lab.bad_input import BadInput

PROJECT = "weaver-kernel"


def unpacked(archive: Path | None, folder: Path) -> Path:
    """The source folder of the pinned version: `archive`, or the one that PyPI has.

    Raises:
        BadInput: There is no such file, or it is not an archive.
    """
    pinned = version(PROJECT)
    if archive is None:
        fetch = [
            sys.executable,
            "-m",
            "pip",
            "download",
            "--quiet",
            "--disable-pip-version-check",
            "--no-deps",
        ]
        fetch += ["--no-binary", ":all:", "--dest", str(folder), f"{PROJECT}=={pinned}"]
        if subprocess.run(fetch, check=False).returncode:
            raise BadInput(f"PyPI gave no sdist of {PROJECT} {pinned}; name one with --sdist FILE")
        archive = next(folder.glob("*.tar.gz"))
    if archive.is_dir():
        return archive
    try:
        with tarfile.open(archive) as opened:
            opened.extractall(folder, filter="data")
    except (OSError, tarfile.TarError) as error:
        raise BadInput(f"{archive} is no sdist: {error}; give a {PROJECT}-{pinned}.tar.gz") from error
    return folder / f"{PROJECT.replace('-', '_')}-{pinned}"


def repository(tree: Path) -> None:
    """Make a folder a git repository with one commit that holds everything in it."""
    git(tree, "init", "--quiet", "--initial-branch=main")
    git(tree, "add", "--all", "--force")
    git(tree, "commit", "--quiet", "-m", "as published")


def git(tree: Path, *arguments: str, env: Mapping[str, str] = MappingProxyType({})) -> str:
    """Return the output of a git command.

    Raises:
        BadInput: git failed. The message has git's own words.
    """
    who = ("-c", "user.name=kernel-lab", "-c", "user.email=kernel-lab@users.noreply.github.com")
    plain = ("-c", "commit.gpgsign=false", "-c", "core.autocrlf=false")
    done = subprocess.run(
        ["git", *who, *plain, *arguments], cwd=tree, env={**os.environ, **env}, capture_output=True,
        text=True, check=False,
    )  # fmt: skip
    if done.returncode:
        raise BadInput(f"git {arguments[0]} failed: {(done.stderr or done.stdout).strip()}")
    return done.stdout
