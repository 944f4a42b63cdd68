"""Find and read the given files within bounds: nothing waits, loops or fills the memory."""

from __future__ import annotations

import os
import stat
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from kernel_lab.bad_input import BadInput
from kernel_lab.doctor.facts import Place, Reading
from kernel_lab.doctor.kinds import kind_by_name

LARGEST_BYTES: Final = 1_000_000
MOST_FILES: Final = 2_000
"""A folder with more files of interest than this is read up to here, and the doctor says so."""
MOST_ENTRIES: Final = 50_000
DEEPEST: Final = 12

SKIPPED: Final = frozenset(
    {
        ".git",
        ".hg",
        ".svn",
        ".venv",
        "venv",
        "env",
        ".env.d",
        "node_modules",
        "__pycache__",
        ".tox",
        ".nox",
        ".mypy_cache",
        ".ruff_cache",
        ".pytest_cache",
        "site-packages",
        "dist",
        "build",
        ".eggs",
        ".idea",
        ".vscode",
        "test",
        "tests",
        "testing",
        "docs",
        "vendor",
        "third_party",
        "migrations",
    }
)
"""Folders whose files do not deploy anything: other people's packages, caches, tests, documentation."""


@dataclass(slots=True)
class Files:
    """The texts that were read, by the path that is shown for them."""

    texts: dict[str, str] = field(default_factory=dict)
    named: set[str] = field(default_factory=set)
    """The files that were named one by one, rather than found in a folder."""

    def find(self, wanted: str, beside: str) -> str | None:
        """The file that `beside` means by `wanted`; paths inside of a container match by their end."""
        wanted = wanted.removeprefix("file:").removeprefix("python:")
        folder = Path(beside).parent
        direct = os.path.normpath(folder / wanted)
        if direct in self.texts:
            return direct
        parts = [part for part in Path(wanted).parts if part not in {"/", ".", ".."}]
        ends = (
            [path for path in self.texts if Path(path).parts[-len(parts) :] == tuple(parts)] if parts else []
        )
        if len(ends) == 1:
            return ends[0]
        same_name = [path for path in self.texts if parts and Path(path).name == parts[-1]]
        if len(same_name) == 1:
            return same_name[0]
        near = [path for path in (ends or same_name) if Path(path).parent == folder]
        return near[0] if len(near) == 1 else None

    def below(self, folder: str) -> list[str]:
        """The files in a folder and its folders."""
        root = Path(os.path.normpath(folder)).parts
        return [
            path for path in self.texts if Path(path).parts[: len(root)] == root or str(folder) in {"", "."}
        ]


def collect(paths: Sequence[Path], reading: Reading) -> Files:
    """Read the named files and what is of interest below the named folders.

    Raises:
        BadInput: A named path is not there, or there is nothing to read at all.
    """
    files = Files()
    for path in paths:
        if path.is_dir():
            _folder(path, files, reading)
        elif path.exists() or path.is_symlink():
            shown = os.path.normpath(path)
            files.named.add(shown)
            text = _read(path, shown, reading)
            if text is not None:
                files.texts[shown] = text
        else:
            raise BadInput(f"doctor: {path}: there is no such file or folder")
    return files


def _folder(folder: Path, files: Files, reading: Reading) -> None:
    entries = 0
    seen: set[tuple[int, int]] = set()
    todo = [(folder, 0)]
    while todo:
        here, depth = todo.pop(0)
        try:
            status = here.stat()
            if (status.st_dev, status.st_ino) in seen:
                continue
            seen.add((status.st_dev, status.st_ino))
            children = sorted(here.iterdir())
        except OSError as error:
            reading.trouble(Place(str(here)), f"The folder cannot be read: {error.strerror}.")
            continue
        for child in children:
            entries += 1
            if entries > MOST_ENTRIES or len(files.texts) >= MOST_FILES:
                reading.trouble(
                    Place(str(folder)),
                    f"The folder holds more than {MOST_ENTRIES} entries or {MOST_FILES} files of interest; "
                    "the rest was not "
                    "read. Name a smaller folder.",
                )
                return
            if child.is_symlink() and not _inside(child, folder):
                continue
            if child.is_dir():
                if child.name not in SKIPPED and depth < DEEPEST and not child.is_symlink():
                    todo.append((child, depth + 1))
                continue
            shown = os.path.normpath(child)
            if shown not in files.texts and (kind_by_name(shown) or _is_script(child)):
                text = _read(child, shown, reading)
                if text is not None:
                    files.texts[shown] = text


def _is_script(path: Path) -> bool:
    """Whether a file without an ending begins as a script does."""
    try:
        if path.suffix or not stat.S_ISREG(path.lstat().st_mode):
            return False
        with path.open("rb") as file:
            return file.read(2) == b"#!"
    except OSError:
        return False


def _inside(link: Path, folder: Path) -> bool:
    try:
        return link.resolve(strict=True).is_relative_to(folder.resolve())
    except (OSError, RuntimeError):
        return False


def _read(path: Path, shown: str, reading: Reading) -> str | None:
    place = Place(shown)
    try:
        descriptor = os.open(path, os.O_RDONLY | getattr(os, "O_NONBLOCK", 0))
    except OSError as error:
        reading.trouble(place, f"The file cannot be opened: {error.strerror}.")
        return None
    with os.fdopen(descriptor, "rb") as file:
        if not stat.S_ISREG(os.fstat(descriptor).st_mode):
            reading.trouble(place, "This is not a regular file, so it was not read.")
            return None
        data = file.read(LARGEST_BYTES + 1)
    if len(data) > LARGEST_BYTES:
        reading.trouble(place, f"The file is larger than {LARGEST_BYTES:,} bytes, so it was not read.")
        return None
    if b"\0" in data:
        reading.trouble(place, "The file holds binary data, so it was not read.")
        return None
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError:
        reading.trouble(place, "The file is not UTF-8 text, so it was not read.")
        return None
