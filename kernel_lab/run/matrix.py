"""run(): deployments up, traffic, histories down, verdicts, CSVs. The whole story on one page.

One run's data goes one way: a deployment becomes a live stack, the stack serves its cells side by side,
each cell leaves ``history.jsonl`` and ``cell.json``; the checkers read them back from disk; rows become CSVs.
A cell that cannot be run is a row that says why; a cell that broke off is unknown, never valid.
"""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Iterator, Sequence
from contextlib import AbstractAsyncContextManager, aclosing, asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

import msgspec

from kernel_lab.deployments.deployment import Deployment
from kernel_lab.deployments.live import StackUnavailable
from kernel_lab.judge.history import HistoryWriter, read_history
from kernel_lab.judge.verdict import Cell, DeploymentFacts, Measure, Validity
from kernel_lab.run import judging as judge
from kernel_lab.run import prediction as predict
from kernel_lab.run.results import CellResult, with_verdict, write_csvs
from kernel_lab.run.scenario import Scenario, Session, Target
from kernel_lab.traffic.client import Recorder, open_http
from kernel_lab.traffic.connections import CALL_TIMEOUT_S, Connections, Policy, open_connections

SIDE_BY_SIDE = 4
"""Cells of one stack that run at once: most of a cell's time is spent waiting for a window or an expiry."""
STACKS_AT_ONCE = 2
"""Stacks that are up at once, where they are started here: one starts or stops while the other works."""


class LiveStack(Protocol):
    """What a run needs of a live deployment."""

    @property
    def base_url(self) -> str:
        """Where clients call."""
        ...

    @property
    def expected_workers(self) -> int:
        """How many workers there are."""
        ...


OpenStack = Callable[[Deployment, dict[str, str], Path], AbstractAsyncContextManager[LiveStack]]
"""`(deployment, settings of the workers, folder for logs)` to a stack; raises `StackUnavailable`."""


class Progress(Protocol):
    """Who is told how far the run is."""

    def planned(self, cells: int) -> None:
        """So many cells will be run."""
        ...

    def doing(self, what: str) -> None:
        """This is going on now."""
        ...

    def done(self, cell: CellResult) -> None:
        """A cell is judged."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """What a run will do."""

    name: str
    folder: Path
    deployments: Sequence[Deployment]
    scenarios: Sequence[Scenario]
    policies: Sequence[Policy]
    seed: int
    quick: bool
    env: dict[str, str] = field(default_factory=dict)
    """Settings of every worker, under each deployment's own."""
    stacks_at_once: int = STACKS_AT_ONCE

    def cells(self) -> int:
        """How many cells it has."""
        return len(self.deployments) * len(self.scenarios) * len(self.policies)


async def run(plan: Plan, open_stack: OpenStack, progress: Progress) -> list[CellResult]:
    """Run every cell of the plan, a few stacks at a time, and write the CSVs, in the plan's order."""
    progress.planned(plan.cells())
    results: list[CellResult] = []
    waiting = iter([(deployment, group) for deployment in plan.deployments for group in _groups(plan)])

    async def serve() -> None:
        for deployment, group in waiting:
            async with aclosing(_serve(plan, deployment, group, open_stack, progress)) as served:
                async for result in served:
                    results.append(result)
                    progress.done(result)

    try:
        async with asyncio.TaskGroup() as stacks:
            for _ in range(plan.stacks_at_once):
                stacks.create_task(serve())
    finally:
        # an interrupted run keeps what it has
        results.sort(key=_place(plan))
        write_csvs(plan.folder, results, {scenario.name: scenario.columns for scenario in plan.scenarios})
    return results


def _place(plan: Plan) -> Callable[[CellResult], tuple[int, int, int]]:
    """Where the plan names a cell."""
    deployments = [deployment.name for deployment in plan.deployments]
    scenarios = [scenario.name for scenario in plan.scenarios]
    policies = [str(policy) for policy in plan.policies]
    return lambda cell: (
        deployments.index(cell.deployment),
        scenarios.index(cell.scenario),
        policies.index(cell.connections),
    )


@dataclass(frozen=True, slots=True)
class Group:
    """Cells that share one stack: all of the scenarios, over all of the policies."""

    scenarios: Sequence[Scenario]
    policies: Sequence[Policy]

    side_by_side: int
    suffix: str = ""
    """What tells its stack from the deployment's others."""

    def cells(self) -> Iterator[tuple[Scenario, Policy]]:
        """The cells, in the order in which they begin."""
        for scenario in self.scenarios:
            for policy in self.policies:
                yield scenario, policy


