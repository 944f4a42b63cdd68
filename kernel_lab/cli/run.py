"""kernel-lab run: the plan from the command line, the stacks, the progress bar, the table at the end."""

from __future__ import annotations

import asyncio
import dataclasses
import signal
import sys
from collections.abc import Coroutine, Sequence
from contextlib import AbstractAsyncContextManager
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Self, TypeVar

import msgspec
from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    SpinnerColumn,
    TextColumn,
    TimeRemainingColumn,
)
from rich.table import Table

from kernel_lab.bad_input import BadInput
from kernel_lab.cli.attached import look
from kernel_lab.cli.judging import MARK
from kernel_lab.deployments import AppSpec, NativeStack
from kernel_lab.deployments.deployment import Deployment
from kernel_lab.judge.verdict import Validity
from kernel_lab.publish import reporting
from kernel_lab.run import environment, registry
from kernel_lab.run.matrix import LiveStack, Plan, run
from kernel_lab.run.results import CellResult
from kernel_lab.run.scenario import Scenario
from kernel_lab.traffic.connections import Policy

STYLE = {
    Validity.VALID: "green",
    Validity.INVALID: "red",
    Validity.UNKNOWN: "yellow",
    Validity.SKIPPED: "dim",
}


def main(
    *,
    deployments: Sequence[str],
    scenarios: Sequence[str],
    connections: Sequence[str],
    faults: Sequence[str],
    quick: bool,
    seed: int,
    out: Path | None,
    kernel: str | None,
    attach: str,
) -> int:
    """Run what was asked for; the exit code of ``kernel-lab run``."""
    if faults:
        raise BadInput(f"no fault {faults[0]!r}: this version has none yet")
    console = Console(stderr=True, highlight=False)
    tell = partial(console.print, markup=False, soft_wrap=True)
    attached = look(attach, deployments, quick=quick, tell=tell)
    if attached is not None and kernel is not None:
        raise BadInput("--kernel goes with deployments that are started here: what runs has its kernel")
    plan = _plan(deployments, scenarios, connections, quick=quick, seed=seed, out=out, kernel=kernel)
    if attached is not None:
        # what runs is one machine, and shared: one deployment after the other
        plan = dataclasses.replace(plan, deployments=attached.deployments, stacks_at_once=1)
    plan.folder.mkdir(parents=True)
    about = environment.describe(registry.root())
    about |= {"arguments": sys.argv[1:], "quick": quick, "seed": seed}
    about |= {"settings": plan.env} if attached is None else attached.about
    _write_environment(plan.folder, about)
    console.print(f"{plan.cells()} cells into {_short(plan.folder)}")
    with _Screen(console) as screen:
        try:
            opener = _open_native if attached is None else attached.open
            results = asyncio.run(_until_terminated(run(plan, opener, screen)))
        except (KeyboardInterrupt, asyncio.CancelledError):
            screen.stop()
            console.print(
                f"interrupted; judge what was recorded with: kernel-lab check {_short(plan.folder)}"
            )
            return 130
    about["finished"] = datetime.now(tz=UTC).isoformat(timespec="seconds")
    _write_environment(plan.folder, about)
    if out is None:
        _point_latest(plan.folder)
    _table(results, plan.folder, reporting.report(plan.folder))
    if any(cell.validity is Validity.UNKNOWN for cell in results):
        return 2
    return 0 if all(cell.as_expected for cell in results) else 1


async def _until_terminated(work: Coroutine[None, None, list[CellResult]]) -> list[CellResult]:
    """A SIGTERM ends the run as Ctrl-C does: stacks down, what was recorded kept."""
    task = asyncio.ensure_future(work)
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, task.cancel)
    return await task


def _plan(
    deployments: Sequence[str],
    scenarios: Sequence[str],
    connections: Sequence[str],
    *,
    quick: bool,
    seed: int,
    out: Path | None,
    kernel: str | None,
) -> Plan:
    known = registry.deployments()
    if not deployments:
        deployments = [name for name in registry.QUICK_DEPLOYMENTS if name in known] if quick else list(known)
    name = datetime.now(tz=UTC).strftime("%Y%m%dT%H%M%SZ")
    folder = out or registry.results() / name
    if folder.exists() and any(folder.iterdir()):
        raise BadInput(
            f"--out {folder}: already holds a run, and runs are never overwritten; name a new folder"
        )
    if folder.exists():
        folder.rmdir()
    env = registry.settings(quick=quick)
    if kernel is not None:
        if ":" not in kernel:
            raise BadInput(f"--kernel {kernel}: should be module:factory, such as my_service.kernel:build")
        env["LAB_KERNEL"] = kernel
    asked = {_pick("--scenario", one, registry.scenarios()).name for one in scenarios or registry.scenarios()}
    return Plan(
        name=folder.name if out else name,
        folder=folder.absolute(),
        deployments=[_pick("--deployment", one, known) for one in deployments],
        # in the registry's order, whatever the command line's: the last one kills a worker
        scenarios=[one for name, one in registry.scenarios().items() if name in asked],
        policies=[_pick("--connections", one, {p.value: p for p in Policy}) for one in connections or Policy],
        seed=seed,
        quick=quick,
        env=env,
    )


