"""kernel-lab report: the page of a run."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from kernel_lab.publish import reporting
from kernel_lab.run import registry


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command()(report)


def report(
    path: Annotated[Path | None, typer.Argument(help="A run folder [results/latest].")] = None,
) -> None:
    """Write report.html into a run folder: one page, needs no network and no server.

    Exit code: 0 it is written, 64 the path holds no run.
    """
    print(reporting.report(path or registry.results() / "latest"))
