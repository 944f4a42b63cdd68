"""kernel-lab preflight: which parts of an operator's kernel can be tested, before anything is started."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from kernel_lab.run import registry
from kernel_lab.run.preflight import preflight as look_at_kernel
from kernel_lab.run.promises import Promises, read_promises


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command()(preflight)


def preflight(
    kernel: Annotated[
        str, typer.Option(help="Your own kernel: module:factory, factory(settings) -> Kernel.")
    ],
    promises: Annotated[
        Path | None, typer.Option(help="What the kernel promises, as a TOML file (docs/your-kernel.md).")
    ] = None,
) -> None:
    """Build your kernel once, grant and invoke each part once, and print what a run would test.

    Exit code: 0 every part works, 2 some part does not; 64 if there is no kernel to build.
    """
    said = read_promises(promises) if promises else Promises()
    found = look_at_kernel(kernel, said, registry.settings(quick=True))
    print("\n".join(found.lines()))
    raise typer.Exit(0 if found.parts and all(tried.works for tried in found.parts.values()) else 2)
