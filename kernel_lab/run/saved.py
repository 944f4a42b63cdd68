"""A saved run: a run folder, read again for the page, for the docs and for comparing runs.

The CSVs list every cell, also the skipped cells. A cell's folder holds its verdict and its history, packed for git
(``history.jsonl.gz``) or as it was recorded.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import msgspec

from kernel_lab.judge.verdict import Cell, Measure, Validity, Verdict
from kernel_lab.run import registry
from kernel_lab.run.folder import NotARun, RunFolder, read_whole
from kernel_lab.run.measures import Observed
from kernel_lab.run.scenario import Scenario

CELL_TABLES = ("verdicts", "shares")
"""The CSVs about all scenarios. Every scenario has one more CSV, with its own name."""


class NotASavedRun(ValueError):  # noqa: N818 - it names a thing
    """A folder that holds no run, or that cannot be read. The message says what is missing."""


class SavedCell(msgspec.Struct, frozen=True, kw_only=True):
    """One cell of a saved run."""

    scenario: str
    deployment: str
    connections: str
    fault: str = ""
    validity: Validity
    expected: Validity | None = None
    reason: str = ""
    state: str = ""
    workers: int = 1
    """The number of workers of each replica."""
    replicas: int = 1
    routing: str = ""
    measures: dict[str, Measure] = {}
    """The measures of the verdict, and the predicted ones."""
    folder: str = ""
    """The cell's folder, relative to the run; empty where nothing was recorded."""
    files: tuple[str, ...] = ()
    """The names of the files in the folder."""
    parameters: dict[str, Any] = {}
    verdict: Verdict | None = None
    declared: Scenario | None = None
    """The installed scenario that the cell names; None where it is not installed."""

    @property
    def name(self) -> str:
        """A name that is unique in the run and can be used for a folder and in a link."""
        parts = (self.scenario, self.deployment, self.connections, self.fault)
        return "-".join(part for part in parts if part)

    @property
    def label(self) -> str:
        """The cell as a person names it."""
        parts = (self.scenario, self.deployment, self.connections, self.fault)
        return " · ".join(part.replace("_", " ") for part in parts if part)

    @property
    def processes(self) -> int:
        """The number of workers of all replicas together."""
        return self.workers * self.replicas

    @property
    def observed(self) -> Observed | None:
        """The cell's numbers, to be read by their declarations; None where its scenario is not installed."""
        if self.declared is None:
            return None
        return self.declared.observed(self.measures, parameters=self.parameters, connections=self.connections)

    @property
    def as_expected(self) -> bool:
        """Whether the verdict is the expected one; also true if no verdict is expected."""
        return self.expected is None or self.validity is self.expected

    @property
    def history(self) -> str:
        """The path of the cell's history, relative to the run; empty where there is no history."""
        return next((f"{self.folder}/{name}" for name in self.files if name.startswith("history.jsonl")), "")


Row = dict[str, str]


class SavedRun(msgspec.Struct, frozen=True, kw_only=True):
    """The contents of a run folder."""

    path: Path
    environment: dict[str, Any]
    cells: tuple[SavedCell, ...]
    tables: dict[str, tuple[Row, ...]]
    """Every CSV by its name without ``.csv``, as text."""
    declared: Mapping[str, Scenario] = {}
    """The installed scenarios, by name."""

    @property
    def name(self) -> str:
        """The name of the run in its CSVs; the name of its folder if the CSVs have none."""
        return next((row["run"] for row in self.tables["verdicts"] if row.get("run")), self.path.name)

    @property
    def scenarios(self) -> tuple[str, ...]:
        """The scenarios, in the order of the run."""
        return tuple(dict.fromkeys(cell.scenario for cell in self.cells))

    @property
    def deployments(self) -> tuple[str, ...]:
        """The deployments, in the order of the run."""
        return tuple(dict.fromkeys(cell.deployment for cell in self.cells))

    def of(self, scenario: str, deployment: str, *, fault: str = "") -> tuple[SavedCell, ...]:
        """Return the cells of one scenario on one deployment, one for each connection policy."""
        return tuple(
            cell
            for cell in self.cells
            if (cell.scenario, cell.deployment, cell.fault) == (scenario, deployment, fault)
        )


