"""kernel-lab run --app: a service that is not the lab's, up to its verdicts."""

from __future__ import annotations

import asyncio
import shutil
import sys
from collections.abc import Sequence
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Any

import typer
from rich.console import Console

from kernel_lab.apps import run as apps
from kernel_lab.apps.adapter import NEEDS
from kernel_lab.apps.faults import FAULTS
from kernel_lab.apps.mapping import Service, read
from kernel_lab.bad_input import BadInput, pick
from kernel_lab.cli.exits import EXIT
from kernel_lab.cli.screen import short
from kernel_lab.cli.signals import INTERRUPTED, until_terminated
from kernel_lab.cli.terminal import visible
from kernel_lab.judge.verdict import MARK, Validity, merge
from kernel_lab.publish import reporting
from kernel_lab.redaction import without_headers
from kernel_lab.run import environment, registry
from kernel_lab.run.folder import NotARun
from kernel_lab.run.plan import new_run
from kernel_lab.run.results import CellResult, write_csvs
from kernel_lab.traffic.connections import Policy


def run(
    path: Path,
    *,
    scenarios: Sequence[str],
    connections: Sequence[str],
    faults: Sequence[str],
    quick: bool,
    seed: int,
    out: Path | None,
) -> None:
    """Measure the service of an ``app.toml`` and exit with its verdict, or with what its ``[expect]`` says.

    Raises:
        BadInput: The file, a name or the folder cannot be used.
    """
    console = Console(stderr=True, highlight=False)
    say = partial(console.print, markup=False, soft_wrap=True)
    service = read(path)
    claims = [pick("--scenario", one, {claim: claim for claim in NEEDS}) for one in scenarios]
    plan = _plan(
        service,
        claims or service.claims(),
        [pick("--connections", one, {p.value: p for p in Policy}) for one in connections or Policy],
        [pick("--fault", one, {fault: fault for fault in FAULTS}) for one in faults],
        quick=quick,
        seed=seed,
        out=out,
    )
    if left_out := [why for claim in claims or NEEDS if (why := service.left_out(claim))]:
        say("; ".join(left_out))
    _check(plan)
    try:
        plan.folder.create()
    except NotARun as error:
        raise BadInput(f"--out {error}") from None
    about: dict[str, Any] = environment.describe(registry.checkout())
    about |= {
        "arguments": without_headers(sys.argv[1:]),
        "quick": quick,
        "seed": seed,
        "app": _about(service),
    }
    plan.folder.write_environment(about)
    say(f"{plan.cells()} cells of {service.file.name} into {short(plan.folder.path)}")
    rows: list[CellResult] = []

    def done(row: CellResult) -> None:
        rows.append(row)
        said = row.first_anomaly if row.validity is Validity.INVALID else row.reason
        number = f"[{len(rows)}/{plan.cells()}]"
        line = f"{number} {MARK[row.validity]} {row.validity:8} {row.label}"
        say(visible(line + (f"  ({said})" if said else "")))

    told: set[str] = set()

    def once(note: str) -> None:
        if note not in told:
            told.add(note)
            say(note)

    try:
        results = asyncio.run(until_terminated(apps.run(plan, say=once, done=done)))
    except BadInput:
        if not rows:  # nothing was measured: the folder's name may be used again
            shutil.rmtree(plan.folder.path)
        raise
    except (KeyboardInterrupt, asyncio.CancelledError):
        _finish(plan, rows, about)
        say(f"interrupted; judge what was recorded with: kernel-lab check {short(plan.folder.path)}")
        raise typer.Exit(INTERRUPTED) from None
    _finish(plan, results, about)
    if out is None:
        plan.folder.point_latest()
    page = reporting.report(plan.folder.path)
    raise typer.Exit(_conclude(service, results, short(plan.folder.path), short(page)))


def _plan(
    service: Service, claims: Sequence[str], policies: Sequence[Policy], faults: Sequence[str],
    *, quick: bool, seed: int, out: Path | None,
) -> apps.AppPlan:  # fmt: skip
    name, folder = new_run(out)
    return apps.AppPlan(
        service=service, name=name, folder=folder,
        claims=[claim for claim in NEEDS if claim in claims and not service.left_out(claim)],
        policies=policies, faults=faults, seed=seed, quick=quick,
    )  # fmt: skip


def _check(plan: apps.AppPlan) -> None:
    if not plan.claims:
        raise BadInput(
            f"{plan.service.file.name}: no claim can be tested; docs/any-app.md says which operations each claim needs"
        )
    if plan.faults and plan.service.file.start is None:
        raise BadInput("--fault needs [start]: what runs already is not ours to disturb")
    if "store_gone" in plan.faults and not (plan.service.file.start and plan.service.file.start.store):
        raise BadInput('--fault store_gone needs store = "redis" in [start]')


def _about(service: Service) -> dict[str, Any]:
    """Return the facts about the service for ``environment.json``, without headers and without the environment."""
    file = service.file
    return {
        "name": file.name,
        "command": file.start.command if file.start else "",
        "url": file.attach.url if file.attach else "",
        **{name: getattr(file.about, name) for name in file.about.__struct_fields__},
    }


def _finish(plan: apps.AppPlan, results: Sequence[CellResult], about: dict[str, Any]) -> None:
    write_csvs(plan.folder, results, [registry.scenarios()[claim] for claim in plan.claims])
    about["finished"] = datetime.now(tz=UTC).isoformat(timespec="seconds")
    plan.folder.write_environment(about)


def _conclude(service: Service, results: Sequence[CellResult], folder: str, page: str) -> int:
    """Print one line for each claim and deployment, and what to do next. Return the exit code."""
    console = Console(highlight=False, soft_wrap=True)

    def say(line: str) -> None:
        console.print(visible(line), markup=False)

    surprises = 0
    most = max(row.workers for row in results)
    for claim in dict.fromkeys(row.scenario for row in results):
        for name in dict.fromkeys(row.deployment for row in results):
            cells = [row for row in results if row.scenario == claim and row.deployment == name]
            judged = [row for row in cells if row.validity is not Validity.SKIPPED] or cells
            worst = merge(row.validity for row in judged)
            cell = next(row for row in judged if row.validity is worst)
            wanted = service.file.expect.get(claim) if cell.workers == most else None
            surprise = wanted is not None and worst is not wanted
            surprises += surprise
            said = cell.first_anomaly if worst is Validity.INVALID else cell.reason
            over = f" over {cell.connections}{' with ' + cell.fault if cell.fault else ''}" if said else ""
            say(
                f"{MARK[worst]} {worst:8} {claim} on {name}"
                + (f" (expected {wanted})" if surprise else "")
                + (f":{over} {said}" if said else "")
            )
    say(f"Every counter-example: kernel-lab check {folder}")
    say(f"The page: {page}")
    if service.file.expect:
        return 1 if surprises else 0
    return EXIT[merge(row.validity for row in results)]
