"""make upstream-patches: the patch series for the project under test, with the figures of a run filled in.

``python -m kernel_lab.upstream.series [RUN]`` reads ``docs/upstream/series/series.toml``. It lays the sdist of
the pinned version out as a repository, commits one change after the other, and writes ``docs/upstream/patches``.
``--base FOLDER`` takes a checkout instead of the sdist, for example the project's main branch; name another
folder with ``--out`` then. ``--check`` writes nothing and fails where the committed patches and the run differ.
"""

from __future__ import annotations

import argparse
import os
import re
import shutil
import sys
import tempfile
import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from kernel_lab.bad_input import EXIT_CODE, BadInput
from kernel_lab.publish import docs, markers
from kernel_lab.run import registry
from kernel_lab.run.saved import NotASavedRun, SavedRun
from kernel_lab.upstream import merge, sdist

FOLDER = registry.root() / "docs" / "upstream"
PATCHES = FOLDER / "patches"
_COMMENT = re.compile(r"<!--.*?-->", re.DOTALL)


@dataclass(frozen=True, slots=True, kw_only=True)
class Change:
    """One commit of the series."""

    subject: str
    body: str
    write: Mapping[str, str]
    """File → its whole new text."""
    merge: Mapping[str, str]
    """Python file → tests that are added to those that are there."""
    insert: Sequence[Mapping[str, str]]
    """``file``, ``after`` (how the line begins) and ``text``."""
    changelog: str
    """An entry under *Unreleased*, *Added*."""


def changes(run: SavedRun, plan: Mapping[str, Any]) -> list[Change]:
    """The commits of the series, with the run's figures.

    Raises:
        BadMarker: A figure that the run does not have.
    """

    def text(name: str) -> str:
        source = (FOLDER / "series" / name).read_text(encoding="utf-8")
        return page(source, run, plan["address"]) if name.endswith(".in") else source

    return [
        Change(
            subject=one["subject"],
            body=one["body"].strip(),
            write={path: text(name) for path, name in one.get("write", {}).items()},
            merge={path: text(name) for path, name in one.get("merge", {}).items()},
            insert=one.get("insert", []),
            changelog=one.get("changelog", "").strip("\n"),
        )
        for one in plan["patch"]
    ]


def page(source: str, run: SavedRun, address: str) -> str:
    """A page for upstream: the run's figures in place of the markers, and no marker left."""
    about = run.environment
    packages = about.get("packages") or {}
    named = {
        "RUN_WEAVER_KERNEL": str(packages.get("weaver-kernel")),
        "RUN_CELLS": str(len(run.cells)),
        "RUN_RECORDED": str(about.get("started"))[:10],
        "RUN_COMMIT": str(about.get("commit"))[:12],
        "RUN_MACHINE": f"{about.get('cores')} cores, Python {about.get('python')}",
        "[kernel-lab](KERNEL_LAB_URL)": f"[kernel-lab]({address})" if address else "kernel-lab",
    }
    filled = _COMMENT.sub("", markers.fill(source, run, {}))
    for name, value in named.items():
        filled = filled.replace(name, value)
    return filled


def apply(change: Change, tree: Path) -> None:
    """Make one change in a checkout.

    Raises:
        BadInput: The checkout lacks the line that an insertion follows.
    """
    for path, text in change.write.items():
        (tree / path).write_text(text, encoding="utf-8")
    for path, text in change.merge.items():
        there = tree / path
        kept = there.read_text(encoding="utf-8") if there.exists() else ""
        there.write_text(merge.merged(kept, text), encoding="utf-8")
    for one in change.insert:
        _insert(tree / one["file"], one["after"], one["text"])
    if change.changelog:
        log = tree / "CHANGELOG.md"
        log.write_text(entered(log.read_text(encoding="utf-8"), change.changelog), encoding="utf-8")


def _insert(path: Path, after: str, text: str) -> None:
    lines = path.read_text(encoding="utf-8").splitlines(keepends=True)
    found = [n for n, line in enumerate(lines) if line.startswith(after)]
    if len(found) != 1:
        raise BadInput(f"{path.name}: {len(found)} lines begin with {after!r}; the series needs exactly one")
    lines.insert(found[0] + 1, text.removeprefix("\n") + "\n")
    path.write_text("".join(lines), encoding="utf-8")


def entered(changelog: str, entry: str) -> str:
    """A changelog with `entry` first under *Unreleased*, *Added*.

    Raises:
        BadInput: There is no section *Unreleased*.
    """
    head, mark, rest = changelog.partition("## [Unreleased]\n")
    if not mark:
        raise BadInput("CHANGELOG.md has no section [Unreleased]; the series adds its entry there")
    section, more, old = rest.partition("\n## [")
    before, added, others = section.partition("### Added\n")
    section = f"{before}{added}{entry}\n{others}" if added else f"\n### Added\n{entry}\n{section}"
    return f"{head}{mark}{section}{more}{old}"


