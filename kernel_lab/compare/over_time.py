"""Many runs of a folder: the result of each run for each guarantee, the oldest run first."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from kernel_lab.bad_input import BadInput
from kernel_lab.gate.guarantees import Guarantee
from kernel_lab.gate.judging import about, hold_one, open_run
from kernel_lab.judge.verdict import Validity
from kernel_lab.run.folder import RunFolder
from kernel_lab.run.saved import SavedRun

MOST_RUNS = 1_000


@dataclass(frozen=True, slots=True)
class Point:
    """The result of one run. The validity is empty where the run did not measure it."""

    run: str
    validity: str
    said: str = ""


@dataclass(frozen=True, slots=True)
class Line:
    """One guarantee over time."""

    name: str
    points: tuple[Point, ...]


def runs_below(folder: Path) -> tuple[list[SavedRun], list[str]]:
    """The runs of a folder and of its subfolders, the oldest first; and what could not be read.

    Raises:
        BadInput: There is none.
    """
    found, wrong = [], []
    for path in _folders(folder):
        try:
            found.append(open_run(path))
        except BadInput as error:
            wrong.append(str(error))
    if not found:
        raise BadInput(
            f"{folder}: holds no run that can be read; `kernel-lab run` and `kernel-lab gate` make some"
        )
    return sorted(found, key=lambda run: (about(run).measured or "", str(run.path))), wrong


def _folders(folder: Path) -> Iterator[Path]:
    places = [folder, *sorted(folder.glob("*")), *sorted(folder.glob("*/*"))]
    real = [
        place for place in places if place.is_dir() and not place.is_symlink() and RunFolder(place).exists()
    ]
    return iter(real[:MOST_RUNS])


def over_time(
    runs: Sequence[SavedRun], declared: Sequence[Guarantee], name_of: Callable[[Guarantee], str]
) -> list[Line]:
    """One line for each declared guarantee. If none is declared, one line for each claim on each deployment."""
    guarantees = list(declared) or [
        Guarantee(claim=claim, deployment=deployment)
        for claim, deployment in dict.fromkeys(
            (cell.scenario, cell.deployment) for run in runs for cell in run.cells if not cell.fault
        )
    ]
    return [Line(one.title, tuple(_point(one, name_of(one), run) for run in runs)) for one in guarantees]


def _point(one: Guarantee, deployment: str, run: SavedRun) -> Point:
    held = hold_one(one, deployment, run)
    if not held.cells:
        return Point(run.name, "")
    validity = Validity.UNKNOWN if held.validity is Validity.SKIPPED else held.validity
    return Point(run.name, validity.value, held.said)
