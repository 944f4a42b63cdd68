"""kernel-lab rebuild: make the CSVs and the page of an interrupted run."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from kernel_lab.bad_input import BadInput
from kernel_lab.cli.screen import short
from kernel_lab.publish import reporting
from kernel_lab.publish.rebuild import rebuild as rebuild_run
from kernel_lab.run.folder import NotARun


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command()(rebuild)


def rebuild(path: Annotated[Path, typer.Argument(help="The folder of a run that was interrupted.")]) -> None:
    """Judge every cell of a run folder again, and write its CSVs and its page from them.

    Exit code: 0 the files were written, whatever the verdicts are; 64 for a path that holds no run.
    """
    try:
        done = rebuild_run(path)
    except NotARun as error:
        raise BadInput(str(error)) from None
    page = reporting.report(path)
    also = f", and {done.kept} rows without a folder kept" if done.kept else ""
    print(f"{done.judged} cells judged{also}. Look at it: {short(page)}")
    if done.about_was_missing:
        print("environment.json was missing: it now describes this machine, and not the one of the run")
