"""Packing: a run folder made small enough for git.

Packed are the CSVs, the environment, and of every cell what it was, its verdict, its prediction and its
history (``history.jsonl.gz``); routing probes and server logs are left out. ``kernel-lab check`` judges a
packed run as it does the recorded one. Where that is still too much, only some deployments keep their
histories: the others keep verdicts, with the counter-example and the first few anomalies in them, and are not
judged again.
"""

from __future__ import annotations

import gzip
import shutil
from collections import defaultdict
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import Any

import msgspec

from kernel_lab.judge.verdict import Validity
from kernel_lab.load import frontier
from kernel_lab.load.table import References
from kernel_lab.run import judging as judge
from kernel_lab.run.results import write_rows
from kernel_lab.run.saved import NotASavedRun, SavedRun, read_run, read_table

ENVIRONMENT = "environment.json"
KEPT = (judge.CELL, "prediction.json")
FIRST = 5
"""Anomalies told of a cell without its history; how many there were is among its measures."""


class CannotPack(ValueError):  # noqa: N818 - it names a thing
    """What stands in the way, and what would be right."""


def pack(
    run: Path, out: Path, *, beside: Sequence[Path] = (), histories_of: Collection[str] | None = None
) -> int:
    """Pack `run` into the new folder `out`; the size in bytes.

    Args:
        run: A run folder.
        out: Must not exist yet: a reference is replaced as a whole.
        beside: Folders of other measurements on the same machine, such as a load run's: their CSVs come
            along, their environment as ``environment-<folder>.json``. A frontier is weighed anew, by the
            run's verdicts too.
        histories_of: Deployments whose histories are kept; None keeps all.

    Raises:
        CannotPack: There is no run, the new folder exists, or two folders have a CSV of the same name.
    """
    try:
        saved = read_run(run)
    except NotASavedRun as error:
        raise CannotPack(str(error)) from None
    if out.exists():
        raise CannotPack(f"{out}: is there already; remove it first, or name a new folder")
    out.mkdir(parents=True)
    _write_json(out / ENVIRONMENT, _without_paths(saved.environment))
    for table in sorted(run.glob("*.csv")):
        shutil.copy(table, out)
    for folder in beside:
        _pack_beside(folder, out)
    _weigh(saved, out)
    for cell in saved.cells:
        if cell.folder:
            whole = histories_of is None or cell.deployment in histories_of
            _pack_cell(run / cell.folder, out / cell.folder, whole=whole)
    return size(out)


def size(folder: Path) -> int:
    """Bytes of all files."""
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())


def _pack_cell(cell: Path, out: Path, *, whole: bool) -> None:
    out.mkdir(parents=True)
    if (cell / judge.VERDICT).exists():
        told = msgspec.json.decode((cell / judge.VERDICT).read_bytes(), type=dict[str, Any])
        for verdict in told["verdicts"] if not whole else ():
            verdict["anomalies"] = verdict["anomalies"][:FIRST]
        _write_json(out / judge.VERDICT, told, indent=0)
    if not whole:
        return
    for name in KEPT:
        if (cell / name).exists():
            shutil.copy(cell / name, out)
    history = judge.history_of(cell)
    lines = gzip.decompress(history.read_bytes()) if history.suffix == ".gz" else history.read_bytes()
    # no time in the header: packed twice, a history is the same bytes
    (out / f"{judge.HISTORY}.gz").write_bytes(gzip.compress(lines, 9, mtime=0))


def _pack_beside(folder: Path, out: Path) -> None:
    tables = sorted(folder.glob("*.csv"))
    if not tables:
        raise CannotPack(f"{folder}: holds no CSV to put beside the run's")
    for table in tables:
        if (out / table.name).exists():
            raise CannotPack(f"{table}: the run has a {table.name} too")
        shutil.copy(table, out)
    about = folder / ENVIRONMENT
    if about.exists():
        known = msgspec.json.decode(about.read_bytes(), type=dict[str, Any])
        _write_json(out / f"environment-{folder.name}.json", _without_paths(known))


def _weigh(saved: SavedRun, out: Path) -> None:
    """The frontier, by the verdicts of the run as well as by those of the load beside it."""
    if not (out / "frontier.csv").exists():
        return
    broken: dict[str, set[str]] = defaultdict(set)
    for cell in saved.cells:
        if cell.validity is Validity.INVALID and not cell.fault:
            broken[cell.deployment].add(cell.scenario)
    names = References()
    rows = frontier.beside(read_table(out / "cost.csv"), broken, memory=names.memory, control=names.control)
    write_rows(out / "frontier.csv", frontier.COLUMNS, rows)


def _without_paths(environment: Mapping[str, Any]) -> dict[str, Any]:
    """The command line without where its output went."""
    told = list(environment.get("arguments") or ())
    kept = [
        word
        for before, word in zip(["", *told], told, strict=False)
        if "--out" not in (before, word) and not word.startswith("--out=")
    ]
    return {**environment, "arguments": kept}


def _write_json(path: Path, value: Mapping[str, Any], *, indent: int = 2) -> None:
    path.write_bytes(msgspec.json.format(msgspec.json.encode(value), indent=indent) + b"\n")
