"""Compare each guarantee with the cells of a run: whether it holds, by which figure, and what breaks it."""

from __future__ import annotations

import csv
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from kernel_lab.bad_input import BadInput
from kernel_lab.gate.guarantees import Guarantee
from kernel_lab.judge.verdict import Validity, merge
from kernel_lab.run import registry
from kernel_lab.run.declaration import Proportion
from kernel_lab.run.folder import NotARun
from kernel_lab.run.measures import Share, percent
from kernel_lab.run.saved import NotASavedRun, SavedCell, SavedRun, read_run


@dataclass(frozen=True, slots=True, kw_only=True)
class CellHeld:
    """The result of one cell for a guarantee."""

    validity: Validity
    said: str
    cell: SavedCell


@dataclass(frozen=True, slots=True, kw_only=True)
class Held:
    """The result of a run for a guarantee: the worst of its cells."""

    guarantee: Guarantee
    deployment: str
    validity: Validity
    said: str
    """The figure, or why there is none, in one line."""
    anomaly: str = ""
    """The first anomaly, in one sentence; empty where nothing broke."""
    story: tuple[str, ...] = ()
    """The smallest counter-example, one line an operation."""
    cells: tuple[CellHeld, ...] = ()
    folder: str = ""
    """The folder of the cell that decided."""
    replay: str = ""
    """A script that shows the counter-example on a live deployment."""


def open_run(path: Path) -> SavedRun:
    """Read a run folder.

    Raises:
        BadInput: The folder holds no run, or one of its files cannot be used.
    """
    try:
        run = read_run(path)
    except (NotASavedRun, NotARun) as error:
        raise BadInput(str(error)) from None
    except (OSError, csv.Error, KeyError, UnicodeDecodeError, ValueError) as error:
        raise BadInput(f"{path}: its CSVs cannot be read ({' '.join(str(error).split())})") from None
    if empty := [name for name in run.scenarios if not run.tables.get(name)]:
        raise BadInput(f"{path}: {empty[0]}.csv has no row, and verdicts.csv has cells of it")
    return run


def refuse_quick(run: SavedRun, *, quick: bool) -> None:
    """Refuse a run of short cells, unless the caller accepts short cells.

    Raises:
        BadInput: The run was made with --quick, and the caller does not accept short cells.
    """
    if run.environment.get("quick") and not quick:
        raise BadInput(
            f"{run.path}: was made with --quick, and short cells show less; measure again, or say --quick"
        )


def hold(declared: Sequence[Guarantee], run: SavedRun, name_of: Callable[[Guarantee], str]) -> list[Held]:
    """Compare every guarantee with a run.

    Raises:
        BadInput: One names a deployment that neither the run nor the lab has.
    """
    known = {*registry.deployments(), *registry.hosts(), *run.deployments}
    names = [name_of(one) for one in declared]
    for one, name in zip(declared, names, strict=True):
        if name not in known and not one.app:
            there = ", ".join(dict.fromkeys([*run.deployments, *registry.deployments()]))
            raise BadInput(f"guarantee {one.title!r}: deployment {name} is not known; one of: {there}")
    return [hold_one(one, name, run) for one, name in zip(declared, names, strict=True)]


def hold_one(one: Guarantee, deployment: str, run: SavedRun) -> Held:
    """Return the result of a run for a guarantee whose deployment has this name."""
    cells = [
        cell
        for cell in run.of(one.claim, deployment, fault=one.fault)
        if one.connections in (None, cell.connections)
    ]
    if not cells:
        return Held(
            guarantee=one,
            deployment=deployment,
            validity=Validity.UNKNOWN,
            said=f"not measured in {run.path}",
        )
    held = [judge_cell(one, cell) for cell in cells]
    worst = merge(cell.validity for cell in held)
    telling = _telling(one, [cell for cell in held if cell.validity is worst])
    others = [cell.cell.connections for cell in held if cell is not telling and cell.validity is worst]
    also = f" (and over {' and '.join(others)})" if worst is Validity.VALID and others else ""
    broken = telling.cell.verdict if worst is Validity.INVALID else None
    folder = str(run.path / telling.cell.folder) if telling.cell.folder else ""
    return Held(
        guarantee=one,
        deployment=deployment,
        validity=worst,
        said=f"{telling.said}{also}",
        anomaly=broken.anomalies[0].message if broken and broken.anomalies else "",
        story=broken.story if broken else (),
        cells=tuple(held),
        folder=folder,
        replay=f"{folder}/replay.py" if broken and "replay.py" in telling.cell.files else "",
    )


def _telling(one: Guarantee, cells: Sequence[CellHeld]) -> CellHeld:
    """The cell to quote: the one that is nearest to its bound, or the first."""
    if one.max is None and one.min is None:
        return cells[0]
    sign = 1 if one.max is not None else -1

    def figure(held: CellHeld) -> float:
        value = held.cell.measures.get(one.measure or "")
        return sign * value if isinstance(value, int | float) else float("-inf")

    return max(cells, key=figure)


