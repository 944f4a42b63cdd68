"""Whether containers run the code of this checkout."""

from __future__ import annotations

from collections.abc import Mapping
from hashlib import sha256
from pathlib import Path

RUNS = (".py", ".lua", ".sql", ".txt")
"""The endings of the files in the image that decide how the lab behaves."""


def ours(root: Path) -> dict[str, str]:
    """The digest of each file of the checkout that decides how the lab behaves, by its path."""
    files = [root / "constraints.txt", *(root / "lab").rglob("*")]
    return {
        str(path.relative_to(root)): sha256(path.read_bytes()).hexdigest()
        for path in files
        if path.suffix in RUNS
    }


def differing(expected: Mapping[str, str], listed: str) -> str:
    """Return the differences between the checkout and the list of ``sha256sum``; empty where there are none."""
    lines = map(str.split, listed.splitlines())
    theirs = {path: digest for digest, path in lines if path.endswith(RUNS)}
    differ = sorted(path for path in {*expected, *theirs} if expected.get(path) != theirs.get(path))
    if not differ:
        return ""
    more = f" and {len(differ) - 1} more" if len(differ) > 1 else ""
    return f"{differ[0]}{more} differ from this checkout"
