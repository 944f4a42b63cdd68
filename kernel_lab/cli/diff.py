"""kernel-lab diff and kernel-lab history: runs beside each other."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated

import typer

from kernel_lab.bad_input import BadInput
from kernel_lab.compare.changes import Difference, diff
from kernel_lab.compare.over_time import over_time, runs_below
from kernel_lab.compare.pages import diff_page, history_page
from kernel_lab.gate.guarantees import Guarantee, deployment_name, read_guarantees
from kernel_lab.gate.judging import about, open_run
from kernel_lab.run.folder import NotARun, write_whole
from kernel_lab.run.saved import SavedRun

_MARK = {None: "~", True: "✗", False: "✓"}


def register(app: typer.Typer) -> None:
    """Add the commands."""
    app.command(name="diff")(diff_runs)
    app.command()(history)


def diff_runs(
    before: Annotated[Path, typer.Argument(help="A run folder.")],
    after: Annotated[Path, typer.Argument(help="Another run folder.")],
    rename: Annotated[
        list[str],
        typer.Option(
            help="OLD=NEW: compare this deployment of the first with that of the second; may repeat."
        ),
    ] = [],  # noqa: B006
    page: Annotated[Path | None, typer.Option(help="Write a page to this file as well.")] = None,
) -> None:
    """Say what changed between two runs beyond noise: verdicts, shares, cost ratios.

    Exit code: 0 nothing changed, 1 something did, 2 no cell could be compared, 64 a path holds no run.
    """
    one, two = open_run(before), open_run(after)
    found = diff(one, two, _renamed(rename, one, two))
    lines = _lines(one, two, found)
    print("\n".join(lines))
    for change in found.changes:
        print(
            f"{_MARK[change.worse]} {change.where}\n    before: {change.before}\n    after:  {change.after}"
        )
    for left in found.not_compared[:10]:
        print(f"  not compared: {left}")
    if len(found.not_compared) > 10:
        print(f"  … and {len(found.not_compared) - 10} more that were not compared")
    if page is not None:
        _write(page, diff_page(about(one), about(two), found, lines))
    if found.changes:
        raise typer.Exit(1)
    raise typer.Exit(0 if found.compared or found.ratios else 2)


def _renamed(rename: list[str], one: SavedRun, two: SavedRun) -> dict[str, str]:
    renamed = {}
    for pair in rename:
        old, equals, new = pair.partition("=")
        if not equals:
            raise BadInput(f"--rename {pair}: should be OLD=NEW, such as memory-4=redis")
        for name, run in ((old, one), (new, two)):
            if name not in run.deployments:
                raise BadInput(
                    f"--rename {pair}: {run.path} has no {name}; one of: {', '.join(run.deployments)}"
                )
        renamed[old] = new
    return renamed


def _lines(one: SavedRun, two: SavedRun, found: Difference) -> list[str]:
    now = datetime.now(tz=UTC)
    counted = f"{found.compared} cells, {found.shares} shares and {found.ratios} cost ratios were compared"
    changed = f"{len(found.changes)} changed" if found.changes else "nothing changed beyond noise"
    return [f"before: {about(one).line(now)}", f"after:  {about(two).line(now)}", f"{counted}; {changed}."]


def history(
    folder: Annotated[Path, typer.Argument(help="A folder of run folders, such as results/gate.")],
    guarantees: Annotated[
        Path | None, typer.Option(help="Only these guarantees [every claim on every deployment].")
    ] = None,
    page: Annotated[Path | None, typer.Option(help="The page to write [FOLDER/history.html].")] = None,
) -> None:
    """Show many runs on one page: one line for each guarantee, one mark for each run.

    Exit code: 0 it is written, 64 the folder holds no run.
    """
    declared = read_guarantees(guarantees).guarantee if guarantees else []
    runs, wrong = runs_below(folder)

    def name_of(one: Guarantee) -> str:
        return deployment_name(one, guarantees) if guarantees else one.deployment

    lines = over_time(runs, declared, name_of)
    marks = {"valid": "✓", "invalid": "✗", "unknown": "?", "": "·"}
    wide = max(len(line.name) for line in lines)
    for line in lines:
        print(f"{line.name:{wide}}  {''.join(marks[point.validity] for point in line.points)}")
    for error in wrong:
        print(f"left out: {error}")
    page = page or folder / "history.html"
    _write(page, history_page(lines, [about(run) for run in runs]))
    print(f"{len(runs)} runs, the oldest first: {page}")


def _write(page: Path, text: str) -> None:
    try:
        write_whole(page.absolute(), text.encode())
    except (OSError, NotARun) as error:
        raise BadInput(
            f"--page {page}: cannot be written ({getattr(error, 'strerror', None) or error})"
        ) from None
