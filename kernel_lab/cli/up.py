"""kernel-lab up: one deployment in the foreground."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from kernel_lab.bad_input import pick
from kernel_lab.cli.options import DeploymentsFile, Kernel, Replicas, State
from kernel_lab.deployments import AppSpec
from kernel_lab.deployments.up import up_forever
from kernel_lab.run import registry
from kernel_lab.run.plan import chosen_deployments
from kernel_lab.run.preflight import preflight
from kernel_lab.run.promises import Promises, read_promises


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command()(up)


def up(
    name: Annotated[str, typer.Argument(help="A deployment of `kernel-lab list deployments`.")],
    kernel: Kernel = None,
    promises: Annotated[
        Path | None, typer.Option(help="How your own kernel is called: a TOML file (docs/your-kernel.md).")
    ] = None,
    deployments: DeploymentsFile = None,
    workers: Annotated[
        int | None,
        typer.Option(min=1, help="Workers of each replica, instead of the deployment's own number."),
    ] = None,
    replicas: Replicas = None,
    state: State = None,
) -> None:
    """Run one deployment in the foreground and print what to try with curl; Ctrl-C ends it.

    Exit code: 0 once it was stopped, 2 if it could not be started, 64 for a name that is not known.
    """
    known = chosen_deployments(deployments, workers=workers, replicas=replicas, state=state)
    deployment = pick("kernel-lab up", name, known)
    folder = registry.results() / "up" / deployment.name
    env: dict[str, str] = {}
    capability = "billing.get_invoice"
    if kernel is not None:
        said = read_promises(promises) if promises else Promises()
        looked = preflight(kernel, said, env)
        print("\n".join(looked.lines()))
        env["LAB_KERNEL"] = kernel
        capability = next((tried.capability for tried in looked.parts.values()), capability)
    app = AppSpec(root=registry.root())
    raise typer.Exit(up_forever(deployment, app=app, folder=folder, env=env, capability=capability))
