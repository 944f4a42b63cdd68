"""Check a run that others will read: its schema, versions, verdicts and links."""

from __future__ import annotations

import html.parser
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from kernel_lab.publish.pack import size
from kernel_lab.run import judging as judge
from kernel_lab.run import results
from kernel_lab.run.folder import RunFolder
from kernel_lab.run.saved import NotASavedRun, SavedRun, read_run, read_table
from kernel_lab.run.scenario import Scenario

MOST_BYTES = 6_000_000
"""A clone should stay quick."""
TOLD = ("commit", "started", "finished", "python", "platform", "cores", "packages", "seed", "settings")
"""Keys of ``environment.json`` without which a figure cannot be placed."""
PLACES = ("/home/", "/root/", "/tmp/", "/Users/", "/mnt/", "/var/")  # noqa: S108 - looked for, not written to
"""The beginnings of paths on a person's own machine."""


def complaints(folder: Path, scenarios: Mapping[str, Scenario]) -> list[str]:
    """Return the faults of a packed run, one line each; empty if there are none.

    Args:
        folder: A packed run.
        scenarios: The claims that it may have measured, by name.
    """
    try:
        run = read_run(folder, scenarios)
    except NotASavedRun as error:
        return [str(error)]
    found = [*_about(run), *_tables(folder, scenarios), *_cells(run), *_links(folder), *_paths(folder)]
    if size(folder) > MOST_BYTES:
        found.append(f"{size(folder):,} bytes, where {MOST_BYTES:,} are allowed")
    return found


def _about(run: SavedRun) -> Iterable[str]:
    for key in TOLD:
        if not run.environment.get(key):
            yield f"environment.json: no {key}"
    if run.environment.get("changed_files"):
        changed = run.environment["changed_files"]
        yield f"environment.json: {changed} changed files: the commit alone should say what was measured"


def _tables(folder: Path, scenarios: Mapping[str, Scenario]) -> Iterable[str]:
    wanted: dict[str, Sequence[str]] = {"verdicts": results.VERDICTS, "shares": results.SHARES}
    for name, scenario in scenarios.items():
        wanted[name] = results.columns_of(scenario)
    for path in RunFolder(folder).tables():
        try:
            rows = read_table(path)
        except (NotASavedRun, UnicodeDecodeError) as error:
            yield str(error)
            continue
        if not rows:
            yield f"{path.name}: no rows"
        elif path.stem in wanted and tuple(rows[0]) != tuple(wanted[path.stem]):
            yield f"{path.name}: its columns are not those that results/README.md describes"


def _cells(run: SavedRun) -> Iterable[str]:
    """Every row has its folder, every folder its row, and judged again every cell says what its row says."""
    recorded = {cell.folder for cell in run.cells}
    for folder in sorted((run.path / "cells").glob("*/*")):
        if str(folder.relative_to(run.path)) not in recorded:
            yield f"{folder.relative_to(run.path)}: no row of verdicts.csv"
    for cell in run.cells:
        if not cell.folder:
            if not cell.reason:
                yield f"{cell.name}: neither a folder nor a reason"
            continue
        # a history that was left out for its size has left its verdict
        again = judge.judge_cell(run.path / cell.folder) if cell.history else [cell.verdict]
        if cell.verdict is None or again != [cell.verdict]:
            yield f"{cell.folder}: judged again, its verdict is another"


class _Hrefs(html.parser.HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.hrefs: list[str] = []
        self.ids: set[str] = set()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        del tag
        known = dict(attrs)
        self.hrefs += [known["href"] or ""] if "href" in known else []
        self.ids |= {known["id"] or ""} if "id" in known else set()


def _links(folder: Path) -> Iterable[str]:
    for path in sorted(folder.glob("*.html")):
        page = _Hrefs()
        page.feed(path.read_text(encoding="utf-8"))
        for href in dict.fromkeys(page.hrefs):
            if href.startswith("#"):
                broken = href[1:] not in page.ids
            else:
                broken = not href.startswith("data:") and not (folder / href).exists()
            if broken:
                yield f"{path.name}: {href} leads nowhere"


def _paths(folder: Path) -> Iterable[str]:
    for path in sorted(folder.rglob("*")):
        if path.suffix in (".json", ".csv", ".html"):
            text = path.read_text(encoding="utf-8")
            told = [place for place in PLACES if place in text]
            if told:
                yield f"{path.relative_to(folder)}: a path of somebody's machine ({told[0]})"
