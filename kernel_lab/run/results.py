"""Results: one CSV per scenario, and one row per cell. No row is ever left out.

The field ``fault`` is empty where there is no fault. A measure is empty where it was not observed. A skipped cell has
``validity`` ``skipped`` and a reason.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import msgspec

from kernel_lab.judge.verdict import Measure, Validity, Verdict
from kernel_lab.run.folder import RunFolder, write_whole
from kernel_lab.run.scenario import COUNT_OF_ANOMALIES, Scenario

LEADING = ("deployment", "state", "workers", "replicas", "routing", "connections", "fault")
VERDICTS = (
    "run", "scenario", "deployment", "connections", "fault", "seed", "claim", "validity", "expected",
    "anomalies", "first_anomaly", "reason", "kernel", "quick",
)  # fmt: skip
SHARES = ("scenario", "deployment", "connections", "worker", "requests", "share")


class CellResult(msgspec.Struct, frozen=True, kw_only=True):
    """The result of one cell: its place in the matrix, its verdict, its measures."""

    run: str
    scenario: str
    deployment: str
    state: str
    workers: int
    replicas: int
    routing: str
    connections: str
    fault: str = ""
    seed: int = 0
    claim: str = ""
    validity: Validity = Validity.UNKNOWN
    expected: Validity | None = None
    measures: dict[str, Measure] = {}
    anomalies: int = 0
    first_anomaly: str = ""
    reason: str = ""
    kernel: str = ""
    """The kernel that was measured: ``module:factory``, ``attached``, or ``lab``."""
    quick: str = ""
    """``quick`` where the cell was shortened, and otherwise ``full``."""
    shares: dict[str, int] = {}
    """The number of calls that each worker answered, also those of the probe."""

    @property
    def as_expected(self) -> bool:
        """Whether the verdict is the expected one; also true if no verdict is expected."""
        return self.expected is None or self.validity is self.expected

    @property
    def label(self) -> str:
        """The cell as a person names it."""
        parts = (self.scenario, self.deployment, self.connections.replace("_", " "), self.fault)
        return " · ".join(part for part in parts if part)


def with_verdict(cell: CellResult, verdict: Verdict, predicted: Mapping[str, Measure]) -> CellResult:
    """Return the row of the cell with its verdict, its measures and its predictions."""
    counted = verdict.measures.get(COUNT_OF_ANOMALIES)
    return msgspec.structs.replace(
        cell,
        claim=verdict.claim,
        validity=verdict.validity,
        measures={**verdict.measures, **predicted},
        anomalies=int(counted) if counted is not None else len(verdict.anomalies),
        first_anomaly=verdict.anomalies[0].message if verdict.anomalies else "",
        reason=verdict.reason,
    )


def columns_of(scenario: Scenario) -> tuple[str, ...]:
    """The columns of a scenario's CSV, in their order."""
    return (*LEADING, *scenario.columns, "validity", "reason", *scenario.later_columns)


def write_csvs(folder: RunFolder, cells: Sequence[CellResult], scenarios: Iterable[Scenario]) -> None:
    """Write ``verdicts.csv``, ``shares.csv`` and one CSV for each scenario that has a row."""
    write_rows(folder.table("verdicts"), VERDICTS, (msgspec.to_builtins(cell) for cell in cells))
    for scenario in scenarios:
        its = [cell for cell in cells if cell.scenario == scenario.name]
        if its:
            rows = [{**cell.measures, **msgspec.to_builtins(cell)} for cell in its]
            write_rows(folder.table(scenario.name), columns_of(scenario), rows)
    write_rows(folder.table("shares"), SHARES, _share_rows(cells))


def _share_rows(cells: Iterable[CellResult]) -> Iterable[dict[str, Any]]:
    for cell in cells:
        total = sum(cell.shares.values())
        for worker, requests in sorted(cell.shares.items()):
            yield {
                "scenario": cell.scenario, "deployment": cell.deployment, "connections": cell.connections,
                "worker": worker, "requests": requests, "share": requests / total,
            }  # fmt: skip


def write_rows(path: Path, columns: Sequence[str], rows: Iterable[Mapping[str, Any]]) -> None:
    """Write one CSV. A field that a row lacks is empty, and a value without a column is left out."""
    file = io.StringIO(newline="")
    writer = csv.DictWriter(file, columns, extrasaction="ignore", lineterminator="\n")
    writer.writeheader()
    for row in rows:
        writer.writerow({column: _cell(row.get(column)) for column in columns})
    write_whole(path, file.getvalue().encode())


def _cell(value: object) -> object:
    """A value as a CSV field: floats with six digits, and an empty field for None."""
    if value is None:
        return ""
    if isinstance(value, str) and value.startswith(("=", "+", "@", "\t", "\r")):
        return f"'{value}"  # a spreadsheet would read such a text as a formula
    return f"{value:.6g}" if isinstance(value, float) else value
