"""One deployment's convergence: start it, revoke, watch, judge the history, and make its row.

Every figure comes from the history alone: `row` reads it and nothing else, so a row can be made again later.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from math import inf, isfinite
from pathlib import Path
from statistics import median
from types import MappingProxyType
from typing import Any

import msgspec

from kernel_lab.convergence.lanes import pinned
from kernel_lab.convergence.promise import spread
from kernel_lab.convergence.watch import Watch, watch
from kernel_lab.deployments import AppSpec, NativeStack, StackUnavailable
from kernel_lab.deployments.deployment import Deployment
from kernel_lab.judge.checkers.coverage import cases
from kernel_lab.judge.checkers.revocation import lag_of
from kernel_lab.judge.history import HistoryWriter, read_history
from kernel_lab.judge.lag import Bracket, End, worst
from kernel_lab.run import registry

COLUMNS = (
    "deployment", "state", "workers", "replicas", "max_stale_ms", "revocations", "end", "p50_ms", "p99_ms", "max_ms",
    "p99_high_ms", "max_covers", "seen_max_ms", "width_p50_ms", "not_seen", "expired", "within_stated", "reason",
)  # fmt: skip
STALENESS_MS = (100, 500, 5000)
"""The values of ``max_stale_ms`` for a deployment that states its staleness. It is measured with each of them."""
REVOCATIONS = 300
"""The largest of 300 is an upper bound of the 99th percentile (`kernel_lab.convergence.promise`)."""
WITHIN_S = 3.0
LONG, BRIEF = "billing.get_invoice", "billing.peek_invoice"


@dataclass(frozen=True, slots=True, kw_only=True)
class Case:
    """One deployment, with the staleness that it states."""

    deployment: Deployment
    max_stale_ms: int | None = None

    @property
    def name(self) -> str:
        """The name of its history."""
        stale = "" if self.max_stale_ms is None else f"-{self.max_stale_ms}ms"
        return f"{self.deployment.name}{stale}"

    @property
    def expiring(self) -> bool:
        """Whether only expiry is sure to end a token."""
        return self.deployment.homes("revocations") > 1


def planned(deployments: Mapping[str, Deployment]) -> Iterator[Case]:
    """Each deployment once, and one that states its staleness once for each of `STALENESS_MS`."""
    for one in deployments.values():
        if "max_stale_ms" not in one.stale:
            yield Case(deployment=one)
            continue
        for stated in STALENESS_MS:
            state = re.sub(r"max_stale_ms=\d+", f"max_stale_ms={stated}", one.state)
            yield Case(deployment=msgspec.structs.replace(one, state=state), max_stale_ms=stated)


async def measure(
    case: Case,
    folder: Path,
    *,
    revocations: int = REVOCATIONS,
    env: Mapping[str, str] = MappingProxyType({}),
) -> dict[str, Any]:
    """Measure one case and return its row. The history and the servers' logs go to `folder`."""
    path = folder / "convergence" / case.name / "history.jsonl"
    settings = {**registry.settings(quick=False), **env}
    stack = NativeStack(
        case.deployment, app=AppSpec(root=registry.root()), folder=folder / "stacks" / case.name, env=settings
    )
    plan = Watch(
        capability=BRIEF if case.expiring else LONG,
        revocations=revocations,
        within_s=WITHIN_S + (case.max_stale_ms or 0) / 1e3,
        expiring=case.expiring,
    )
    try:
        async with stack:
            with HistoryWriter(path) as writer:
                workers = case.deployment.processes
                async with pinned(stack.replica_urls, workers=workers, writer=writer) as lanes:
                    await watch(lanes, plan)
    except StackUnavailable as error:
        return {**_about(case), "reason": str(error)}
    return row(case, path)


def row(case: Case, history: Path) -> dict[str, Any]:
    """Return the row of a history, by the columns of ``convergence.csv``. A value that was not seen is empty."""
    brackets = lags(history)
    about = _about(case)
    # where only expiry ended a token, its time is the life of our own token, and no figure of the deployment
    found = spread([inf if one.end is End.EXPIRY else one.upper_ns / 1e6 for one in brackets])
    if found is None:
        return {**about, "reason": "no revocation was acknowledged and then asked for"}
    closed = [one.width_ns / 1e6 for one in brackets if one.end is not End.NOT_SEEN]
    stated = case.max_stale_ms
    return {
        **about,
        "revocations": found.count,
        "end": worst(brackets),
        "p50_ms": _seen(found.p50),
        "p99_ms": _seen(found.p99),
        "max_ms": _seen(found.largest),
        "p99_high_ms": None if found.p99_high is None else _seen(found.p99_high),
        "max_covers": round(found.covers, 4) if isfinite(found.largest) else None,
        "seen_max_ms": round(max(one.lower_ns for one in brackets) / 1e6, 3),
        "width_p50_ms": round(median(closed), 3) if closed else None,
        "not_seen": sum(one.end is End.NOT_SEEN for one in brackets),
        "expired": sum(one.end is End.EXPIRY for one in brackets),
        "within_stated": None if stated is None else sum(one.upper_ns / 1e6 <= stated for one in brackets),
    }


def lags(history: Path) -> list[Bracket]:
    """The bracket of every token that was certainly revoked in a history."""
    found = []
    for case in cases(read_history(history)):
        revoke = case.certain()
        lag = lag_of(revoke, case) if revoke else None
        if lag is not None:
            found.append(lag)
    return found


def _about(case: Case) -> dict[str, Any]:
    one = case.deployment
    return {
        "deployment": one.name, "state": one.state_name, "workers": one.workers, "replicas": one.replicas,
        "max_stale_ms": case.max_stale_ms,
    }  # fmt: skip


def _seen(value: float) -> float | None:
    return round(value, 3) if isfinite(value) else None
