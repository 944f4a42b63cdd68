"""The plan of a run: its cells, and which of them share a stack."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import cached_property
from pathlib import Path
from typing import Any

import msgspec

from kernel_lab.bad_input import BadInput, pick
from kernel_lab.deployments.deployment import Deployment, read_deployments
from kernel_lab.faults.fault import Fault
from kernel_lab.judge.verdict import Validity
from kernel_lab.run import registry
from kernel_lab.run.folder import RunFolder
from kernel_lab.run.promises import Promises
from kernel_lab.run.results import CellResult
from kernel_lab.run.scenario import Scenario
from kernel_lab.traffic.address import Address
from kernel_lab.traffic.connections import Policy

SIDE_BY_SIDE = 4
"""Cells of one stack that run at once: most of a cell's time is spent waiting for a window or an expiry."""
STACKS_AT_ONCE = 2
"""Stacks that run at once on this machine: one starts or stops while the other works."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PlannedCell:
    """One cell that will be run: scenario × deployment × connection policy."""

    scenario: Scenario
    deployment: Deployment
    policy: Policy
    expected: Validity | None = None
    """The verdict that is expected; None if no verdict is expected."""
    fault: Fault | None = None
    """The fault that is in force while the cell is recorded."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Batch:
    """Cells that share one stack."""

    deployment: Deployment
    cells: tuple[PlannedCell, ...]
    stack: str
    """The name of the stack, unique in its run: the deployment's name, and a suffix where the deployment has more
    than one stack."""
    side_by_side: int
    env: dict[str, str]
    """Settings of the stack's workers."""
    left_out: str = ""
    """The reason why its cells are not run; empty where they are."""

    @property
    def policies(self) -> list[Policy]:
        """The connection policies of its cells."""
        return list(dict.fromkeys(cell.policy for cell in self.cells))


@dataclass(frozen=True, kw_only=True)
class Plan:
    """All cells of a run, and the settings that they share."""

    name: str
    folder: RunFolder
    deployments: Sequence[Deployment]
    scenarios: Sequence[Scenario]
    policies: Sequence[Policy]
    seed: int
    quick: bool
    env: dict[str, str] = field(default_factory=dict)
    """Settings of every worker. Each deployment's own settings replace them."""
    stacks_at_once: int = STACKS_AT_ONCE
    promises: Promises = field(default_factory=Promises)
    """The promises of the deployments that their workers do not report."""
    address: Address | None = None
    """The way in which clients reach an attached deployment, where a URL is not enough."""
    own_kernel: bool = True
    """Whether the lab's own kernel is measured. The scenarios' expected verdicts hold for this kernel only."""
    only: frozenset[tuple[str, str, str]] | None = None
    """The cells to run, as (scenario, deployment, connection policy); every cell if None."""

    @cached_property
    def batches(self) -> list[Batch]:
        """The cells, grouped by the stack that they need, in the order in which the stacks start.

        Scenarios that may share a stack share one. Every other scenario needs an unused deployment, so it gets one
        more stack for each connection policy.
        """
        shared = [scenario for scenario in self.scenarios if not scenario.own_stack]
        fresh = [scenario for scenario in self.scenarios if scenario.own_stack]
        batches = []
        for deployment in self.deployments:
            if shared:
                batches.append(self._batch(deployment, shared, self.policies, SIDE_BY_SIDE, ""))
            if fresh:
                batches += [self._batch(deployment, fresh, [one], 1, f"-own-{one}") for one in self.policies]
        return [batch for batch in batches if batch.cells]

    @cached_property
    def cells(self) -> list[PlannedCell]:
        """Every cell, in the order of the CSVs' rows."""
        planned = [cell for batch in self.batches for cell in batch.cells]
        names = [scenario.name for scenario in self.scenarios]
        deployments = [deployment.name for deployment in self.deployments]
        return sorted(
            planned,
            key=lambda cell: (
                deployments.index(cell.deployment.name),
                names.index(cell.scenario.name),
                self.policies.index(cell.policy),
            ),
        )

    def unjudged(self, cell: PlannedCell) -> CellResult:
        """The row of a cell before its result is known."""
        return CellResult(
            run=self.name,
            scenario=cell.scenario.name,
            deployment=cell.deployment.name,
            state=cell.deployment.state_name,
            workers=cell.deployment.workers,
            replicas=cell.deployment.replicas,
            routing=cell.deployment.routing,
            connections=cell.policy,
            fault=cell.fault.name if cell.fault else "",
            seed=self.seed,
            claim=cell.scenario.name,
            expected=cell.expected,
            kernel=self.kernel,
            quick="quick" if self.quick else "full",
        )

    @property
    def kernel(self) -> str:
        """The kernel that is measured: ``module:factory``, ``attached``, or ``lab``."""
        return self.env.get("LAB_KERNEL") or ("attached" if self.address is not None else "lab")

    def skipped(self, cell: PlannedCell, reason: str) -> CellResult:
        """The row of a cell that is not run."""
        return msgspec.structs.replace(
            self.unjudged(cell), validity=Validity.SKIPPED, reason=reason, expected=None
        )

    def unknown(self, cell: PlannedCell, reason: str) -> CellResult:
        """The row of a cell that cannot be judged."""
        return msgspec.structs.replace(self.unjudged(cell), validity=Validity.UNKNOWN, reason=reason)

    def _expected(self, scenario: Scenario, deployment: Deployment, policy: Policy) -> Validity | None:
        if self.own_kernel:
            return scenario.expect(deployment, policy)
        return self.promises.expected(scenario.name)

    def _batch(
        self,
        deployment: Deployment,
        scenarios: Sequence[Scenario],
        policies: Sequence[Policy],
        side_by_side: int,
        suffix: str,
    ) -> Batch:
        env = dict(self.env)
        for scenario in scenarios:
            env |= scenario.env
        left_out = ""
        if self.quick and suffix and policies[0] is not self.policies[0]:
            left_out = f"--quick starts one fresh stack per deployment, for {self.policies[0]}"
        return Batch(
            deployment=deployment,
            cells=tuple(
                PlannedCell(
                    scenario=scenario,
                    deployment=deployment,
                    policy=policy,
                    expected=self._expected(scenario, deployment, policy),
                )
                for scenario in scenarios
                for policy in policies
                if self.only is None or (scenario.name, deployment.name, policy.value) in self.only
            ),
            stack=f"{deployment.name}{suffix}",
            side_by_side=side_by_side,
            env=env,
            left_out=left_out,
        )


