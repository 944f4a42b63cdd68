"""Measure the state that an operator's step loses: reload, recycle, restart, scale up, restart the store.

``python -m kernel_lab.runbook`` starts a deployment, makes state, and counts wrong answers about it. (A deployment that
shares its state gives none.) Then it does one step, and counts again. ``runbook.csv`` has one row per deployment, step
and kind of state: the number of wrong answers and of all answers, before and after.

- revocations: revoked tokens that were accepted;
- windows: grants admitted by a window that was full;
- handles, traces: those made before that were not found.

A call whose outcome is unknown (no answer, or a server's error) is not counted. Where the state could not
be made, or the step did not take place, the row of that step says why.
"""

from __future__ import annotations

import argparse
import asyncio
import itertools
import sys
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, cast

from kernel_lab.bad_input import EXIT_CODE
from kernel_lab.deployments import AppSpec, NativeStack, StackUnavailable
from kernel_lab.deployments.live import StackFailed
from kernel_lab.faults.fault import Fault
from kernel_lab.faults.workers import again
from kernel_lab.judge.history import HistoryWriter
from kernel_lab.judge.operation import Outcome
from kernel_lab.run import environment, registry
from kernel_lab.run.folder import RunFolder
from kernel_lab.run.results import write_rows
from kernel_lab.traffic.call import Reply
from kernel_lab.traffic.client import Principal, Recorder, RecordingClient
from kernel_lab.traffic.connections import Fresh

COLUMNS = ("deployment", "step", "kind", "asked", "before", "after", "reason")
DEPLOYMENTS = ("single", "memory-4", "sqlite", "redis", "sidecar")
TOKENS = 8
ASKS = 4
"""The number of times that each token, handle and action is asked for. Fresh connections reach several workers."""
LIMIT = 4
ENV = {"LAB_RATE_LIMITS": f"READ=1000000/60,WRITE={LIMIT}/120,DESTRUCTIVE=2/120"}
READ, WRITE = "billing.get_invoice", "billing.update_invoice"

Step = Callable[[NativeStack], Awaitable[None]]


def of_fault(fault: Fault) -> Step:
    """The step that is a fault of workers too.

    Raises:
        StackFailed: The step did not take place.
    """

    async def step(stack: NativeStack) -> None:
        async with fault.inject(stack, None) as landing:
            if not landing.landed:
                raise StackFailed(f"{fault.name}: {landing.evidence}")

    return step


async def restart_store(stack: NativeStack) -> None:
    """Stop the store and start it again. The store keeps nothing on disk."""
    await again(stack, "store", {})


STEPS: dict[str, Step] = {
    **{name: of_fault(registry.faults()[name]) for name in ("reload", "recycle", "restart")},
    "restart_store": restart_store,
    "scale_up": of_fault(registry.faults()["scale_up"]),
}
"""The steps, in the order in which they are done on one stack. The last one leaves one worker more."""


class NotMade(Exception):  # noqa: N818 - the state is what is missing
    """The state that a step is to disturb could not be made; the message names the call and its error."""


def _made(f: str, reply: Reply) -> dict[str, Any]:
    """Return the answer of a call that makes state.

    Raises:
        NotMade: It failed, or nobody knows whether it did.
    """
    if not reply.ok:
        raise NotMade(f"before the step, {f} answered {reply.error}")
    return cast("dict[str, Any]", reply.body)


