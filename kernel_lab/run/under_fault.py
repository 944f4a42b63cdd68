"""Cells with a fault. Each stack is started for one fault, and several claims drive traffic around that fault.

Each stack serves one deployment and suffers one fault, because a fault can leave state behind. All claims that
can be tested under the fault run at the same time on the stack. Each writes its own history, and each history contains
the fault. Traffic goes on before the fault, while it lasts, until requests have stopped failing, and for some time
after that.
"""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import time
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import msgspec

from kernel_lab.deployments.deployment import Deployment
from kernel_lab.deployments.live import Live, StackUnavailable
from kernel_lab.faults.aimed import aimed
from kernel_lab.faults.around import Around
from kernel_lab.faults.fault import Fault, disturb, prepared
from kernel_lab.faults.liveness import Probed, probing
from kernel_lab.judge.history import read_history
from kernel_lab.run.effect import NOTHING, Effect, effect, write_effects
from kernel_lab.run.folder import CellFolder
from kernel_lab.run.plan import Plan, PlannedCell
from kernel_lab.run.record import cause, record
from kernel_lab.run.results import CellResult, write_csvs
from kernel_lab.run.scenario import Session
from kernel_lab.run.schedule import OpenStack, Progress, judge_or_say, look_at, untold
from kernel_lab.run.timeline import Timeline, write_timelines
from kernel_lab.traffic.address import open_http
from kernel_lab.traffic.client import Recorder
from kernel_lab.traffic.connections import Policy, open_connections

BEFORE_S, DURING_S, AFTER_S = 0.6, 1.5, 1.2
"""The seconds of traffic before the fault, while it lasts, and after requests have stopped failing."""
QUIET_S, BACK_S = 0.5, 8.0
"""Requests have stopped failing once none has failed for `QUIET_S` seconds. If they still fail after `BACK_S`
seconds, the lab stops waiting."""
HEALTHY_S = 15.0
"""The most seconds that a deployment may take to answer after a fault."""
ENV = {
    "LAB_RATE_LIMITS": "READ=1000000/60,WRITE=4/20,DESTRUCTIVE=4/20",
    "LAB_BUDGET_TOTAL": "10000000",
    "LAB_BUDGET_REQUEST": "600",
}
"""Settings of the workers: a window that lasts longer than the fault, and a budget that is never used up."""


@dataclass(frozen=True, slots=True, kw_only=True)
class FaultRow:
    """One cell with a fault: its verdict, and the effect of the fault."""

    result: CellResult
    effect: Effect


@dataclass(frozen=True, slots=True, kw_only=True)
class Stack:
    """One deployment that suffers one fault."""

    deployment: Deployment
    fault: Fault
    cells: tuple[PlannedCell, ...]


