"""The schedule of a run: stacks start, serve their cells at the same time, and stop. Every cell becomes a row.

The row of a cell that cannot be run says why. A cell that broke off is unknown, never valid. ``record.py`` records a
cell, and ``judging.py`` judges it.
"""

from __future__ import annotations

import asyncio
import dataclasses
import itertools
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import msgspec

from kernel_lab.deployments.attached import per_replica
from kernel_lab.deployments.deployment import Deployment
from kernel_lab.deployments.live import Live, StackUnavailable
from kernel_lab.run.folder import CellFolder
from kernel_lab.run.judging import judge_recorded
from kernel_lab.run.plan import Batch, Plan, PlannedCell
from kernel_lab.run.promises import Promises
from kernel_lab.run.record import cause, record, restate
from kernel_lab.run.results import CellResult, write_csvs
from kernel_lab.run.scenario import NotTold, Target
from kernel_lab.traffic.address import Address, open_http
from kernel_lab.traffic.connections import CALL_TIMEOUT_S, Connections, Policy, open_connections

OpenStack = Callable[[Deployment, dict[str, str], Path], AbstractAsyncContextManager[Live]]
"""A function that gets `(deployment, settings of the workers, folder for logs)` and opens a live deployment. It
raises `StackUnavailable`."""


class Progress(Protocol):
    """The receiver of messages about the progress of a run."""

    def planned(self, cells: int) -> None:
        """Say how many cells will be run."""

    def doing(self, what: str) -> None:
        """Say what is going on now."""

    def done(self, cell: CellResult) -> None:
        """Say that a cell has its verdict."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Recorded:
    """A cell that was recorded: its folder, and why it broke off."""

    cell: PlannedCell
    folder: CellFolder
    error: str


class Rows:
    """The rows of a run: one per cell, filled in as the cells end."""

    def __init__(self, plan: Plan, progress: Progress) -> None:
        self._plan = plan
        self._progress = progress
        self._rows: dict[int, CellResult] = {}
        self._recorded: list[Recorded] = []

    def recorded(self, one: Recorded) -> None:
        """Note that a cell was recorded, because it may have to be judged again."""
        self._recorded.append(one)

    async def correct(self, workers: int) -> None:
        """Judge those cells again that were judged before all workers were known."""
        for one in self._recorded:
            deployment = one.cell.deployment
            if deployment.processes < workers:
                more = per_replica(workers, deployment.replicas)
                cell = dataclasses.replace(
                    one.cell, deployment=msgspec.structs.replace(deployment, workers=more)
                )
                restate(one.folder, cell)
                row = await judge_or_say(self._plan, cell, one.folder, one.error)
                self._rows[id(one.cell)] = row

    def fill(self, cell: PlannedCell, row: CellResult) -> None:
        """Put the result of a cell that has ended into its row."""
        self._rows[id(cell)] = row
        self._progress.done(row)

    def missing(self, batch: Batch) -> list[PlannedCell]:
        """Return the cells of a batch that have no row yet."""
        return [cell for cell in batch.cells if id(cell) not in self._rows]

    def in_order(self) -> list[CellResult]:
        """Return the rows that exist, in the plan's order."""
        return [self._rows[id(cell)] for cell in self._plan.cells if id(cell) in self._rows]


async def run(
    plan: Plan,
    open_stack: OpenStack,
    progress: Progress,
    done: Mapping[tuple[str, str, str], CellResult] | None = None,
) -> list[CellResult]:
    """Run every cell of the plan, a few stacks at a time, and write the CSVs in the plan's order.

    An interrupted run writes the rows that it has.

    Args:
        plan: The cells.
        open_stack: The function that makes a deployment live.
        progress: The receiver of messages.
        done: Rows of the cells that an interrupted run has finished, by scenario, deployment and connection policy.
    """
    progress.planned(len(plan.cells))
    rows = Rows(plan, progress)
    for cell in plan.cells:
        if row := (done or {}).get((cell.scenario.name, cell.deployment.name, cell.policy.value)):
            rows.fill(cell, row)
    waiting = iter(plan.batches)

    async def serve_one_after_another() -> None:
        for batch in waiting:
            await serve(plan, batch, open_stack, rows, progress)

    try:
        async with asyncio.TaskGroup() as stacks:
            for _ in range(plan.stacks_at_once):
                stacks.create_task(serve_one_after_another())
        if plan.address is not None and plan.address.between is not None:
            await rows.correct(plan.address.between.workers())
    finally:
        write_csvs(plan.folder, rows.in_order(), plan.scenarios)
    return rows.in_order()


