"""Options that several commands take, with the same words."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

Kernel = Annotated[
    str | None, typer.Option(help="Your own kernel: module:factory, factory(settings) -> Kernel.")
]
DeploymentsFile = Annotated[
    Path | None, typer.Option(help="Your own deployments: a TOML file like lab/deployments.toml.")
]
Replicas = Annotated[
    int | None, typer.Option(min=1, help="Replicas behind nginx, instead of the deployment's own number.")
]
State = Annotated[
    str | None, typer.Option(help="The URL of the state (LAB_STATE), instead of the deployment's own.")
]
