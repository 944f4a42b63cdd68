"""The cells that declared guarantees need, and no others: planned, run, and left as one run folder."""

from __future__ import annotations

import dataclasses
import shutil
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Protocol

import msgspec

from kernel_lab.apps import run as apps
from kernel_lab.apps.mapping import File, Service
from kernel_lab.bad_input import BadInput, pick
from kernel_lab.faults.fault import Fault
from kernel_lab.gate.guarantees import Declared, Guarantee, app_workers, read_app
from kernel_lab.run import environment, registry
from kernel_lab.run.folder import NotARun, RunFolder
from kernel_lab.run.native import open_native
from kernel_lab.run.noise import Watch
from kernel_lab.run.plan import Plan, chosen_deployments, plan_of
from kernel_lab.run.preflight import preflight
from kernel_lab.run.promises import Promises, read_promises
from kernel_lab.run.results import CellResult, write_csvs
from kernel_lab.run.schedule import run as run_plan
from kernel_lab.run.under_fault import FaultRun, plan_under_faults
from kernel_lab.traffic.connections import Policy


class Told(Protocol):
    """The receiver of messages about the progress."""

    def say(self, line: str) -> None:
        """Something that a reader of the verdicts must know."""

    def done(self, cell: CellResult) -> None:
        """A cell has its verdict."""


@dataclass(frozen=True, slots=True, kw_only=True)
class FaultPlan:
    """The claims that are tested around each fault."""

    plan: Plan
    faults: tuple[Fault, ...]
    only: frozenset[tuple[str, str, str]]
    """Claim, deployment and fault."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Work:
    """Everything that the guarantees need, in one run folder."""

    folder: RunFolder
    lab: Plan | None
    faulted: FaultPlan | None
    """The cells with a fault, of the lab's own deployments."""
    apps: tuple[apps.AppPlan, ...]
    quick: bool
    seed: int
    kernel: str | None

    @property
    def cells(self) -> int:
        """The number of cells that will be run."""
        faulted = len(self.faulted.only) if self.faulted else 0
        return (len(self.lab.cells) if self.lab else 0) + faulted + sum(plan.cells() for plan in self.apps)


def plan_work(
    declared: Declared, file: Path, *, quick: bool, seed: int, out: Path | None, kernel: str | None = None
) -> Work:
    """Return the cells that must be run for the guarantees of a file.

    Raises:
        BadInput: A name is not known, a file that it names cannot be used, or a fault cannot be injected.
    """
    name = datetime.now(tz=UTC).strftime("%Y%m%dT%H%M%SZ")
    folder = (out or registry.results() / "gate" / name).absolute()
    ours = [one for one in declared.guarantee if not one.app and not one.fault]
    disturbed = [one for one in declared.guarantee if not one.app and one.fault]
    kernel = kernel or declared.kernel
    lab = _lab(declared, ours, file, quick=quick, seed=seed, out=folder, kernel=kernel) if ours else None
    faulted: FaultPlan | None = None
    if disturbed:
        around = _lab(declared, disturbed, file, quick=quick, seed=seed, out=folder, kernel=kernel)
        faulted = _faulted(disturbed, around, file)
    theirs = [one for one in declared.guarantee if one.app]
    return Work(
        folder=RunFolder(folder), lab=lab, faulted=faulted, apps=_apps(theirs, file, folder, quick=quick, seed=seed),
        quick=quick, seed=seed, kernel=kernel,
    )  # fmt: skip


def _lab(
    declared: Declared, ours: Sequence[Guarantee], file: Path, *, quick: bool, seed: int, out: Path,
    kernel: str | None,
) -> Plan:  # fmt: skip
    known = chosen_deployments(file.parent / declared.deployments if declared.deployments else None)
    promises = read_promises(file.parent / declared.promises) if declared.promises else Promises()
    for one in ours:
        pick(f"{file}: {one.title}: deployment", one.deployment, known)
    only = frozenset((one.claim, one.deployment, policy.value) for one in ours for policy in _policies(one))
    plan = plan_of(
        list(dict.fromkeys(one.deployment for one in ours)), list(dict.fromkeys(one.claim for one in ours)),
        [policy.value for policy in Policy if any(policy.value == cell[2] for cell in only)],
        quick=quick, seed=seed, out=out, kernel=kernel, promises=promises, known=known,
    )  # fmt: skip
    return dataclasses.replace(plan, only=only)


def _faulted(disturbed: Sequence[Guarantee], plan: Plan, file: Path) -> FaultPlan:
    known = registry.faults()
    for one in disturbed:
        where = f"{file}: {one.title}"
        fault = pick(f"{where}: fault", one.fault, known)
        if one.connections not in (None, Policy.FRESH):
            raise BadInput(
                f"{where}: around a fault every call has a fresh connection; leave `connections` out"
            )
        if registry.scenarios()[one.claim].under_fault is None:
            raise BadInput(f"{where}: {one.claim} cannot be asked around a fault")
        deployment = next(each for each in plan.deployments if each.name == one.deployment)
        if why := fault.excluded(deployment):
            raise BadInput(f"{where}: {one.deployment} cannot have {one.fault}: {why}")
    return FaultPlan(
        plan=plan_under_faults(plan),
        faults=tuple(known[name] for name in dict.fromkeys(one.fault for one in disturbed)),
        only=frozenset((one.claim, one.deployment, one.fault) for one in disturbed),
    )