@dataclass(slots=True, kw_only=True)
class FaultRun:
    """Every chosen deployment under every chosen fault."""

    plan: Plan
    faults: Sequence[Fault]
    open_stack: OpenStack
    progress: Progress
    only: frozenset[tuple[str, str, str]] | None = None
    """The cells to run, as (scenario, deployment, fault); every cell if this is None."""
    made_for: Mapping[str, str] = field(default_factory=dict)
    """The one fault for each deployment named here. Every other deployment suffers every fault."""
    on_hosts: bool = False
    """Whether the servers run on hosts of a swarm. Such servers cannot write into the run folder, so no log counts
    their executions."""
    _rows: dict[tuple[str, str, str], FaultRow] = field(default_factory=dict)
    _timelines: dict[tuple[str, str], Timeline] = field(default_factory=dict)

    def stacks(self) -> list[Stack]:
        """The stacks, in the order in which they start."""
        policy = self.plan.policies[0]
        claims = [one for one in self.plan.scenarios if one.under_fault is not None]
        stacks = [
            Stack(
                deployment=deployment,
                fault=fault,
                cells=tuple(
                    PlannedCell(scenario=one, deployment=deployment, policy=policy, fault=fault)
                    for one in claims
                    if self.only is None or (one.name, deployment.name, fault.name) in self.only
                ),
            )
            for deployment in self.plan.deployments
            for fault in self.faults
            if self.made_for.get(deployment.name, fault.name) == fault.name
        ]
        return [stack for stack in stacks if stack.cells]

    async def run(self) -> list[FaultRow]:
        """Run the stacks, a few at a time, and write the CSVs. An interrupted run writes the rows that it has."""
        stacks = self.stacks()
        self.progress.planned(sum(len(stack.cells) for stack in stacks))
        waiting = iter(stacks)

        async def one_after_another() -> None:
            for stack in waiting:
                await self._suffer(stack)

        try:
            async with asyncio.TaskGroup() as group:
                for _ in range(self.plan.stacks_at_once):
                    group.create_task(one_after_another())
        finally:
            rows = [row for stack in stacks for cell in stack.cells if (row := self._rows.get(_key(cell)))]
            write_csvs(self.plan.folder, [row.result for row in rows], self.plan.scenarios)
            write_effects(self.plan.folder, [(row.result, row.effect) for row in rows])
            write_timelines(self.plan.folder, self._timelines)
        return rows

    def _fill(self, cell: PlannedCell, result: CellResult, found: Effect = NOTHING) -> None:
        self._rows[_key(cell)] = FaultRow(result=result, effect=found)
        self.progress.done(result)

    async def _suffer(self, stack: Stack) -> None:
        """Start a stack, run its cells around the fault, and stop it.

        If the stack fails, its own cells are unknown, and the run goes on.
        """
        # a fault may have to try what this machine can, while other stacks serve
        if why := await asyncio.to_thread(stack.fault.excluded, stack.deployment):
            self._skip(stack, why)
            return
        name = f"{stack.deployment.name}-{stack.fault.name}"
        self.progress.doing(f"starting {stack.deployment.name} for {stack.fault.name}")
        logs = self.plan.folder.new_logs(
            name if len(stack.cells) > 1 else f"{name}-{stack.cells[0].scenario.name}"
        )
        env = {**self.plan.env, **ENV}
        if not self.on_hosts:
            env["LAB_EXECUTION_LOG"] = str(self.plan.folder.executions(logs).absolute())
        try:
            async with self.open_stack(stack.fault.shape(stack.deployment), env, logs) as live:
                if why := stack.fault.inapplicable(live):
                    self._skip(stack, why)
                    return
                async with prepared(stack.fault, live) as fault:
                    await self._serve(replace(stack, fault=fault), live, logs)
        except StackUnavailable as error:
            self._skip(stack, str(error))
        except Exception as failure:  # noqa: BLE001 - whatever a stack dies of, the run goes on
            for cell in self._missing(stack):
                self._fill(cell, self.plan.unknown(cell, f"the stack failed: {cause(failure)}"))

    def _skip(self, stack: Stack, why: str) -> None:
        for cell in self._missing(stack):
            self._fill(cell, self.plan.skipped(cell, why))

    def _missing(self, stack: Stack) -> list[PlannedCell]:
        return [cell for cell in stack.cells if _key(cell) not in self._rows]

    async def _serve(self, stack: Stack, live: Live, logs: Path) -> None:
        target = await look_at(live, self.plan.promises, self.plan.address)
        for cell in stack.cells:
            if why := untold(cell, target):
                self._fill(cell, self.plan.skipped(cell, f"not judged: {why}"))
        asked = self._missing(stack)
        if not asked:
            return
        around, recorders = Around(len(asked)), list[Recorder]()
        names = (f"k{number}" for number in itertools.count())
        connections = await open_connections(
            asked[0].policy, target.address, workers=target.workers, direct=target.direct, names=names
        )
        on_the_replica = await aimed(live, stack.fault.hits)
        folders = [
            self.plan.folder.cell(one.scenario.name, one.deployment.name, one.policy, stack.fault.name)
            for one in asked
        ]

        async def one(cell: PlannedCell, folder: CellFolder) -> str:
            self.progress.doing(self.plan.unjudged(cell).label)

            async def drive(session: Session) -> None:
                assert cell.scenario.under_fault is not None  # noqa: S101 - only such claims are planned
                recorders.append(session.main)
                session.names = on_the_replica
                try:
                    await cell.scenario.under_fault(session, around)
                finally:
                    around.arrive()

            return await record(
                folder, cell, target, connections, seed=self.plan.seed, quick=self.plan.quick, drive=drive
            )

        try:
            async with asyncio.TaskGroup() as group:
                tasks = [
                    group.create_task(one(cell, folder)) for cell, folder in zip(asked, folders, strict=True)
                ]
                said, probed = await self._inject(stack.fault, live, around, recorders)
        finally:
            await connections.aclose()
        executions = await asyncio.to_thread(_executions, self.plan.folder.executions(logs))
        timeline = self._timelines.setdefault((stack.deployment.name, stack.fault.name), Timeline())
        for cell, folder, task in zip(asked, folders, tasks, strict=True):
            folder.link_logs(logs)
            result = await judge_or_say(self.plan, cell, folder, task.result() or said)
            expected = cell.scenario.expect(cell.deployment, cell.policy)
            history = await asyncio.to_thread(read_history, folder.recorded)
            verdicts = folder.read_verdict() if folder.verdict.exists() else []
            timeline.add(history)
            found = effect(
                history, verdicts[0] if verdicts else None, expected, executions=executions, probed=probed
            )
            self._fill(cell, result, found)

    async def _inject(
        self, fault: Fault, live: Live, around: Around, recorders: Sequence[Recorder]
    ) -> tuple[str, Probed | None]:
        """Inject the fault in the middle of the traffic, and send liveness probes while it lasts.

        Returns:
            Why the cells cannot be judged (an empty text if they can), and the findings of the probes.
        """
        await around.ready()
        try:
            await asyncio.sleep(BEFORE_S)
            async with probing(live) as probed:
                async with disturb(fault, live, *recorders):
                    if fault.lasts:
                        await asyncio.sleep(DURING_S if fault.lasts_s is None else fault.lasts_s)
                if not await _healthy(live):
                    return f"the deployment did not answer {HEALTHY_S:g} s after the fault", probed
                await _quiet(recorders)
            await asyncio.sleep(AFTER_S)
        except Exception as failure:  # noqa: BLE001 - its cells are unknown, and the run goes on
            return f"the fault {fault.name} could not be injected or ended: {cause(failure)}", None
        finally:
            around.end()
        return "", probed