async def serve(plan: Plan, batch: Batch, open_stack: OpenStack, rows: Rows, progress: Progress) -> None:
    """Start one stack and run its cells. If the stack fails, its own cells are unknown, and the run goes on."""
    batch = dataclasses.replace(batch, cells=tuple(rows.missing(batch)))
    if not batch.cells:
        return
    if batch.left_out:
        for cell in batch.cells:
            rows.fill(cell, plan.skipped(cell, batch.left_out))
        return
    progress.doing(f"starting {batch.deployment.name}")
    logs = plan.folder.new_logs(batch.stack)
    try:
        async with open_stack(batch.deployment, batch.env, logs) as live:
            target = await look_at(live, plan.promises, plan.address)
            async with _open_all(batch.policies, target) as connections:
                await _side_by_side(plan, batch, target, connections, rows, progress, logs)
    except StackUnavailable as error:
        for cell in rows.missing(batch):
            rows.fill(cell, plan.skipped(cell, str(error)))
    except Exception as failure:  # noqa: BLE001 - whatever a stack dies of, the run goes on
        for cell in rows.missing(batch):
            rows.fill(cell, plan.unknown(cell, f"the stack failed: {cause(failure)}{_in(logs)}"))


def _in(logs: Path) -> str:
    """Return the place of a stack's logs, relative to the run folder."""
    return f" (in {logs.parent.name}/{logs.name})" if logs.is_dir() else ""


async def _side_by_side(
    plan: Plan,
    batch: Batch,
    target: Target,
    connections: dict[Policy, Connections],
    rows: Rows,
    progress: Progress,
    logs: Path,
) -> None:
    slots = asyncio.Semaphore(batch.side_by_side)

    async def one(cell: PlannedCell) -> None:
        async with slots:
            if why := untold(cell, target):
                rows.fill(cell, plan.skipped(cell, f"not judged: {why}"))
                return
            progress.doing(plan.unjudged(cell).label)
            folder = plan.folder.cell(cell.scenario.name, cell.deployment.name, cell.policy)
            error = await record(
                folder, cell, target, connections[cell.policy], seed=plan.seed, quick=plan.quick
            )
            folder.link_logs(logs)
        rows.recorded(Recorded(cell=cell, folder=folder, error=error))
        rows.fill(cell, await judge_or_say(plan, cell, folder, error))

    async with asyncio.TaskGroup() as cells:
        for cell in batch.cells:
            cells.create_task(one(cell))


async def judge_or_say(plan: Plan, cell: PlannedCell, folder: CellFolder, error: str) -> CellResult:
    """Return the row of a recorded cell. A cell that cannot be judged is unknown, and does not affect the others."""
    try:
        return await asyncio.to_thread(judge_recorded, folder, plan.unjudged(cell), cell, error)
    except Exception as failure:  # noqa: BLE001 - other people's checkers fail in their own way
        return plan.unknown(cell, f"not judged: {cause(failure)}")


def untold(cell: PlannedCell, target: Target) -> str:
    """Return a sentence on the fact that a claim needs and the deployment does not state; empty if all are known."""
    try:
        for need in cell.scenario.needs:
            need(target)
        cell.scenario.parameters(cell.deployment, target, cell.policy)
    except NotTold as error:
        return str(error)
    return ""


async def look_at(live: Live, promises: Promises | None = None, address: Address | None = None) -> Target:
    """Ask a live deployment for its promises and capabilities: ``GET /worker`` and ``GET /capabilities``."""
    promises = promises or Promises()
    async with open_http(address or live.base_url, kept=False, timeout_s=CALL_TIMEOUT_S) as http:
        facts = (await http.get("/worker")).raise_for_status().json()
        capabilities = (await http.get("/capabilities")).raise_for_status().json()["capabilities"]
    return Target(
        live=live,
        facts=promises.facts(facts),
        promises=promises,
        reached=address,
        capabilities={capability["capability_id"]: capability for capability in capabilities},
    )


@asynccontextmanager
async def _open_all(policies: Sequence[Policy], target: Target) -> AsyncIterator[dict[Policy, Connections]]:
    """Open the connections of every policy. All cells of a stack share them."""
    names = (f"k{number}" for number in itertools.count())
    opened: dict[Policy, Connections] = {}
    try:
        for policy in policies:
            opened[policy] = await open_connections(
                policy, target.address, workers=target.workers, direct=target.direct, names=names
            )
        yield opened
    finally:
        for connections in opened.values():
            await connections.aclose()
