"""A run against a service that is not the lab's. It writes the same run folder as any other run.

Each number of workers is a deployment, named ``<name>-<workers>``. A stack serves its cells one after another
where callers cannot be told apart, otherwise several at a time; a fault gets a stack of its own.
"""

from __future__ import annotations

import asyncio
import itertools
import json
import time
from collections import Counter
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import msgspec

from kernel_lab.apps.adapter import NEEDS
from kernel_lab.apps.connections import CannotPin, open_links
from kernel_lab.apps.drives import DRIVES, LONG_S, Session
from kernel_lab.apps.faults import inject
from kernel_lab.apps.http import DEADLINE_S, Http, Unclear
from kernel_lab.apps.mapping import Limit, Service
from kernel_lab.apps.server import Running, attached, by_address, started
from kernel_lab.bad_input import BadInput
from kernel_lab.deployments.live import StackFailed, StackUnavailable
from kernel_lab.judge.history import FaultEvent, HistoryWriter, read_history
from kernel_lab.judge.verdict import Assumptions, Cell, DeploymentFacts, Validity
from kernel_lab.run.folder import CellFolder, RunFolder
from kernel_lab.run.judging import judge_cell
from kernel_lab.run.record import cause
from kernel_lab.run.results import CellResult, with_verdict
from kernel_lab.traffic.connections import Policy

SIDE_BY_SIDE = 3
"""Cells of one stack that are recorded at once, where callers can be told apart."""


@dataclass(frozen=True, slots=True, kw_only=True)
class AppPlan:
    """The plan of a run of a service."""

    service: Service
    name: str
    folder: RunFolder
    claims: Sequence[str]
    policies: Sequence[Policy]
    faults: Sequence[str] = ()
    seed: int = 1
    quick: bool = False
    only: frozenset[tuple[str, Policy]] | None = None
    """The cells to run, as (claim, connection policy). Without a choice, every cell is run."""

    def pairs(self) -> list[tuple[str, Policy]]:
        """The cells of one stack, in their order."""
        pairs = itertools.product(self.claims, self.policies)
        return [pair for pair in pairs if self.only is None or pair in self.only]

    def stacks(self) -> Iterator[tuple[int | None, str]]:
        """Each number of workers with each fault: ``(workers, fault)``; None where the service runs already."""
        start = self.service.file.start
        counts: list[int | None] = [None]
        if start is not None:
            counts = list(start.workers) if isinstance(start.workers, list) else [start.workers]
        for count in counts:
            for fault in self.faults or ("",):
                yield count, fault

    def cells(self) -> int:
        """The number of its cells."""
        return len(list(self.stacks())) * len(self.pairs())


@dataclass(frozen=True, slots=True)
class _Told:
    """The receiver of messages about the progress."""

    say: Callable[[str], None]
    done: Callable[[CellResult], None]


async def run(
    plan: AppPlan, *, say: Callable[[str], None], done: Callable[[CellResult], None]
) -> list[CellResult]:
    """Run every cell of the plan; the rows in their order.

    Raises:
        BadInput: The file does not describe the reply of an operation.
    """
    rows: list[CellResult] = []
    for workers, fault in plan.stacks():
        rows += await _serve(plan, workers, fault, _Told(say, done))
    return rows


async def _serve(plan: AppPlan, workers: int | None, fault: str, told: _Told) -> list[CellResult]:
    """The rows of one stack."""
    attach = plan.service.file.attach
    deployment = _facts(plan.service, attach.workers if attach is not None else workers)
    logs = plan.folder.logs(f"{deployment.name}{'-' + fault if fault else ''}")
    opened: AbstractAsyncContextManager[Running]
    opened = attached(plan.service) if workers is None else started(plan.service, workers, logs)
    rows: dict[tuple[str, Policy], CellResult] = {}
    failure = ""
    try:
        async with opened as running:
            deployment = _facts(plan.service, running.workers)
            for note in running.notes:
                told.say(note)
            await preflight(plan, running)
            async for row in _cells(plan, running, deployment, fault, logs):
                rows[row.scenario, Policy(row.connections)] = row
                told.done(row)
    except StackUnavailable as error:
        failure, validity = str(error), Validity.SKIPPED
    except StackFailed as error:
        told.say(str(error))
        failure, validity = f"{error.message}; its log says why", Validity.UNKNOWN
    if failure:
        for claim, policy in plan.pairs():
            if (claim, policy) not in rows:
                row = msgspec.structs.replace(
                    _row(plan, deployment, claim, policy, fault), validity=validity, reason=failure
                )
                rows[claim, policy] = row
                told.done(row)
    return [rows[key] for key in plan.pairs()]


