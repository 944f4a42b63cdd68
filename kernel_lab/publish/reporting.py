"""kernel-lab report and pack: a run as a page, and as a folder that fits into git."""

from __future__ import annotations

import traceback
from collections.abc import Sequence
from pathlib import Path

import msgspec
from jinja2 import UndefinedError

from kernel_lab.bad_input import BadInput
from kernel_lab.publish.agreement import agreement
from kernel_lab.publish.pack import CannotPack, size
from kernel_lab.publish.pack import pack as pack_run
from kernel_lab.publish.report import Subjects, write_report
from kernel_lab.publish.report.smallest import read_smallest
from kernel_lab.publish.report.tiles import plain
from kernel_lab.publish.report.trust import MutationTests
from kernel_lab.run import registry
from kernel_lab.run.saved import NotASavedRun, read_run

FRONT = (
    "single", "memory-4", "memory-8", "replicas", "sticky", "sqlite", "redis", "redis-cached", "sidecar",
)  # fmt: skip
"""The first matrix, where a run has more than fit: the reference, the problem, and the ways out."""
CONTROLS = ("redis-naive", "stash")
"""Wrong on purpose: what the checkers have to catch."""


def subjects() -> Subjects:
    """Return the projects that this lab measures."""
    return Subjects(
        scenarios=registry.scenarios(),
        deployments=registry.deployments(),
        front=FRONT,
        controls=CONTROLS,
        teeth=read_mutation_tests(registry.results() / "teeth.json"),
        seen=read_smallest(),
    )


def read_mutation_tests(path: Path) -> MutationTests | None:
    """The counts of ``results/teeth.json``; None where there is no such file.

    Raises:
        BadInput: The file cannot be read.
    """
    try:
        return msgspec.json.decode(path.read_bytes(), type=MutationTests)
    except FileNotFoundError:
        return None
    except msgspec.MsgspecError as error:
        raise BadInput(f"{path}: {error}; `make teeth` writes this file") from None


def report(path: Path) -> Path:
    """Write ``report.html`` into a run folder."""
    try:
        return write_report(path, subjects())
    except NotASavedRun as error:
        raise BadInput(str(error)) from None
    except (ArithmeticError, AttributeError, LookupError, TypeError, ValueError, UndefinedError) as error:
        raise BadInput(_damaged(path, error)) from error


def _damaged(path: Path, error: Exception) -> str:
    """Return one sentence on files that can be read one by one but do not belong together."""
    place = traceback.extract_tb(error.__traceback__)[-1]
    where = f"{Path(place.filename).name}:{place.lineno}"
    said = " ".join(str(error).split())[:120]
    return (
        f"{path}: its files do not fit together: no page can be made ({type(error).__name__} at {where}: {said}); "
        "kernel-lab rebuild writes the CSVs again from the cells"
    )


def pack(run: Path, out: Path, beside: Sequence[Path], *, front: bool) -> None:
    """Pack a run for git, with its page, and say how large it is."""
    try:
        pack_run(run, out, beside=beside, histories_of=_told(run) if front else None)
    except CannotPack as error:
        raise BadInput(str(error)) from None
    page = report(out)
    print(f"{out}: {size(out):,} bytes; look at it: {page}")


def _told(run: Path) -> frozenset[str]:
    """The cells whose histories readers ask for first.

    These are the page's first deployments, with calls sent to every worker in turn, and the cells whose prediction
    missed: without their histories nobody could say why.
    """
    try:
        saved = read_run(run)
    except NotASavedRun:
        return frozenset()  # packing says so
    first = {*FRONT, *(name for name, one in registry.deployments().items() if plain(one))}
    found = agreement(saved, CONTROLS)
    missed = {one.cell.name for one in found.misses if not one.inside} if found else set()
    in_turn = {c.name for c in saved.cells if c.deployment in first and c.connections == "round_robin"}
    return frozenset(in_turn | missed)
