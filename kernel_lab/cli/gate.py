"""kernel-lab gate: declared guarantees, held against what was measured."""

from __future__ import annotations

import tomllib
from pathlib import Path
from typing import Annotated

import msgspec
import typer

from kernel_lab.bad_input import BadInput
from kernel_lab.cli.exits import EXIT, MARK
from kernel_lab.judge.verdict import Validity, merge
from kernel_lab.run import registry
from kernel_lab.run.folder import RunFolder
from kernel_lab.run.saved import NotASavedRun, read_table


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command()(gate)


class Guarantee(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One declared guarantee: a claim that must be valid on a deployment, or a measure and its bound."""

    claim: str
    deployment: str
    connections: str | None = None
    measure: str | None = None
    max: float | None = None
    min: float | None = None


def gate(
    guarantees: Annotated[
        Path,
        typer.Option(help="TOML of [[guarantee]] tables: claim, deployment, and measure with max or min."),
    ],
    path: Annotated[Path | None, typer.Argument(help="A run folder [results/latest].")] = None,
) -> None:
    """Hold a run against declared guarantees: 0 all hold, 1 one is broken, 2 one was not measured."""
    run = RunFolder(path or registry.results() / "latest")
    declared = _read_guarantees(guarantees)
    if not run.exists():
        raise BadInput(f"{run.path}: no run folder: it has no verdicts.csv; `kernel-lab run` makes one")
    worst = []
    for guarantee in declared:
        held, said = _hold(guarantee, run)
        print(f"{MARK[held]} {said}")
        worst.append(held)
    raise typer.Exit(EXIT[merge(worst)])


def _read_guarantees(path: Path) -> list[Guarantee]:
    try:
        tables = tomllib.loads(path.read_text(encoding="utf-8")).get("guarantee", [])
        declared = msgspec.convert(tables, list[Guarantee])
    except (OSError, tomllib.TOMLDecodeError, msgspec.ValidationError) as error:
        raise BadInput(f"{path}: {error}") from None
    if not declared:
        raise BadInput(f"{path}: no [[guarantee]] table")
    for one in declared:
        if one.claim not in registry.scenarios():
            raise BadInput(f"{path}: no claim {one.claim!r}; one of: {', '.join(registry.scenarios())}")
        if (one.measure is None) != (one.max is None and one.min is None):
            where = f"{path}: {one.claim} on {one.deployment}"
            raise BadInput(f"{where}: `measure` needs `max` or `min`, and `max` and `min` need `measure`")
        scenario = registry.scenarios()[one.claim]
        columns = ("", *scenario.columns, *scenario.later_columns)
        if one.measure is not None and one.measure not in columns:
            named = ", ".join(columns[1:])
            raise BadInput(f"{path}: {one.claim}.csv has no column {one.measure!r}; one of: {named}")
    return declared


def _hold(guarantee: Guarantee, run: RunFolder) -> tuple[Validity, str]:
    said = f"{guarantee.claim} on {guarantee.deployment}"
    if guarantee.connections:
        said += f", {guarantee.connections}"
    table = run.table(guarantee.claim)
    try:
        rows = [row for row in read_table(table) if _about(guarantee, row)] if table.exists() else []
    except NotASavedRun as error:
        raise BadInput(str(error)) from None
    if not rows:
        return Validity.UNKNOWN, f"{said}: not measured in {run.path}"
    results = [_judge_row(guarantee, row) for row in rows]
    worst = merge(held for held, _ in results)
    return worst, f"{said}: " + next(why for held, why in results if held is worst)


def _about(guarantee: Guarantee, row: dict[str, str]) -> bool:
    return row["deployment"] == guarantee.deployment and guarantee.connections in (None, row["connections"])


def _judge_row(guarantee: Guarantee, row: dict[str, str]) -> tuple[Validity, str]:
    validity = Validity(row["validity"])
    where = f"over {row['connections']}"
    if validity in (Validity.UNKNOWN, Validity.SKIPPED):
        return Validity.UNKNOWN, f"{validity} {where}: {row['reason']}"
    if guarantee.measure is None:
        return validity, f"{validity} {where}"
    if row[guarantee.measure] == "":
        return Validity.UNKNOWN, f"{guarantee.measure} was not observed {where}"
    value = float(row[guarantee.measure])
    bounds = []
    held = True
    if guarantee.max is not None:
        bounds.append(f"≤ {guarantee.max:g}")
        held &= value <= guarantee.max
    if guarantee.min is not None:
        bounds.append(f"≥ {guarantee.min:g}")
        held &= value >= guarantee.min
    verdict = Validity.VALID if held else Validity.INVALID
    return verdict, f"{guarantee.measure} is {value:g} {where}, declared {' and '.join(bounds)}"
