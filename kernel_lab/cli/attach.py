"""A run against what already runs: a deployment at a URL, or the stack of compose or of a swarm."""

from __future__ import annotations

import asyncio
import dataclasses
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from kernel_lab.bad_input import BadInput
from kernel_lab.deployments import StackUnavailable
from kernel_lab.deployments.attached import NotALab, attach
from kernel_lab.deployments.containers.compose import UP, ComposeStack, UnusableStack, find, open_running
from kernel_lab.deployments.containers.engine import NoEngine
from kernel_lab.deployments.containers.swarm import UP as UP_SWARM
from kernel_lab.deployments.containers.swarm import SwarmStack, find_swarm, open_on_swarm
from kernel_lab.deployments.deployment import Deployment
from kernel_lab.deployments.live import Live
from kernel_lab.redaction import without_credentials
from kernel_lab.run import registry
from kernel_lab.run.schedule import OpenStack

AUTO, COMPOSE, SWARM, NONE = "auto", "compose", "swarm", "none"


@dataclass(frozen=True, slots=True, kw_only=True)
class Attached:
    """What is measured instead of deployments of our own."""

    deployments: Sequence[Deployment]
    open: OpenStack
    about: Mapping[str, Any]
    """For ``environment.json``."""
    ours: bool = True
    """Whether it runs the lab's own kernel, of which is known what to expect."""


def look(to: str, names: Sequence[str], *, quick: bool, tell: Callable[[str], None]) -> Attached | None:
    """What ``--attach`` means here; None: deployments are started.

    Args:
        to: ``none``; ``compose``: the compose stack; ``swarm``: the swarm's; ``auto``: the swarm's or the
            compose stack, if one is up; or a URL.
        names: The deployments that were asked for; none are all there are.
        quick: Where none are asked for, those of a quick run.
        tell: Told in one line what was found.
    """
    if to == NONE:
        return None
    if to in (AUTO, SWARM):
        on_swarm = _swarm_stack(to)
        if on_swarm is not None:
            return _swarm(on_swarm, names, tell=tell)
    if to in (AUTO, COMPOSE):
        stack = _stack(to, tell)
        return None if stack is None else _compose(stack, names, quick=quick, tell=tell)
    if "://" not in to:
        raise BadInput(f"--attach {to}: should be a URL, or one of: {AUTO}, {COMPOSE}, {SWARM}, {NONE}")
    return _url(to, names)


def _stack(to: str, tell: Callable[[str], None]) -> ComposeStack | None:
    try:
        stack = asyncio.run(find(registry.root()))
    except UnusableStack as error:
        raise BadInput(f"{error} (--attach {NONE} measures without it)") from None
    except NoEngine as error:
        if to == COMPOSE:
            raise BadInput(f"--attach {COMPOSE}: {error}") from None
        stack = None
    if stack is None and to == COMPOSE:
        raise BadInput(f"--attach {COMPOSE}: no compose stack is up: {UP}")
    if stack is None:
        tell("no compose stack is up: deployments are started here")
    return stack


def _swarm_stack(to: str) -> SwarmStack | None:
    try:
        stack = asyncio.run(find_swarm(registry.root()))
    except UnusableStack as error:
        raise BadInput(f"{error} (--attach {NONE} measures without it)") from None
    except NoEngine as error:
        if to == SWARM:
            raise BadInput(f"--attach {SWARM}: {error}") from None
        return None
    if stack is None and to == SWARM:
        raise BadInput(f"--attach {SWARM}: no stack of ours is up on a swarm: {UP_SWARM}")
    return stack


def _swarm(stack: SwarmStack, names: Sequence[str], *, tell: Callable[[str], None]) -> Attached:
    known = registry.hosts()
    there = [name for name in stack.deployments if name in known]
    if absent := [name for name in names if name not in there]:
        raise BadInput(
            f"--deployment {absent[0]}: the swarm has {', '.join(there)}; --attach {NONE} starts it here"
        )
    chosen = names or there
    tell(f"a swarm of {len(stack.nodes)} hosts is up: measured there are {', '.join(chosen)}")

    @asynccontextmanager
    async def opened(deployment: Deployment, env: dict[str, str], logs: Path) -> AsyncIterator[Live]:
        _refuse_anew(env)
        running = stack.deployments[deployment.name]
        async with open_on_swarm(running, stack, row=deployment, logs=logs, tell=tell) as live:
            yield live

    return Attached(
        deployments=[stack.deployments[name].row(known[name]) for name in chosen],
        open=opened,
        about={"swarm": stack.about},
    )


def _compose(
    stack: ComposeStack, names: Sequence[str], *, quick: bool, tell: Callable[[str], None]
) -> Attached:
    known = registry.deployments()
    there = [name for name in stack.deployments if name in known]
    if absent := [name for name in names if name not in there]:
        raise BadInput(
            f"--deployment {absent[0]}: the compose stack has {', '.join(there)}; "
            f"--attach {NONE} starts it here"
        )
    chosen = names or [name for name in there if not quick or name in registry.QUICK_DEPLOYMENTS] or there
    tell(f"the compose stack is up: measured there are {', '.join(chosen)}")

    @asynccontextmanager
    async def opened(deployment: Deployment, env: dict[str, str], logs: Path) -> AsyncIterator[Live]:
        _refuse_anew(env)
        running = stack.deployments[deployment.name]
        async with open_running(running, stack, row=deployment, logs=logs, tell=tell) as live:
            yield live

    return Attached(
        deployments=[stack.deployments[name].row(known[name]) for name in chosen],
        open=opened,
        about={"compose": stack.about},
    )


def _url(url: str, names: Sequence[str]) -> Attached:
    """Look at what runs at `url`; one ``--deployment`` says which of the known ones it is."""
    if len(names) > 1:
        raise BadInput("--attach goes with one --deployment at most: what runs at the URL is one deployment")
    try:
        found = asyncio.run(attach(url))
    except NotALab as error:
        raise BadInput(str(error)) from None
    if names:
        known = registry.deployments()
        if names[0] not in known:
            raise BadInput(f"--deployment {names[0]}: not known; one of: {', '.join(known)}")
        found = dataclasses.replace(found, deployment=known[names[0]])

    @asynccontextmanager
    async def opened(deployment: Deployment, env: dict[str, str], logs: Path) -> AsyncIterator[Live]:
        del deployment, logs
        _refuse_anew(env)
        yield found

    return Attached(
        deployments=[found.deployment],
        open=opened,
        about={"attached": without_credentials(url)},
        ours=False,
    )


def _refuse_anew(env: Mapping[str, str]) -> None:
    if "LAB_BUDGET_TOTAL" in env:
        raise StackUnavailable("an attached deployment cannot be started anew for this cell")