@dataclass(slots=True, kw_only=True)
class Held:
    """The state that a principal has before a step."""

    agent: RecordingClient
    revoked: list[dict[str, Any]] = field(default_factory=list)
    handles: list[str] = field(default_factory=list)
    actions: list[str] = field(default_factory=list)

    @classmethod
    async def make(cls, agent: RecordingClient) -> Held:
        """Invoke with some tokens, revoke them, fill the window.

        Raises:
            NotMade: A grant, an invoke or a revoke did not succeed.
        """
        held = cls(agent=agent)
        for _ in range(TOKENS):
            token = _made("grant", await agent.grant(READ))["token"]
            invoked = _made("invoke", await agent.invoke(token))
            held.handles.append(invoked["handle_id"])
            held.actions.append(invoked["action_id"])
            _made("revoke", await agent.revoke(token["token_id"]))
            held.revoked.append(token)
        for _ in range(LIMIT * ASKS * 2):
            await agent.grant(WRITE)
        return held

    async def wrong(self) -> dict[str, tuple[int, int]]:
        """Per kind of state: how many answers were wrong, of how many that are known."""

        async def count(calls: Sequence[Awaitable[Reply]], wrong: Callable[[Reply], bool]) -> tuple[int, int]:
            replies = [await call for call in calls]
            known = [reply for reply in replies if reply.outcome is not Outcome.INFO]
            return sum(wrong(reply) for reply in known), len(known)

        agent, times = self.agent, range(ASKS)
        return {
            "revocations": await count([agent.invoke(t) for t in self.revoked for _ in times], _accepted),
            "windows": await count([agent.grant(WRITE) for _ in range(LIMIT * ASKS)], _accepted),
            "handles": await count([agent.expand(h) for h in self.handles for _ in times], _missing),
            "traces": await count([agent.explain(a) for a in self.actions for _ in times], _missing),
        }


def _accepted(reply: Reply) -> bool:
    return reply.ok


def _missing(reply: Reply) -> bool:
    return reply.error in ("handle_not_found", "trace_not_found")


async def measure(name: str, folder: Path) -> list[dict[str, Any]]:
    """Every step on one deployment, each after state was made anew."""
    deployment = registry.deployments()[name]
    rows: list[dict[str, Any]] = []
    spec = AppSpec(root=registry.root())
    try:
        async with NativeStack(deployment, app=spec, folder=folder / "stacks" / name, env=ENV) as stack:
            for number, (step, do) in enumerate(STEPS.items()):
                if step == "restart_store" and "store" not in stack.processes:
                    continue
                try:
                    rows += await _one(stack, name, step, do, number, folder)
                except (NotMade, StackFailed) as error:
                    rows.append({"deployment": name, "step": step, "reason": str(error)})
    except StackUnavailable as error:
        rows.append({"deployment": name, "reason": str(error)})
    return rows


async def _one(
    stack: NativeStack, name: str, step: str, do: Step, number: int, folder: Path
) -> list[dict[str, Any]]:
    connections = Fresh(stack.base_url, (f"k{n}" for n in itertools.count()))
    try:
        with HistoryWriter(folder / "runbook" / name / step / "history.jsonl") as writer:
            held = await Held.make(
                RecordingClient(Recorder(writer), connections, Principal(name=f"p{number}"))
            )
            before = await held.wrong()
            await do(stack)
            after = await held.wrong()
    finally:
        await connections.aclose()
    return [
        {"deployment": name, "step": step, "kind": kind, "asked": of, "before": before[kind][0], "after": now}
        for kind, (now, of) in after.items()
    ]


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure the steps and write ``runbook.csv``."""
    parser = argparse.ArgumentParser(prog="make runbook", description="What each step of an operator loses.")
    parser.add_argument("--deployment", action="append", choices=registry.deployments(), help="only this one")
    parser.add_argument("--out", type=Path, help="a new folder [results/runbook-<time>]")
    given = parser.parse_args(arguments)
    stamp = datetime.now(tz=UTC).strftime("%Y%m%dT%H%M%SZ")
    folder: Path = (given.out or registry.results() / f"runbook-{stamp}").absolute()
    if folder.exists():
        print(f"make runbook: {folder}: is there already; name a new folder", file=sys.stderr)
        return EXIT_CODE
    folder.mkdir(parents=True)
    about = environment.describe(registry.checkout()) | {"arguments": sys.argv[1:], "settings": ENV}
    rows: list[dict[str, Any]] = []
    for name in given.deployment or DEPLOYMENTS:
        rows += asyncio.run(measure(name, folder))
        write_rows(RunFolder(folder).table("runbook"), COLUMNS, rows)
    about["finished"] = datetime.now(tz=UTC).isoformat(timespec="seconds")
    RunFolder(folder).write_environment(about)
    for row in rows:
        print("  ".join(f"{row.get(column, '')!s:13}" for column in COLUMNS[:-1]) + row.get("reason", ""))
    return 0


if __name__ == "__main__":
    sys.exit(main())
