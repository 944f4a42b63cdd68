"""Ignore comments: ``# kernel-lab: ignore[redis-evicts] this Redis holds a cache only``.

The comment stands on the line of the finding or on a line of comments directly above it. ``ignore-file``
in place of ``ignore`` holds for the whole file. The reason is required: a comment without one ignores
nothing and is a finding of its own.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Final

from kernel_lab.doctor.catalogue import RULES
from kernel_lab.doctor.facts import Place
from kernel_lab.doctor.files import Files
from kernel_lab.doctor.findings import Finding, finding

_COMMENT: Final = re.compile(
    r"(?:#|//|;)\s*kernel-lab:\s*ignore(?P<file>-file)?(?:\[(?P<ids>[^\]]*)\])?(?P<reason>.*)$"
)


@dataclass(frozen=True, slots=True)
class Ignore:
    """One comment: which findings it ignores, where, and why."""

    ids: tuple[str, ...]
    place: Place
    reason: str
    whole_file: bool
    line: int
    """The line that it speaks about."""


def comments(path: str, text: str) -> Iterator[Ignore]:
    """The ignore comments of a file."""
    rows = text.splitlines()
    for number, row in enumerate(rows, start=1):
        found = _COMMENT.search(row)
        if not found:
            continue
        line = number
        if row.lstrip().startswith(("#", "//", ";")):
            while line < len(rows) and rows[line - 1].lstrip().startswith(("#", "//", ";")):
                line += 1
        ids = tuple(part.strip() for part in (found["ids"] or "").split(",") if part.strip())
        yield Ignore(
            ids, Place(path, number), found["reason"].strip(" \t:-–—"), found["file"] is not None, line
        )


def apply(found: Sequence[Finding], files: Files) -> list[Finding]:
    """The findings with those marked that a comment ignores, and one for each comment that is incomplete."""
    all_ignores = [ignore for path, text in files.texts.items() for ignore in comments(path, text)]
    usable = [ignore for ignore in all_ignores if ignore.reason and ignore.ids]
    marked = [replace(each, ignored=_reason(each, usable)) for each in found]
    return [*marked, *_incomplete(all_ignores)]


def _reason(each: Finding, ignores: Iterable[Ignore]) -> str | None:
    for ignore in ignores:
        if (
            ignore.place.file == each.place.file
            and each.id in ignore.ids
            and (ignore.whole_file or ignore.line == each.place.line)
        ):
            return ignore.reason
    return None


def _incomplete(ignores: Iterable[Ignore]) -> Iterator[Finding]:
    for ignore in ignores:
        unknown = [each for each in ignore.ids if each not in RULES]
        if not ignore.ids:
            yield finding(
                "ignore-without-reason",
                ignore.place,
                "The comment names no finding: write ignore[ID] and then the reason.",
            )
        elif unknown:
            yield finding(
                "ignore-without-reason",
                ignore.place,
                f"`{unknown[0]}` is no finding of the doctor: `kernel-lab doctor --explain` lists them.",
            )
        elif not ignore.reason:
            yield finding(
                "ignore-without-reason",
                ignore.place,
                f"The comment gives no reason, so {', '.join(ignore.ids)} is not ignored.",
            )
