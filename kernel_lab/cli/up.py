"""kernel-lab up: one deployment in the foreground."""

from __future__ import annotations

from typing import Annotated

import typer

from kernel_lab.bad_input import pick
from kernel_lab.deployments import AppSpec
from kernel_lab.deployments.up import up_forever
from kernel_lab.run import registry


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command()(up)


def up(name: Annotated[str, typer.Argument(help="A deployment of `kernel-lab list deployments`.")]) -> None:
    """Run one deployment in the foreground and print what to try with curl; Ctrl-C ends it.

    Exit code: 0 once it was stopped, 2 if it could not be started, 64 for a name that is not known.
    """
    deployment = pick("kernel-lab up", name, registry.deployments())
    folder = registry.results() / "up" / deployment.name
    raise typer.Exit(up_forever(deployment, app=AppSpec(root=registry.root()), folder=folder))