async def _cells(
    plan: AppPlan, running: Running, deployment: DeploymentFacts, fault: str, logs: Path
) -> AsyncIterator[CellResult]:
    """Yield the cells of one stack, each as soon as it is judged.

    All callers share a counter, so its cells come last.
    """
    names = (f"k{number}" for number in itertools.count())
    numbers = itertools.count(1)
    alone = _one_caller(plan.service, running) or bool(fault)
    slots = asyncio.Semaphore(1 if alone else SIDE_BY_SIDE)

    async def one(claim: str, policy: Policy) -> CellResult:
        async with slots:
            first = next(numbers) * 2_000
            return await _cell(plan, running, deployment, claim, policy, fault, names, logs, first)

    crowd = [pair for pair in plan.pairs() if pair[0] != "stats"]
    jobs = [asyncio.create_task(one(*cell)) for cell in crowd]
    try:
        for job in asyncio.as_completed(jobs):
            yield await job
    finally:
        for job in jobs:
            job.cancel()
        await asyncio.gather(*jobs, return_exceptions=True)
    for claim, policy in plan.pairs():
        if claim == "stats":
            yield await one(claim, policy)


async def drive_under_fault(
    claim: str, fault: str, session: Session, running: Running, after_s: float
) -> str:
    """Send the traffic of a claim, and inject the fault meanwhile. Return why the fault did not land, if it did not.

    If the traffic breaks off, the fault is cancelled. Otherwise it would hit the next cell, whose history would not
    contain it.
    """
    injecting = asyncio.create_task(inject(fault, session, running, after_s))
    try:
        await DRIVES[claim](session)
        return await injecting
    finally:
        injecting.cancel()
        await asyncio.gather(injecting, return_exceptions=True)


async def _cell(
    plan: AppPlan, running: Running, deployment: DeploymentFacts, claim: str, policy: Policy, fault: str,
    names: Iterator[str], logs: Path, first_caller: int,
) -> CellResult:  # fmt: skip
    """Record one cell, judge it from disk, and return its row."""
    row = _row(plan, deployment, claim, policy, fault)
    try:
        links = await open_links(policy, running.place, names, workers=running.workers, named=running.named)
    except (CannotPin, httpx.HTTPError, OSError) as error:
        reason = str(error) or type(error).__name__
        return msgspec.structs.replace(row, validity=Validity.SKIPPED, reason=f"{policy}: {reason}")
    promise = (
        plan.service.file.rate_limit.promise if plan.service.file.rate_limit else Limit(limit=1, window_s=1)
    )
    one_caller = _one_caller(plan.service, running)
    if one_caller and claim == "rate_limit":
        # an earlier caller has used the limit: wait until none of its calls can count
        await asyncio.sleep(2 * promise.window_s)
    folder = plan.folder.cell(claim, deployment.name, policy, fault or None)
    cell = Cell(
        scenario=claim, deployment=deployment, connections=policy, fault=fault or None, seed=plan.seed,
        parameters=_parameters(plan.service, claim), assumptions=_assumed(plan, running, claim, policy),
        finished=False,
    )  # fmt: skip
    folder.create()
    folder.write_cell(cell)
    broke_off = ""
    with HistoryWriter(folder.recorded) as history:
        session = Session(
            app=plan.service.app, links=links, writer=history, workers=running.workers, quick=plan.quick,
            tag=f"{time.time_ns() & 0xFFFFFFFF:x}", limit=promise.limit, window_s=promise.window_s,
            first_caller=first_caller, one_caller=one_caller,
        )  # fmt: skip
        try:
            if fault:
                after_s = 0.2 * min(promise.window_s, LONG_S) if claim == "rate_limit" else 0.3
                broke_off = await drive_under_fault(claim, fault, session, running, after_s)
            else:
                await DRIVES[claim](session)
        except Exception as failure:  # noqa: BLE001 - one cell's failure is a row, not the end of the run
            broke_off = f"the cell broke off: {cause(failure)}"
        finally:
            await links.aclose()
    written = len(read_history(folder.recorded))
    folder.seal(msgspec.structs.replace(cell, finished=not broke_off, operations=written))
    folder.link_logs(logs)
    return await asyncio.to_thread(_judged, folder, row, broke_off)


def _judged(folder: CellFolder, row: CellResult, error: str) -> CellResult:
    verdicts = judge_cell(folder)
    folder.write_verdict(verdicts)
    row = with_verdict(row, verdicts[0], {})
    if error:
        row = msgspec.structs.replace(row, validity=Validity.UNKNOWN, reason=error)
    history = read_history(folder.recorded)
    if row.validity is Validity.UNKNOWN and not error:
        why = Counter(op.error for op in history if op.outcome == "info" and not isinstance(op, FaultEvent))
        if why:
            most, count = why.most_common(1)[0]
            reason = f"{row.reason}; {count} of {len(history)} operations were unclear ({most})"
            row = msgspec.structs.replace(row, reason=reason)
    return msgspec.structs.replace(row, shares=dict(Counter(op.worker for op in history if op.worker)))


