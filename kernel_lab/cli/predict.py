"""kernel-lab predict: what each cell's routing probe says, beside what was measured."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from kernel_lab.cli.check import judge
from kernel_lab.judge.history import read_history
from kernel_lab.run import registry


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command()(predict)


def predict(path: Annotated[Path, typer.Argument(help="A run folder.")]) -> None:
    """Print, for each cell of a run, what its routing probe predicts beside what was measured.

    Exit code: 0, or 64 for a path that holds no run.
    """
    for folder, cell, verdicts in judge(path):
        scenario = registry.scenarios().get(cell.scenario)
        deployment = registry.deployments().get(cell.deployment.name)
        if scenario is None or deployment is None or not folder.probe.exists():
            continue
        predicted = scenario.predict(read_history(folder.probe), deployment, cell.parameters)
        for name, value in predicted.items():
            measured = verdicts[0].measures.get(name.removeprefix("predicted_"))
            print(
                f"{cell.scenario:13} {cell.deployment.name:13} {cell.connections:12} "
                f"{name} {_short(value)}  measured {_short(measured)}"
            )


def _short(value: object) -> str:
    return "-" if value is None else f"{value:.3g}" if isinstance(value, float) else str(value)
