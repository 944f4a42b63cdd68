"""Packing: a run folder made small enough for git.

Packed are the CSVs, the environment, and of every cell what it was, its verdict, its prediction and its
history (``history.jsonl.gz``); routing probes and server logs are left out. ``kernel-lab check`` judges a
packed run as it does the recorded one. Where that is still too much, only some cells keep their
histories: the others keep verdicts, with the counter-example and the first few anomalies in them, and are not
judged again.
"""

from __future__ import annotations

import gzip
from collections import defaultdict
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import Any

import msgspec

from kernel_lab.convergence.table import without_lifetimes
from kernel_lab.judge.verdict import Validity
from kernel_lab.load.costs import frontier
from kernel_lab.load.costs.table import References
from kernel_lab.run.folder import CellFolder, NotARun, RunFolder, read_whole, write_whole
from kernel_lab.run.results import write_rows
from kernel_lab.run.saved import NotASavedRun, SavedRun, read_run, read_table

MOST_HISTORY_BYTES = 1 << 30
"""The size of the largest history that is packed."""
FIRST = 3
"""The number of anomalies that are kept of a cell without its history: the page names as many. Their total is
among the measures."""


class CannotPack(ValueError):  # noqa: N818 - it names a thing
    """A run that cannot be packed. The message says why, and what would be right."""


def pack(
    run: Path,
    out: Path,
    *,
    beside: Sequence[Path] = (),
    histories_of: Collection[str] | None = None,
) -> int:
    """Pack `run` into the new folder `out`; the size in bytes.

    Args:
        run: A run folder.
        out: Must not exist yet: a reference is replaced as a whole.
        beside: Folders of other measurements on the same machine, such as a load run's: their CSVs come
            along, their environment as ``environment-<folder>.json``. A frontier is weighed anew, by the
            run's verdicts too.
        histories_of: Names of the cells whose histories are kept; None keeps all.

    Raises:
        CannotPack: There is no run, the new folder exists, or two folders have a CSV of the same name.
    """
    try:
        saved = read_run(run)
    except NotASavedRun as error:
        raise CannotPack(str(error)) from None
    if out.exists() or out.is_symlink():
        raise CannotPack(f"{out}: is there already; remove it first, or name a new folder")
    out.mkdir(parents=True)
    packed = RunFolder(out)
    try:
        packed.write_environment(_without_paths(saved.environment))
        for table in RunFolder(run).tables():
            write_whole(packed.table(table.stem), read_whole(table))
        for folder in beside:
            _pack_beside(RunFolder(folder), packed)
        _weigh(saved, packed)
        _today(packed)
        for cell in saved.cells:
            if cell.folder:
                place = cell.scenario, cell.deployment, cell.connections, cell.fault
                whole = histories_of is None or cell.name in histories_of
                _pack_cell(RunFolder(run).cell(*place), packed.cell(*place), whole=whole)
    except NotARun as error:
        raise CannotPack(str(error)) from None
    return size(out)


def size(folder: Path) -> int:
    """Bytes of all files."""
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())


def _pack_cell(cell: CellFolder, out: CellFolder, *, whole: bool) -> None:
    out.create()
    if cell.verdict.exists():
        told = [
            verdict if whole else msgspec.structs.replace(verdict, anomalies=verdict.anomalies[:FIRST])
            for verdict in cell.read_verdict()
        ]
        out.write_verdict(told)
        on_one_line(out)
    if not whole:
        return
    cell.read_cell()
    write_whole(out.facts, read_whole(cell.facts))
    if cell.prediction.exists():
        write_whole(out.prediction, read_whole(cell.prediction))
    history = cell.history
    lines = read_whole(history, most=MOST_HISTORY_BYTES)
    if history == cell.packed:
        lines = gzip.decompress(lines)
    # no time in the header: packed twice, a history is the same bytes
    write_whole(out.packed, gzip.compress(lines, 9, mtime=0))


def on_one_line(cell: CellFolder) -> None:
    """Write ``verdict.json`` again without white space: over all cells of a run this saves a third of its bytes."""
    write_whole(cell.verdict, msgspec.json.format(read_whole(cell.verdict), indent=-1) + b"\n")


def _pack_beside(folder: RunFolder, out: RunFolder) -> None:
    if not folder.tables():
        raise CannotPack(f"{folder.path}: holds no CSV to put beside the run's")
    for table in folder.tables():
        if out.table(table.stem).exists():
            raise CannotPack(f"{table}: the run has a {table.name} too")
        write_whole(out.table(table.stem), read_whole(table))
    if folder.environment.exists():
        out.write_environment_beside(folder.path.name, _without_paths(folder.read_environment()))


def _weigh(saved: SavedRun, out: RunFolder) -> None:
    """The frontier, by the verdicts of the run as well as by those of the load beside it."""
    if not out.table("frontier").exists():
        return
    broken: dict[str, set[str]] = defaultdict(set)
    for cell in saved.cells:
        if cell.validity is Validity.INVALID and not cell.fault:
            broken[cell.deployment].add(cell.scenario)
    names = References()
    tested = [name for name, scenario in saved.declared.items() if scenario.under_load]
    rows = frontier.beside(
        read_table(out.table("cost")), broken, tested=tested, memory=names.memory, control=names.control
    )
    write_rows(out.table("frontier"), frontier.COLUMNS, rows)


def _today(out: RunFolder) -> None:
    """Return old measurements by today's definition, where the definition has changed."""
    path = out.table("convergence")
    rows = read_table(path) if path.exists() else []
    if rows:
        write_rows(path, tuple(rows[0]), without_lifetimes(rows))


def _without_paths(environment: Mapping[str, Any]) -> dict[str, Any]:
    """The command line without the option for its output folder."""
    told = list(environment.get("arguments") or ())
    kept = [
        word
        for before, word in zip(["", *told], told, strict=False)
        if "--out" not in (before, word) and not word.startswith("--out=")
    ]
    return {**environment, "arguments": kept}