def _facts(service: Service, workers: int | None) -> DeploymentFacts:
    return DeploymentFacts(
        name=f"{service.file.name}-{workers}" if workers else service.file.name,
        state=service.file.about.store, workers=workers or 1, replicas=1, routing="direct",
    )  # fmt: skip


def _row(plan: AppPlan, deployment: DeploymentFacts, claim: str, policy: Policy, fault: str) -> CellResult:
    return CellResult(
        run=plan.name, scenario=claim, deployment=deployment.name, state=deployment.state,
        workers=deployment.workers or 1, replicas=1, routing=deployment.routing, connections=policy,
        fault=fault, seed=plan.seed, claim=claim,
    )  # fmt: skip


def _parameters(service: Service, claim: str) -> dict[str, Any]:
    """Return the promises of the service, as ``cell.json`` keeps them."""
    file = service.file
    if claim == "rate_limit" and file.rate_limit is not None:
        promise = file.rate_limit.promise
        told: dict[str, Any] = {
            "kind": promise.kind, "limit": promise.limit, "window_s": promise.window_s,
            "burst": promise.burst, "tolerance_ms": promise.tolerance_ms,
        }  # fmt: skip
        if promise.kind.endswith("_clock") and promise.alignment == "clock":
            # what the monotonic clock of the history showed when the wall clock was at 0
            told["epoch_ns"] = time.monotonic_ns() - time.time_ns()
    elif claim == "revocation":
        told = {"max_stale_ms": file.revocation.max_stale_ms if file.revocation else None}
    elif claim == "handles":
        told = {"handle_ttl_s": file.handles.ttl_s if file.handles else None}
    else:
        told = {}
    return {name: value for name, value in told.items() if value is not None}


def _assumed(plan: AppPlan, running: Running, claim: str, policy: Policy) -> Assumptions:
    """Return the least that a history must contain before it can be valid."""
    least = {"rate_limit": 24, "revocation": 24, "handles": 16, "stats": 8}[claim]
    if claim == "rate_limit" and plan.service.file.rate_limit is not None:
        # fewer attempts than the limit show nothing
        least = max(least, plan.service.file.rate_limit.promise.limit + 2)
    if policy is Policy.KEEP_ALIVE:
        return Assumptions(min_operations=min(least, 24) if claim != "rate_limit" else least)
    if running.workers == 1:
        return Assumptions(min_operations=least, min_workers=1 if running.named else None)
    met = running.workers if policy is Policy.ROUND_ROBIN and running.named else 2
    return Assumptions(min_operations=least, min_workers=met)


def _one_caller(service: Service, running: Running) -> bool:
    """Whether the service cannot tell our callers apart."""
    return by_address(service) and not running.place.by_address


async def preflight(plan: AppPlan, running: Running) -> None:
    """Do every operation once, so that a wrong mapping is reported before anything is measured.

    Raises:
        BadInput: Which operation failed, how, and what the service answered.
    """
    app, caller = plan.service.app, f"preflight-{time.time_ns() & 0xFFFFFFFF:x}"
    async with _one_operation(running) as http:
        for claim in plan.claims:
            known: dict[str, str] = {}
            for operation in NEEDS[claim]:
                try:
                    async with asyncio.timeout(DEADLINE_S):
                        gave = await getattr(app, operation)(http, caller, **known)
                except Exception as error:  # noqa: BLE001 - other people's code and servers fail in their own way
                    raise BadInput(_say_failed(claim, operation, error, http)) from None
                if operation in ("login", "put"):
                    known = {"token" if operation == "login" else "id": gave}
                if gave is False:
                    said = _answered(http)
                    raise BadInput(f"{claim}: {operation} is refused at the first try{said}")


@asynccontextmanager
async def _one_operation(running: Running) -> AsyncIterator[Http]:
    async with running.place.open(1) as client:
        yield running.place.http(client)


def _say_failed(claim: str, operation: str, error: Exception, http: Http) -> str:
    told = str(error) if isinstance(error, Unclear) else f"{type(error).__name__}: {error}"
    return (
        f"{claim}: {operation} failed at the first try: {told}{_answered(http)}; "
        "say in app.toml which replies are ok and which are refused"
    )


def _answered(http: Http) -> str:
    last = http.last
    if last is None:
        return ""
    return f" (the service answered {last.status}: {json.dumps(' '.join(last.text[:160].split()))})"
