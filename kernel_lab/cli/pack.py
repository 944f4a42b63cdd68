"""kernel-lab pack: a run as a folder that fits into git."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from kernel_lab.publish import reporting


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command()(pack)


def pack(
    path: Annotated[Path, typer.Argument(help="A run folder.")],
    out: Annotated[Path, typer.Argument(help="A new folder, such as results/reference.")],
    beside: Annotated[
        list[Path], typer.Option(help="Folder of a load run, whose CSVs come along; may be repeated.")
    ] = [],  # noqa: B006
    front: Annotated[
        bool,
        typer.Option(
            "--front",
            help="Keep the histories of the page's first deployments under round robin, and of missed predictions.",
        ),
    ] = False,
) -> None:
    """Pack a run for git: histories compressed, probes and logs left out, the page made anew.

    Exit code: 0 it is packed, 64 the path holds no run.
    """
    reporting.pack(path, out, beside, front=front)