def chosen_deployments(
    file: Path | None, *, workers: int | None = None, replicas: int | None = None, state: str | None = None
) -> dict[str, Deployment]:
    """Return the chosen deployments by name, from the caller's file or from the lab's own.

    The options of the command line change each of them.

    Raises:
        BadInput: The file cannot be read, or a row of it is not a deployment.
    """
    try:
        known = read_deployments(file) if file else registry.deployments()
    except (OSError, ValueError) as error:
        why = " ".join(str(error).split()).removeprefix(f"{file}: ")
        raise BadInput(f"--deployments {file}: {why}") from None
    said = {"workers": workers, "replicas": replicas, "state": state}
    changed: dict[str, Any] = {name: value for name, value in said.items() if value is not None}
    return {name: _changed(one, changed) for name, one in known.items()}


def _changed(one: Deployment, changed: dict[str, Any]) -> Deployment:
    row = msgspec.structs.replace(one, **changed)
    if row.replicas > 1 and row.routing == "direct":
        row = msgspec.structs.replace(row, routing="round_robin")
    return row


def new_run(out: Path | None) -> tuple[str, RunFolder]:
    """Return the name and the folder of a run that begins now.

    The caller can name the folder. Otherwise its name is the time.
    """
    folder = out or registry.results() / datetime.now(tz=UTC).strftime("%Y%m%dT%H%M%SZ")
    return folder.name, RunFolder(folder.absolute())


def plan_of(
    deployments: Sequence[str],
    scenarios: Sequence[str],
    connections: Sequence[str],
    *,
    quick: bool,
    seed: int,
    out: Path | None,
    kernel: str | None,
    promises: Promises | None = None,
    known: Mapping[str, Deployment] | None = None,
) -> Plan:
    """Return the plan that the command line asks for.

    Raises:
        BadInput: A name is not known, or is given twice.
    """
    known = known or registry.deployments()
    promises = promises or Promises()
    for claim in promises.expect:
        pick("promises.expect", claim, registry.scenarios())
    if not deployments:
        deployments = [name for name in registry.QUICK_DEPLOYMENTS if name in known] if quick else list(known)
    for option, names in (
        ("--deployment", deployments), ("--scenario", scenarios), ("--connections", connections),
    ):  # fmt: skip
        if twice := [name for name in names if list(names).count(name) > 1]:
            raise BadInput(f"{option} {twice[0]}: named twice; name it once")
    env = registry.settings(quick=quick)
    if kernel is not None:
        if ":" not in kernel:
            raise BadInput(f"--kernel {kernel}: should be module:factory, such as my_service.kernel:build")
        env["LAB_KERNEL"] = kernel
    claims = registry.scenarios()
    asked = {pick("--scenario", one, claims).name for one in scenarios or claims}
    name, folder = new_run(out)
    return Plan(
        name=name,
        folder=folder,
        deployments=[pick("--deployment", one, known) for one in deployments],
        # in the registry's order and not in the command line's, because the last scenario kills a worker
        scenarios=[one for name, one in claims.items() if name in asked],
        policies=[pick("--connections", one, {p.value: p for p in Policy}) for one in connections or Policy],
        seed=seed,
        quick=quick,
        env=env,
        promises=promises,
        own_kernel=kernel is None,
    )
