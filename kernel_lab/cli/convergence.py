"""kernel-lab convergence: how long until every worker refuses a revoked token."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Annotated

import typer

from kernel_lab.bad_input import BadInput
from kernel_lab.cli.signals import until_terminated
from kernel_lab.run.folder import NotARun


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command()(convergence)


def convergence(
    deployment: Annotated[list[str], typer.Option(help="Only this deployment; may be repeated. [all]")] = [],  # noqa: B006
    revocations: Annotated[int, typer.Option(help="Revocations of each deployment; 200 or more.")] = 300,
    out: Annotated[Path | None, typer.Option(help="The run folder [results/convergence-<time>].")] = None,
) -> None:
    """Measure how long after a revocation every worker refuses the token: convergence.csv.

    A deployment that states a staleness is measured at 100, 500 and 5,000 ms. Exit code: 0, 2 if one could not
    be measured, or 64 for bad input.
    """
    from kernel_lab.convergence import command  # noqa: PLC0415 - only this command needs its client

    try:
        rows = asyncio.run(until_terminated(command.run(names=deployment, revocations=revocations, out=out)))
    except NotARun as error:
        raise BadInput(str(error)) from None
    raise typer.Exit(2 if any(row.get("reason") for row in rows) else 0)
