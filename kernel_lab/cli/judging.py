"""What needs no server: judge saved runs again, predict from their probes, hold them to guarantees."""

from __future__ import annotations

import csv
import json
import tomllib
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import msgspec

from kernel_lab.bad_input import BadInput
from kernel_lab.judge.history import MalformedHistory, read_history
from kernel_lab.judge.verdict import Cell, Validity, Verdict, merge
from kernel_lab.run import judging as judge
from kernel_lab.run import registry

MARK = {Validity.VALID: "✓", Validity.INVALID: "✗", Validity.UNKNOWN: "?", Validity.SKIPPED: "–"}


def check(path: Path, *, as_json: bool) -> Validity:
    """Judge a run or one cell again, print the verdicts, and return the worst."""
    judged = _judge(path)
    verdicts = [verdict for _, _, of_cell in judged for verdict in of_cell]
    if as_json:
        print(json.dumps([_plain(*one) for one in _flat(judged)], indent=2))
    else:
        for folder, cell, verdict in _flat(judged):
            _print(folder, cell, verdict)
    return merge(verdict.validity for verdict in verdicts)


def _judge(path: Path) -> list[tuple[Path, Cell, list[Verdict]]]:
    try:
        return judge.judge_path(path)
    except (judge.NotARun, MalformedHistory) as error:
        raise BadInput(str(error)) from None


def _flat(judged: list[tuple[Path, Cell, list[Verdict]]]) -> Iterable[tuple[Path, Cell, Verdict]]:
    for folder, cell, verdicts in judged:
        for verdict in verdicts:
            yield folder, cell, verdict


def _plain(folder: Path, cell: Cell, verdict: Verdict) -> dict[str, Any]:
    return {
        "cell": str(folder),
        "scenario": cell.scenario,
        "deployment": cell.deployment.name,
        "connections": cell.connections,
        "fault": cell.fault,
        **msgspec.to_builtins(verdict),
    }


def _print(folder: Path, cell: Cell, verdict: Verdict) -> None:
    where = " · ".join(part for part in (cell.deployment.name, cell.connections, cell.fault) if part)
    print(f"{MARK[verdict.validity]} {verdict.validity:8} {verdict.claim:13} {where}")
    if verdict.reason:
        print(f"    {verdict.reason}")
    for anomaly in verdict.anomalies[:3]:
        print(f"    {anomaly.kind}: {anomaly.message}")
    if len(verdict.anomalies) > 3:
        print(f"    … and {len(verdict.anomalies) - 3} more in {folder / 'verdict.json'}")
    if verdict.story:
        print("    the smallest counter-example:")
    for line in verdict.story:
        print(f"      {line}")


def predict(path: Path) -> None:
    """Print predicted beside measured for every cell of a run that kept a probe."""
    for folder, cell, verdicts in _judge(path):
        probe = folder / "probe.jsonl"
        scenario = registry.scenarios().get(cell.scenario)
        deployment = registry.deployments().get(cell.deployment.name)
        if not probe.exists() or scenario is None or scenario.predict is None or deployment is None:
            continue
        predicted = scenario.predict(read_history(probe), deployment, cell.parameters)
        for name, value in predicted.items():
            measured = verdicts[0].measures.get(name.removeprefix("predicted_"))
            print(
                f"{cell.scenario:13} {cell.deployment.name:13} {cell.connections:12} "
                f"{name} {_short(value)}  measured {_short(measured)}"
            )


def _short(value: object) -> str:
    return "-" if value is None else f"{value:.3g}" if isinstance(value, float) else str(value)


class Guarantee(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One declared guarantee: a claim that must be valid on a deployment, or a measure and its bound."""

    claim: str
    deployment: str
    connections: str | None = None
    measure: str | None = None
    max: float | None = None
    min: float | None = None


def gate(guarantees: Path, run: Path) -> Validity:
    """Hold a run's CSVs against declared guarantees, print each, and return the worst."""
    declared = _read_guarantees(guarantees)
    if not (run / "verdicts.csv").exists():
        raise BadInput(f"{run}: no run folder: it has no verdicts.csv; `kernel-lab run` makes one")
    worst = []
    for guarantee in declared:
        held, said = _hold(guarantee, run)
        print(f"{MARK[held]} {said}")
        worst.append(held)
    return merge(worst)


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
            raise BadInput(f"{where}: a measure goes with max or min, and they with it")
        columns = ("", *registry.scenarios()[one.claim].columns)
        if one.measure is not None and one.measure not in columns:
            named = ", ".join(columns[1:])
            raise BadInput(f"{path}: {one.claim}.csv has no column {one.measure!r}; one of: {named}")
    return declared


def _hold(guarantee: Guarantee, run: Path) -> tuple[Validity, str]:
    said = f"{guarantee.claim} on {guarantee.deployment}"
    if guarantee.connections:
        said += f", {guarantee.connections}"
    csv_path = run / f"{guarantee.claim}.csv"
    rows = []
    if csv_path.exists():
        with csv_path.open(newline="", encoding="utf-8") as file:
            rows = [row for row in csv.DictReader(file) if _about(guarantee, row)]
    if not rows:
        return Validity.UNKNOWN, f"{said}: not measured in {run}"
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