def _groups(plan: Plan) -> list[Group]:
    """All that may share a stack, and then, for each policy, those that need a fresh one."""
    shared = [scenario for scenario in plan.scenarios if not scenario.own_stack]
    fresh = [scenario for scenario in plan.scenarios if scenario.own_stack]
    groups = [Group(shared, plan.policies, SIDE_BY_SIDE)] if shared else []
    return groups + [Group(fresh, [policy], 1, f"-own-{policy}") for policy in plan.policies if fresh]


def _left_out(plan: Plan, group: Group) -> str:
    """Why a group of cells is not run, or an empty string."""
    if plan.quick and group.suffix and group.policies[0] is not plan.policies[0]:
        return f"--quick starts one fresh stack per deployment, for {plan.policies[0]}"
    return ""


async def _serve(
    plan: Plan, deployment: Deployment, group: Group, open_stack: OpenStack, progress: Progress
) -> AsyncGenerator[CellResult]:
    """Start one stack and run a group's cells on it."""
    env = dict(plan.env)
    for scenario in group.scenarios:
        env |= scenario.env
    logs = plan.folder / "stacks" / f"{deployment.name}{group.suffix}"
    waiting = {(s.name, policy): _blank(plan, deployment, s, policy) for s, policy in group.cells()}
    if reason := _left_out(plan, group):
        for cell in waiting.values():
            yield msgspec.structs.replace(cell, validity=Validity.SKIPPED, reason=reason, expected=None)
        return
    progress.doing(f"starting {deployment.name}")
    try:
        async with open_stack(deployment, env, logs) as stack:
            target = await look_at(stack, deployment)
            async with aclosing(_cells(plan, deployment, group, target, logs, progress)) as results:
                async for result in results:
                    del waiting[result.scenario, Policy(result.connections)]
                    yield result
    except StackUnavailable as error:
        for cell in waiting.values():
            yield msgspec.structs.replace(cell, validity=Validity.SKIPPED, reason=str(error), expected=None)
    except Exception as failure:  # noqa: BLE001 - a stack that fails costs its own cells, not the run
        for cell in waiting.values():
            reason = f"the stack failed: {_cause(failure)}"
            yield msgspec.structs.replace(cell, validity=Validity.UNKNOWN, reason=reason)


async def look_at(stack: LiveStack, deployment: Deployment) -> Target:
    """Ask the deployment who it is."""
    async with open_http(stack.base_url, kept=False, timeout_s=CALL_TIMEOUT_S) as http:
        facts = (await http.get("/worker")).raise_for_status().json()
        capabilities = (await http.get("/capabilities")).raise_for_status().json()["capabilities"]
    return Target(
        base_url=stack.base_url,
        direct=deployment.routing == "direct",
        workers=stack.expected_workers,
        facts=facts,
        capabilities={capability["capability_id"]: capability for capability in capabilities},
        kill_worker=getattr(stack, "kill_worker", lambda _: False),
    )


async def _cells(
    plan: Plan,
    deployment: Deployment,
    group: Group,
    target: Target,
    logs: Path,
    progress: Progress,
) -> AsyncGenerator[CellResult]:
    """The cells of one stack, so many at a time, each judged as soon as it has ended."""
    slots = asyncio.Semaphore(group.side_by_side)
    async with _open_all(group.policies, target) as connections:

        async def one(scenario: Scenario, policy: Policy) -> CellResult:
            blank = _blank(plan, deployment, scenario, policy)
            async with slots:
                progress.doing(blank.label)
                folder = plan.folder / "cells" / scenario.name / f"{deployment.name}-{policy}"
                error = await record(
                    folder, plan, scenario, deployment, target, connections[policy], blank.expected
                )
                _link_logs(folder, logs)
            try:
                return await asyncio.to_thread(judge_recorded, folder, blank, scenario, deployment, error)
            except Exception as failure:  # noqa: BLE001 - a cell that cannot be judged is unknown, and alone
                return msgspec.structs.replace(
                    blank, validity=Validity.UNKNOWN, reason=f"not judged: {_cause(failure)}"
                )

        jobs = [asyncio.create_task(one(scenario, policy)) for scenario, policy in group.cells()]
        try:
            for job in asyncio.as_completed(jobs):
                yield await job
        finally:
            for job in jobs:
                job.cancel()
            await asyncio.gather(*jobs, return_exceptions=True)


@asynccontextmanager
async def _open_all(policies: Sequence[Policy], target: Target) -> AsyncIterator[dict[Policy, Connections]]:
    """The connections of every policy, shared by all the cells of a stack."""
    names = (f"k{number}" for number in itertools.count())
    opened: dict[Policy, Connections] = {}
    try:
        for policy in policies:
            opened[policy] = await open_connections(
                policy, target.base_url, workers=target.workers, direct=target.direct, names=names
            )
        yield opened
    finally:
        for connections in opened.values():
            await connections.aclose()