def write(run: SavedRun, base: Path, out: Path, *, address: str = "") -> list[Path]:
    """Commit the series over a copy of `base` and write one patch for each commit.

    Raises:
        BadInput: The series does not fit `base`.
    """
    plan = tomllib.loads((FOLDER / "series" / "series.toml").read_text(encoding="utf-8"))
    plan["address"] = address or plan["address"]
    name, _, mail = plan["author"].partition(" <")
    when = str(run.environment.get("started"))
    who = {
        f"GIT_{role}_{what}": value
        for role in ("AUTHOR", "COMMITTER")
        for what, value in (("NAME", name), ("EMAIL", mail.rstrip(">")), ("DATE", when))
    }
    with tempfile.TemporaryDirectory(prefix="lab-series-") as folder:
        tree = Path(folder, "tree")
        shutil.copytree(base, tree, ignore=shutil.ignore_patterns(".git", ".venv"))
        sdist.repository(tree)
        all_changes = changes(run, plan)
        for change in all_changes:
            apply(change, tree)
            sdist.git(tree, "add", "--all", "--force")
            sdist.git(tree, "commit", "--quiet", "-m", f"{change.subject}\n\n{change.body}", env=who)
        shutil.rmtree(out, ignore_errors=True)
        out.mkdir(parents=True)
        sdist.git(
            tree, "format-patch", "--quiet", "--zero-commit", "--no-signature", "--unified=1",
            "--output-directory", str(out.resolve()), f"HEAD~{len(all_changes)}",
        )  # fmt: skip
    return sorted(out.glob("*.patch"))


def added(patch: str) -> dict[str, list[str]]:
    """File → the lines that a patch adds to it, in order."""
    found: dict[str, list[str]] = {}
    name = ""
    for line in patch.splitlines():
        if line.startswith("+++ b/"):
            name = line.removeprefix("+++ b/")
        elif line.startswith("+") and name and not line.startswith("+++ "):
            found.setdefault(name, []).append(line[1:])
    return found


def stale(run: SavedRun) -> list[str]:
    """Return the committed patches that differ from the run. This needs no sdist."""
    plan = tomllib.loads((FOLDER / "series" / "series.toml").read_text(encoding="utf-8"))
    wanted = changes(run, plan)
    patches = sorted(PATCHES.glob("*.patch"))
    if len(patches) != len(wanted):
        return [f"{len(patches)} patches, and {len(wanted)} in series.toml"]
    wrong = []
    for path, change in zip(patches, wanted, strict=True):
        text = path.read_text(encoding="utf-8")
        lines = added(text)
        whole = [*change.write.items(), *change.merge.items()]
        right = [lines.get(name) == said.splitlines() for name, said in whole]
        parts = [one["text"].strip("\n") for one in change.insert] + [change.changelog]
        there = "\n".join(line for found in lines.values() for line in found)
        right += [part in there for part in parts]
        right.append(change.subject in text.replace("\n ", " "))
        if not all(right):
            wrong.append(path.name)
    return wrong


def main(arguments: Sequence[str] | None = None) -> int:
    """Write the series, or compare it."""
    parser = argparse.ArgumentParser(prog="make upstream-patches", description=__doc__.partition("\n")[0])
    parser.add_argument("run", nargs="?", type=Path, default=docs.reference(), help="a run folder")
    parser.add_argument("--base", type=Path, help="a checkout, or an unpacked sdist (default: from PyPI)")
    parser.add_argument("--out", type=Path, default=PATCHES, help="where the patches go")
    parser.add_argument("--address", default="", help="the public address of this laboratory")
    parser.add_argument("--check", action="store_true", help="write nothing; 1 where patches and run differ")
    given = parser.parse_args(arguments)
    try:
        run = docs.read(given.run)
        if given.check:
            wrong = stale(run)
            print(*(f"not as the run has it: {name}" for name in wrong), sep="\n")
            return 1 if wrong else 0
        with tempfile.TemporaryDirectory(prefix="lab-sdist-") as folder:
            base = given.base or sdist.unpacked(None, Path(folder))
            written = write(run, base, given.out, address=given.address)
    except (BadInput, NotASavedRun, markers.BadMarker) as error:
        print(f"make upstream-patches: {error}", file=sys.stderr)
        return EXIT_CODE
    print(*(os.path.relpath(path) for path in written), sep="\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