T = TypeVar("T")


def _pick(option: str, name: str, known: dict[str, T]) -> T:
    try:
        return known[name]
    except KeyError:
        raise BadInput(f"{option} {name}: not known; one of: {', '.join(known)}") from None


def _open_native(
    deployment: Deployment, env: dict[str, str], logs: Path
) -> AbstractAsyncContextManager[LiveStack]:
    return NativeStack(deployment, app=AppSpec(root=registry.root()), folder=logs, env=env)


class _Screen:
    """The progress bar on a terminal; one line a cell elsewhere."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._bar = Progress(
            SpinnerColumn(),
            TextColumn("{task.description}"),
            BarColumn(),
            MofNCompleteColumn(),
            TimeRemainingColumn(),
            console=console,
            transient=True,
            disable=not console.is_terminal,
        )
        self._task = self._bar.add_task("starting")
        self._count = 0
        self._cells = 0

    def __enter__(self) -> Self:
        self._bar.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._bar.stop()

    def stop(self) -> None:
        self._bar.stop()

    def planned(self, cells: int) -> None:
        self._cells = cells
        self._bar.update(self._task, total=cells)

    def doing(self, what: str) -> None:
        self._bar.update(self._task, description=what)

    def done(self, cell: CellResult) -> None:
        self._count += 1
        self._bar.advance(self._task)
        surprise = "" if cell.as_expected else f"  expected {cell.expected}"
        if not self._console.is_terminal or surprise or cell.validity is Validity.UNKNOWN:
            number = f"[{self._count}/{self._cells}]"
            self._console.print(
                f"{number} {MARK[cell.validity]} {cell.validity:8} {cell.label}{surprise}"
                + (f"  ({cell.reason})" if cell.reason else ""),
                style=STYLE[cell.validity] if surprise else None,
                markup=False,
            )


def _table(results: Sequence[CellResult], folder: Path, page: Path) -> None:
    console = Console(highlight=False)
    for name in dict.fromkeys(cell.scenario for cell in results):
        scenario = registry.scenarios()[name]
        table = Table(title=f"{name}: {scenario.claim}", title_justify="left", box=None, pad_edge=False)
        table.add_column("deployment")
        table.add_column("connections")
        table.add_column("")
        table.add_column("what was seen", overflow="fold")
        for cell in sorted((c for c in results if c.scenario == name), key=_place):
            word = f"{MARK[cell.validity]} {cell.validity}" + ("" if cell.as_expected else " (!)")
            table.add_row(
                cell.deployment,
                cell.connections.replace("_", " "),
                f"[{STYLE[cell.validity]}]{word}[/]",
                _tell(scenario, cell),
            )
        console.print(table)
        console.print()
    unexpected = [cell for cell in results if not cell.as_expected]
    for cell in unexpected:
        why = cell.first_anomaly or cell.reason
        console.print(f"(!) {cell.label}: {cell.validity}, expected {cell.expected}. {why}", markup=False)
    good = len(results) - len(unexpected)
    console.print(f"{len(results)} cells, {good} as expected. Everything is in {_short(folder)}")
    console.print(f"Look at it: {_short(page)}")


def _place(cell: CellResult) -> tuple[int, int]:
    names = [*registry.deployments(), cell.deployment]
    return names.index(cell.deployment), list(Policy).index(Policy(cell.connections))


def _tell(scenario: Scenario, cell: CellResult) -> str:
    if cell.validity in (Validity.SKIPPED, Validity.UNKNOWN):
        return cell.reason
    try:
        return scenario.tell(cell.measures)
    except (KeyError, TypeError):  # a measure that was not observed
        return cell.first_anomaly


def _write_environment(folder: Path, about: dict[str, object]) -> None:
    text = msgspec.json.format(msgspec.json.encode(about), indent=2)
    (folder / "environment.json").write_bytes(text + b"\n")


def _point_latest(folder: Path) -> None:
    latest = folder.parent / "latest"
    latest.unlink(missing_ok=True)
    latest.symlink_to(folder.name)


def _short(path: Path) -> str:
    try:
        return str(path.relative_to(Path.cwd()))
    except ValueError:
        return str(path)


def up(name: str) -> int:
    """Run one deployment in the foreground."""
    from kernel_lab.deployments import AppSpec  # noqa: PLC0415
    from kernel_lab.deployments.up import up_forever  # noqa: PLC0415

    deployment = _pick("kernel-lab up", name, registry.deployments())
    return up_forever(deployment, app=AppSpec(root=registry.root()))


def doctor() -> int:
    """Print what this machine has and lacks."""
    from kernel_lab.doctor.machine import diagnose  # noqa: PLC0415

    worst = 0
    for finding in diagnose():
        print(f"{'✓' if finding.ok else '✗'} {finding.what}: {finding.detail}")
        worst |= not finding.ok
    return int(worst)
