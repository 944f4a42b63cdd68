"""kernel-lab check: judge what was recorded again, with no server."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Annotated, Any

import msgspec
import typer

from kernel_lab.bad_input import BadInput
from kernel_lab.cli.exits import EXIT
from kernel_lab.cli.terminal import visible
from kernel_lab.judge.history import MalformedHistory
from kernel_lab.judge.verdict import MARK, Cell, Verdict, merge
from kernel_lab.run import judging, registry
from kernel_lab.run.folder import CellFolder, NotARun

SHOWN = 3
"""Anomalies of a cell that are printed; the rest is counted."""

Judged = Sequence[tuple[CellFolder, Cell, list[Verdict]]]


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command()(check)


def check(
    path: Annotated[Path, typer.Argument(help="A run folder, or the folder of one cell.")],
    as_json: Annotated[bool, typer.Option("--json", help="Print the verdicts as JSON.")] = False,
    replays: Annotated[
        bool, typer.Option("--replays", help="Write replay.py beside every invalid verdict.")
    ] = False,
) -> None:
    """Judge a saved run or cell again; needs no server.

    A cell of a run that cannot be judged is named, and the others are judged.

    Exit code: 0 valid, 1 invalid, 2 unknown; 64 for a path that holds no run.
    """
    judged = judge(path)
    if replays:
        _write_replays(judged)
    if as_json:
        print(json.dumps([_plain(*one) for one in _each(judged)], indent=2))
    else:
        for folder, cell, verdict in _each(judged):
            _print(folder, cell, verdict)
    raise typer.Exit(EXIT[merge(verdict.validity for _, _, verdict in _each(judged))])


def judge(path: Path) -> Judged:
    """Judge a run folder or one cell folder.

    Raises:
        BadInput: It holds nothing that can be judged.
    """
    try:
        return judging.judge_path(path)
    except (NotARun, MalformedHistory) as error:
        raise BadInput(str(error)) from None


def _write_replays(judged: Judged) -> None:
    for folder, cell, verdicts in judged:
        scenario = registry.scenarios()[cell.scenario]
        try:
            why = judging.write_replay(folder, cell, verdicts, scenario.claim)
        except OSError as error:
            raise BadInput(f"{folder.replay}: cannot be written ({error.strerror})") from None
        if why:
            print(f"{folder.path}: no replay: {why}", file=sys.stderr)


def _each(judged: Judged) -> Iterable[tuple[CellFolder, Cell, Verdict]]:
    for folder, cell, verdicts in judged:
        for verdict in verdicts:
            yield folder, cell, verdict


def _plain(folder: CellFolder, cell: Cell, verdict: Verdict) -> dict[str, Any]:
    return {
        "cell": str(folder.path),
        "scenario": cell.scenario,
        "deployment": cell.deployment.name,
        "connections": cell.connections,
        "fault": cell.fault,
        **msgspec.to_builtins(verdict),
    }


def _print(folder: CellFolder, cell: Cell, verdict: Verdict) -> None:
    def say(line: str) -> None:
        print(visible(line))

    where = " · ".join(part for part in (cell.deployment.name, cell.connections, cell.fault) if part)
    say(f"{MARK[verdict.validity]} {verdict.validity:8} {verdict.claim:13} {where}")
    if verdict.reason:
        say(f"    {verdict.reason}")
    for anomaly in verdict.anomalies[:SHOWN]:
        say(f"    {anomaly.kind}: {anomaly.message}")
    if len(verdict.anomalies) > SHOWN:
        say(f"    … and {len(verdict.anomalies) - SHOWN} more in {folder.verdict}")
    if verdict.story:
        say("    the smallest counter-example:")
    for line in verdict.story:
        say(f"      {line}")