def judge_cell(one: Guarantee, cell: SavedCell) -> CellHeld:
    """Return the result of one cell for a guarantee."""
    over = f"over {cell.connections}"
    if (
        cell.verdict is not None
        and cell.verdict.validity is not cell.validity
        and cell.validity is Validity.VALID
    ):
        said = f"verdicts.csv says valid {over}, and verdict.json says {cell.verdict.validity}"
        return CellHeld(validity=merge([cell.verdict.validity, Validity.UNKNOWN]), said=said, cell=cell)
    if cell.validity in (Validity.UNKNOWN, Validity.SKIPPED):
        return CellHeld(validity=Validity.UNKNOWN, said=f"{cell.validity} {over}: {cell.reason}", cell=cell)
    parts: list[tuple[Validity, str]] = []
    if one.needs_valid:
        finding = cell.declared.finding(cell.observed) if cell.declared and cell.observed else ""
        parts.append((cell.validity, f"{cell.validity} {over}" + (f": {finding}" if finding else "")))
    if one.max is not None or one.min is not None:
        parts.append(_bounded(one, cell, over))
    if one.upper_bound is not None:
        parts.append(_confident(one, one.upper_bound, cell, over))
    worst = merge(validity for validity, _ in parts)
    said = "; ".join(said for validity, said in parts if validity is worst)
    return CellHeld(validity=worst, said=said, cell=cell)


def _bounded(one: Guarantee, cell: SavedCell, over: str) -> tuple[Validity, str]:
    value = cell.measures.get(one.measure or "")
    if not isinstance(value, int | float):
        return Validity.UNKNOWN, f"{one.measure} was not observed {over}"
    bounds, held = [], True
    if one.max is not None:
        bounds.append(f"≤ {one.max:g}")
        held &= value <= one.max
    if one.min is not None:
        bounds.append(f"≥ {one.min:g}")
        held &= value >= one.min
    said = f"{one.measure} is {value:g} {over}, declared {' and '.join(bounds)}"
    return (Validity.VALID if held else Validity.INVALID), said


def _confident(one: Guarantee, bound: float, cell: SavedCell, over: str) -> tuple[Validity, str]:
    """The guarantee holds if the 95 % upper bound is low enough.

    It is broken if the lower bound is too high. Otherwise it is unknown.
    """
    share = _share(one, cell)
    if share is None:
        return Validity.UNKNOWN, f"nothing was counted {over}, so no bound of {percent(bound)} can be shown"
    low, high = share.interval
    said = f"{share} {over}, declared at most {percent(bound)}"
    if high <= bound:
        return Validity.VALID, said
    if low > bound:
        return Validity.INVALID, said
    if not share.hits:
        needed = next(n for n in range(share.of, 10_000_000) if Share(0, n).interval[1] <= bound)
        said += f": it takes {needed} without a failure"
    return Validity.UNKNOWN, said


def _share(one: Guarantee, cell: SavedCell) -> Share | None:
    if cell.declared is None or cell.observed is None:
        return None
    if one.measure is None:
        headline = cell.declared.headline
        return headline.share(cell.observed) if isinstance(headline, Proportion) else None
    quantity = one.quantity(cell.declared)
    return cell.observed.share(quantity) if quantity else None


@dataclass(frozen=True, slots=True, kw_only=True)
class About:
    """The run that was judged."""

    run: str
    commit: str | None
    changed_files: int | None
    kernel: str
    measured: str | None
    """The time when it ended, or began where it did not end."""
    quick: bool
    finished: bool
    noisy: str = ""

    def line(self, now: datetime) -> str:
        """One line for a person."""
        commit = "no commit known"
        if self.commit:
            commit = f"commit {self.commit[:10]}"
            if self.changed_files:
                commit += f" with {self.changed_files} changed files"
        parts = [self.run, commit, self.kernel, _age(self.measured, now)]
        parts += ["short cells (--quick)"] if self.quick else []
        parts += [] if self.finished else ["it was interrupted"]
        return ", ".join(parts)


def about(run: SavedRun) -> About:
    """Return the facts about a run."""
    env = run.environment
    return About(
        run=str(run.path),
        commit=_text(env.get("commit")),
        changed_files=env["changed_files"] if isinstance(env.get("changed_files"), int) else None,
        kernel=_kernel(env),
        measured=_text(env.get("finished")) or _text(env.get("started")),
        quick=bool(env.get("quick")),
        finished=bool(env.get("finished")),
        noisy=_text(env.get("noisy")) or "",
    )


def _kernel(env: dict[str, Any]) -> str:
    version = (env.get("packages") or {}).get("weaver-kernel")
    if env.get("kernel") not in (None, "", "lab"):
        return f"kernel {env['kernel']}"
    named: Iterable[dict[str, Any]] = env.get("apps") or ([env["app"]] if env.get("app") else [])
    apps = ", ".join(str(one.get("name")) for one in named)
    if apps and not env.get("settings"):
        return f"app {apps}"
    return f"weaver-kernel {version or 'of an unknown version'}" + (f", app {apps}" if apps else "")


def _age(measured: str | None, now: datetime) -> str:
    try:
        then = datetime.fromisoformat(measured or "")
        seconds = (now - (then if then.tzinfo else then.replace(tzinfo=UTC))).total_seconds()
    except ValueError:
        return "at an unknown time"
    for size, unit in ((86_400, "day"), (3_600, "hour"), (60, "minute")):
        if seconds >= size:
            count = int(seconds // size)
            return f"measured {count} {unit}{'' if count == 1 else 's'} ago"
    return "measured just now"


def _text(value: object) -> str | None:
    return value if isinstance(value, str) and value else None
