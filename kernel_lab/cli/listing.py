"""kernel-lab list: the names of deployments, scenarios and the like, one on each line, for use in a pipe."""

from __future__ import annotations

from typing import Annotated

import typer

from kernel_lab.bad_input import BadInput
from kernel_lab.run import registry


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command("list")(list_names)


def list_names(
    what: Annotated[str, typer.Argument(help="deployments, scenarios or faults")],
) -> None:
    """Print one name on each line, and beside a fault its title.

    Exit code: 0, or 64 for a list that does not exist.
    """
    faults = {**registry.faults(), **registry.host_faults()}
    names = {
        "deployments": list(registry.deployments()),
        "scenarios": list(registry.scenarios()),
        "faults": list(faults),
    }
    if what not in names:
        raise BadInput(f"kernel-lab list {what}: there is no such list; one of: {', '.join(names)}")
    titles = {name: fault.title for name, fault in faults.items()} if what == "faults" else {}
    wide = max(map(len, names[what]))
    for name in names[what]:
        print(f"{name:{wide}} {titles[name]}" if name in titles else name)