def _key(cell: PlannedCell) -> tuple[str, str, str]:
    return cell.scenario.name, cell.deployment.name, cell.fault.name if cell.fault else ""


def _executions(log: Path) -> dict[str, int] | None:
    """Return how often a driver ran for each principal; None where no driver of this kernel logs it."""
    if not log.exists():
        return None
    return dict(Counter(msgspec.json.decode(line)["principal"] for line in log.read_bytes().splitlines()))


async def _quiet(recorders: Sequence[Recorder]) -> None:
    """Wait until no request has failed for a while, or until the time for waiting is over."""
    until_s = time.monotonic() + BACK_S
    while (now_s := time.monotonic()) < until_s:
        failed_s = max((one.writer.info_ns for one in recorders), default=0) / 1e9
        if now_s - failed_s > QUIET_S:
            return
        await asyncio.sleep(0.05)


async def _healthy(live: Live) -> bool:
    """Wait until a worker answers with a status below 500."""
    until_s = time.monotonic() + HEALTHY_S
    async with open_http(live.base_url, kept=False, timeout_s=2.0) as http:
        while time.monotonic() < until_s:
            with contextlib.suppress(Exception):
                if (await http.get("/healthz")).status_code < 500:
                    return True
            await asyncio.sleep(0.1)
    return False


def plan_under_faults(plan: Plan) -> Plan:
    """Return the plan with the one connection policy of fault cells: every call has a connection of its own."""
    return replace(plan, policies=[Policy.FRESH])
