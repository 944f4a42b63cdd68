"""kernel-lab load: what each deployment costs under load."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from kernel_lab.cli.options import DeploymentsFile


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command()(load)


def load(
    part: Annotated[
        list[str],
        typer.Option(
            help="deployments, distance, callers, workers, size, app; may be repeated. [the first three]"
        ),
    ] = [],  # noqa: B006
    deployment: Annotated[list[str], typer.Option(help="Only this deployment; may be repeated.")] = [],  # noqa: B006
    mix: Annotated[
        list[str], typer.Option(help="Only this mix: read-heavy, grant-heavy, invoke-200, …; may repeat.")
    ] = [],  # noqa: B006
    rounds: Annotated[int | None, typer.Option(help="Repetitions of everything, 2 or more.")] = None,
    quick: Annotated[bool, typer.Option("--quick", help="Short slots, few rounds: wide intervals.")] = False,
    seed: Annotated[int, typer.Option(help="Seed of every random choice.")] = 1,
    out: Annotated[Path | None, typer.Option(help="The run folder itself [results/load-<time>].")] = None,
    kernel: Annotated[
        str | None,
        typer.Option(
            help="Another kernel with the lab's capabilities: module:factory (docs/your-kernel.md)."
        ),
    ] = None,
    deployments: DeploymentsFile = None,
    workers: Annotated[
        int | None, typer.Option(min=1, help="Workers of each replica of each --deployment.")
    ] = None,
    replicas: Annotated[
        int | None, typer.Option(min=1, help="Replicas behind nginx of each --deployment.")
    ] = None,
    state: Annotated[
        str | None, typer.Option(help="The URL of the state (LAB_STATE) of each --deployment.")
    ] = None,
) -> None:
    """Measure what each deployment costs under load, and judge what holds there: cost.csv.

    The column `reading` says which figures are usable. Exit code: 0, or 2 if the load generator failed.
    """
    from kernel_lab.load import command  # noqa: PLC0415 - its statistics take long to import
    from kernel_lab.load.own import Own  # noqa: PLC0415

    raise typer.Exit(
        command.main(
            parts=part,
            deployments=deployment,
            mixes=mix,
            rounds=rounds,
            quick=quick,
            seed=seed,
            out=out,
            kernel=kernel,
            own=Own(file=deployments, workers=workers, replicas=replicas, state=state),
        )
    )