def read_run(path: Path, scenarios: Mapping[str, Scenario] | None = None) -> SavedRun:
    """Read a run folder.

    Args:
        path: The folder.
        scenarios: The scenarios by name; the installed scenarios if this is None.

    Raises:
        NotASavedRun: The folder holds no run, or a file of the run cannot be read.
    """
    run = RunFolder(path)
    if not run.exists():
        missing = "has no verdicts.csv" if path.exists() else "there is no such folder"
        raise NotASavedRun(f"{path}: {missing}: `kernel-lab run` writes a run folder")
    known = registry.scenarios() if scenarios is None else scenarios
    tables = {file.stem: read_table(file) for file in run.tables()}
    try:
        about: dict[tuple[str, ...], Row] = {
            (row["deployment"], row["connections"], row["fault"], name): row
            for name in {row["scenario"] for row in tables["verdicts"]}
            for row in tables.get(name, ())
        }
        environment = run.read_environment()
        cells = tuple(_cell(path, row, about, known) for row in tables["verdicts"])
    except KeyError as error:
        raise NotASavedRun(f"{path}: one of its CSVs has no column {error}") from None
    except NotARun as error:
        raise NotASavedRun(str(error)) from None
    except (msgspec.DecodeError, ValueError, TypeError, OSError) as error:
        raise NotASavedRun(f"{path}: {' '.join(str(error).split())}") from None
    return SavedRun(path=path, environment=environment, cells=cells, tables=tables, declared=known)


def read_table(path: Path) -> tuple[Row, ...]:
    """Read one CSV as text. A row that is shorter than the header is an error.

    Raises:
        NotASavedRun: The CSV is wrong. The message has the number of the first bad line.
    """
    try:
        text = read_whole(path).decode()
    except UnicodeDecodeError as error:
        raise NotASavedRun(f"{path}: is not UTF-8 at byte {error.start}") from None
    except OSError as error:
        raise NotASavedRun(f"{path}: cannot be read ({error.strerror})") from None
    except NotARun as error:
        raise NotASavedRun(str(error)) from None
    reader = csv.DictReader(io.StringIO(text, newline=""), strict=True)
    rows = []
    try:
        for row in reader:
            if None in row or None in row.values():
                fields = len(reader.fieldnames or ())
                raise NotASavedRun(f"{path}:{reader.line_num}: not as many fields as the header's {fields}")
            rows.append(row)
        named = reader.fieldnames or []
    except csv.Error as error:
        raise NotASavedRun(f"{path}:{reader.line_num}: {error}") from None
    if not named:
        raise NotASavedRun(f"{path}: is empty; a CSV begins with the names of its columns")
    return tuple(rows)


def number(text: str) -> Measure:
    """Return a field of a CSV with its type: a number, a word, or None where the field is empty."""
    for kind in (int, float):
        try:
            return kind(text)
        except ValueError:
            continue
    return text or None


def _cell(
    path: Path, row: Row, about: Mapping[tuple[str, ...], Row], scenarios: Mapping[str, Scenario]
) -> SavedCell:
    place = row["deployment"], row["connections"], row["fault"]
    measured = about.get((*place, row["scenario"]), {})
    cell = RunFolder(path).cell(row["scenario"], *place)
    recorded = cell.path.is_dir()
    known = cell.read_cell() if cell.exists() else None
    told = cell.read_verdict() if cell.verdict.exists() else []
    return SavedCell(
        scenario=row["scenario"],
        deployment=row["deployment"],
        connections=row["connections"],
        fault=row["fault"],
        validity=Validity(row["validity"]),
        expected=Validity(row["expected"]) if row["expected"] else None,
        reason=row.get("reason", ""),
        measures={
            **{name: number(text) for name, text in measured.items() if name not in row},
            **(told[0].measures if told else {}),
        },
        folder=str(cell.path.relative_to(path)) if recorded else "",
        files=tuple(sorted(file.name for file in cell.path.iterdir())) if recorded else (),
        parameters=known.parameters if known else {},
        verdict=told[0] if told else None,
        declared=scenarios.get(row["scenario"]),
        **_facts(measured, known),
    )


def _facts(measured: Row, known: Cell | None) -> dict[str, Any]:
    """Return the facts about the deployment from the scenario's CSV, or from the cell if the CSV has no row of it."""
    if measured:
        return {
            "state": measured["state"],
            "workers": int(measured["workers"]),
            "replicas": int(measured["replicas"]),
            "routing": measured["routing"],
        }
    if known is None:
        return {}
    facts = known.deployment
    return {
        "state": facts.state,
        "workers": facts.workers or 1,
        "replicas": facts.replicas or 1,
        "routing": facts.routing,
    }