def _apps(
    theirs: Sequence[Guarantee], file: Path, folder: Path, *, quick: bool, seed: int
) -> tuple[apps.AppPlan, ...]:
    """One plan for each service, number of workers and fault: each is one stack."""
    stacks: dict[tuple[str, int | None, str], list[Guarantee]] = {}
    services: dict[str, Service] = {}
    for one in theirs:
        service = services[one.app] = read_app(one, file)
        stacks.setdefault((one.app, app_workers(one, service), one.fault), []).append(one)
    plans = []
    for (app, workers, fault), members in stacks.items():
        only = frozenset((one.claim, policy) for one in members for policy in _policies(one))
        claims = {claim for claim, _ in only}
        service = services[app]
        plans.append(
            apps.AppPlan(
                service=dataclasses.replace(service, file=_with(service.file, workers)), name=folder.name,
                folder=RunFolder(folder), claims=[one for one in service.claims() if one in claims],
                policies=[policy for policy in Policy if any(policy is cell[1] for cell in only)],
                faults=[fault] if fault else [], seed=seed, quick=quick, only=only,
            )
        )  # fmt: skip
    return tuple(plans)


def _with(file: File, workers: int | None) -> File:
    """The file with one number of workers, where it starts the service."""
    if file.start is None or workers is None:
        return file
    return msgspec.structs.replace(file, start=msgspec.structs.replace(file.start, workers=workers))


def _policies(one: Guarantee) -> list[Policy]:
    return [Policy(one.connections)] if one.connections else list(Policy)


async def run_work(work: Work, told: Told) -> list[CellResult]:
    """Run the cells and write the run folder; an interrupted run leaves the rows that it has.

    Raises:
        BadInput: The folder cannot be used, or nothing that was planned can be started.
    """
    try:
        work.folder.create()
    except NotARun as error:
        raise BadInput(f"--out {error}") from None
    rows: list[CellResult] = []
    try:
        return await _run(work, rows, told)
    except BadInput:
        if not rows:
            shutil.rmtree(work.folder.path)
        raise


async def _run(work: Work, rows: list[CellResult], told: Told) -> list[CellResult]:
    about: dict[str, Any] = environment.describe(registry.checkout())
    about |= {"arguments": sys.argv[1:], "quick": work.quick, "seed": work.seed, "kernel": work.kernel}
    own = work.lab or (work.faulted.plan if work.faulted else None)
    if own is not None:
        about["settings"] = own.env
        if work.kernel is not None:
            about["in_force"] = preflight(work.kernel, own.promises, own.env).in_force
    about["apps"] = [{"name": plan.service.file.name} for plan in work.apps]
    work.folder.write_environment(about)
    watch = Watch()
    claims = {plan_claim: None for plan in work.apps for plan_claim in plan.claims}
    try:
        if work.lab is not None:
            claims |= {scenario.name: None for scenario in work.lab.scenarios}
            await run_plan(work.lab, open_native, _Progress(rows, told))
        if (around := work.faulted) is not None:
            claims |= {scenario.name: None for scenario in around.plan.scenarios}
            await FaultRun(
                plan=around.plan, faults=around.faults, open_stack=open_native, progress=_Progress(rows, told),
                only=around.only,
            ).run()  # fmt: skip
        for plan in work.apps:
            await apps.run(plan, say=told.say, done=_both(rows, told))
    finally:
        scenarios = [one for name, one in registry.scenarios().items() if name in claims]
        write_csvs(work.folder, _in_order(work, rows), scenarios)
    about |= watch.facts()
    about["finished"] = datetime.now(tz=UTC).isoformat(timespec="seconds")
    work.folder.write_environment(about)
    return rows


def _in_order(work: Work, rows: Sequence[CellResult]) -> list[CellResult]:
    """Cells end in a random order; a CSV has their rows by claim, deployment and policy."""
    claims, policies = list(registry.scenarios()), list(Policy)
    names = list(dict.fromkeys(row.deployment for row in sorted(rows, key=lambda row: row.deployment)))
    plans = [plan for plan in (work.lab, work.faulted.plan if work.faulted else None) if plan is not None]
    if plans:
        planned = list(dict.fromkeys(one.name for plan in plans for one in plan.deployments))
        names = [*planned, *(name for name in names if name not in planned)]
    return sorted(
        rows,
        key=lambda row: (
            names.index(row.deployment), claims.index(row.scenario), policies.index(Policy(row.connections)),
            row.fault,
        ),
    )  # fmt: skip


def _both(rows: list[CellResult], told: Told) -> Callable[[CellResult], None]:
    def done(cell: CellResult) -> None:
        rows.append(cell)
        told.done(cell)

    return done


class _Progress:
    """The messages about the progress of a run, for the gate."""

    def __init__(self, rows: list[CellResult], told: Told) -> None:
        self.done = _both(rows, told)

    def planned(self, cells: int) -> None:
        pass

    def doing(self, what: str) -> None:
        pass