def _link_logs(folder: Path, logs: Path) -> None:
    """``server.log`` of a cell is its stack's: one stack serves many cells."""
    for log in sorted(logs.glob("*.log")):
        (folder / log.name).symlink_to(Path("../../..") / log.relative_to(folder.parents[2]))


async def record(
    folder: Path,
    plan: Plan,
    scenario: Scenario,
    deployment: Deployment,
    target: Target,
    connections: Connections,
    expected: Validity | None,
) -> str:
    """Drive one cell into its folder; the reason why it broke off, or an empty string."""
    policy = connections.policy
    parameters = scenario.parameters(deployment, target, policy)
    cell = Cell(
        scenario=scenario.name,
        deployment=DeploymentFacts(
            name=deployment.name,
            state=deployment.state_name,
            workers=deployment.workers,
            replicas=deployment.replicas,
            routing=deployment.routing,
        ),
        connections=policy,
        seed=plan.seed,
        parameters=parameters,
        assumptions=scenario.assumptions(deployment, policy),
        expected=expected,
        finished=False,
    )
    folder.mkdir(parents=True)
    _write_cell(folder, cell)
    error = ""
    with HistoryWriter(folder / "history.jsonl") as history, HistoryWriter(folder / "probe.jsonl") as probe:
        session = Session(
            deployment=deployment,
            target=target,
            connections=connections,
            main=Recorder(history, target.journal),
            shadow=Recorder(probe, target.journal),
            parameters=parameters,
            seed=plan.seed,
            quick=plan.quick,
        )
        try:
            await scenario.drive(session)
        except Exception as failure:  # noqa: BLE001 - one cell's failure is a row, not the end of the run
            error = f"the cell broke off: {_cause(failure)}"
    beside = target.journal.beside(session.main, _smallest_cap(parameters))
    _write_cell(folder, msgspec.structs.replace(cell, finished=not error, beside=beside))
    return error


def _smallest_cap(parameters: dict[str, Any]) -> float | None:
    """The smallest number of handles or traces that the deployment says it keeps."""
    caps = (parameters.get(name) for name in ("handle_cap", "trace_cap"))
    return min((cap for cap in caps if cap is not None), default=None)


def _cause(failure: BaseException) -> str:
    """The first real one inside a group of them, on one line."""
    while isinstance(failure, BaseExceptionGroup):
        failure = failure.exceptions[0]
    return f"{type(failure).__name__}: {' | '.join(str(failure).splitlines())}"


def judge_recorded(
    folder: Path, blank: CellResult, scenario: Scenario, deployment: Deployment, error: str = ""
) -> CellResult:
    """Judge a recorded cell from disk and predict it from its probe."""
    verdicts = judge.judge_cell(folder)
    judge.write_verdict(folder, verdicts)
    probe = read_history(folder / "probe.jsonl")
    cell = msgspec.json.decode((folder / "cell.json").read_bytes(), type=Cell)
    predicted: dict[str, Measure] = {}
    if scenario.predict is not None and probe:
        predicted = scenario.predict(probe, deployment, cell.parameters)
        (folder / "prediction.json").write_bytes(msgspec.json.encode(predicted) + b"\n")
    result = with_verdict(blank, verdicts[0], predicted)
    if error:  # the judgement knows that it was cut off, and not why
        result = msgspec.structs.replace(result, validity=Validity.UNKNOWN, reason=error)
    shares = predict.shares([*read_history(folder / "history.jsonl"), *probe])
    return msgspec.structs.replace(result, shares=shares)


def _blank(plan: Plan, deployment: Deployment, scenario: Scenario, policy: Policy) -> CellResult:
    return CellResult(
        run=plan.name,
        scenario=scenario.name,
        deployment=deployment.name,
        state=deployment.state_name,
        workers=deployment.workers,
        replicas=deployment.replicas,
        routing=deployment.routing,
        connections=policy,
        seed=plan.seed,
        claim=scenario.name,
        expected=scenario.expect(deployment, policy),
    )


def _write_cell(folder: Path, cell: Cell) -> None:
    plain: dict[str, Any] = msgspec.to_builtins(cell)
    plain["assumptions"] = {k: v for k, v in plain["assumptions"].items() if v is not None}
    if not plain["beside"]:
        del plain["beside"]
    (folder / "cell.json").write_bytes(msgspec.json.format(msgspec.json.encode(plain), indent=2) + b"\n")
