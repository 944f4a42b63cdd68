"""A run against what already runs: a deployment at a URL, or the stack of compose or of a swarm."""

from __future__ import annotations

import asyncio
import dataclasses
import os
import re
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from kernel_lab.bad_input import BadInput
from kernel_lab.deployments import StackUnavailable
from kernel_lab.deployments.attached import Asked, NotALab, attach
from kernel_lab.deployments.containers.compose import UP, ComposeStack, UnusableStack, find, open_running
from kernel_lab.deployments.containers.engine import NoEngine
from kernel_lab.deployments.containers.swarm import UP as UP_SWARM
from kernel_lab.deployments.containers.swarm import SwarmStack, find_swarm, open_on_swarm
from kernel_lab.deployments.deployment import Deployment
from kernel_lab.deployments.live import Live
from kernel_lab.redaction import without_credentials
from kernel_lab.run import registry
from kernel_lab.run.promises import Promises
from kernel_lab.run.schedule import OpenStack
from kernel_lab.traffic.address import WORKER_HEADER, Address
from kernel_lab.traffic.between import Between
from kernel_lab.traffic.client import Principal

AUTO, COMPOSE, SWARM, NONE = "auto", "compose", "swarm", "none"


@dataclass(frozen=True, slots=True, kw_only=True)
class Attached:
    """A deployment that is measured instead of deployments that the lab starts."""

    deployments: Sequence[Deployment]
    open: OpenStack
    about: Mapping[str, Any]
    """The facts that go into ``environment.json``."""
    ours: bool = True
    """Whether it runs the lab's own kernel, for which the expected verdicts are known."""
    address: Address | None = None
    """The way in which it is reached, where a URL alone does not say it."""
    facts: Mapping[str, Any] = field(default_factory=dict)
    """The values in force that its workers report, where they are not known beforehand."""
    spans_hosts: bool = False
    """Whether its hosts may be disturbed."""


_HEADER = re.compile(r"(?P<name>[A-Za-z0-9!#$%&'*+.^_`|~-]+): *(?P<value>[\x20-\x7e]*)")


@dataclass(frozen=True, slots=True, kw_only=True)
class Reach:
    """The way to an attached deployment, as the command line states it."""

    headers: Sequence[str] = field(default=(), repr=False)
    """``Name: value`` each."""
    token_env: str | None = None
    """The environment variable that holds a bearer token."""
    insecure: bool = False
    worker_header: str | None = None
    workers: int | None = None
    promises: Promises = field(default_factory=Promises)

    def address(self, urls: Sequence[str]) -> Address:
        """Return the address of the calls, and their headers.

        Raises:
            BadInput: A header cannot be sent, or the token is not there.
        """
        headers = dict(self._header(one) for one in self.headers)
        if self.token_env is not None:
            if any(re.match(r"https?://[^/]*@", url) for url in urls):
                raise BadInput("--token-env cannot be combined with a user in the URL: one of them is sent")
            token = os.environ.get(self.token_env, "").strip()
            if not token or not token.isascii() or not token.isprintable():
                raise BadInput(
                    f"--token-env {self.token_env}: that environment variable should hold a bearer token"
                )
            headers["Authorization"] = f"Bearer {token}"
        return Address(
            urls=tuple(urls),
            headers=headers,
            insecure=self.insecure,
            worker_header=self.worker_header or WORKER_HEADER,
            between=Between(),
        )

    @staticmethod
    def _header(text: str) -> tuple[str, str]:
        known = _HEADER.fullmatch(text)
        if known is None:
            name = text.partition(":")[0][:40]
            raise BadInput(f"--header {name!r}…: should be 'Name: value' in printable ASCII")
        if known["name"].lower().startswith("x-principal-"):
            raise BadInput(f"--header {known['name']}: the lab sets this header itself, one for each caller")
        return known["name"], known["value"]

    def asked(self) -> Asked:
        """Return the facts about the deployment that are known before the first call."""
        caller = self.promises.caller
        plain = Asked(workers=self.workers)
        return dataclasses.replace(
            plain,
            caller=Principal(
                name=plain.caller.name,
                roles=caller.roles or plain.caller.roles,
                tenant=caller.tenant or plain.caller.tenant,
                extra=dict(caller.headers),
            ),
            capabilities=[part.capability for part in self.promises.parts.values()],
        )

    def only_for_urls(self) -> None:
        """Refuse options that say how a URL is reached, where no URL is given.

        Raises:
            BadInput: Such an option was given.
        """
        for option, given in (
            ("--header", bool(self.headers)), ("--token-env", self.token_env is not None),
            ("--insecure", self.insecure), ("--worker-header", self.worker_header is not None),
        ):  # fmt: skip
            if given:
                raise BadInput(f"{option} needs --attach URL: it says how a running deployment is reached")


def look(
    to: Sequence[str],
    names: Sequence[str],
    *,
    quick: bool,
    tell: Callable[[str], None],
    reach: Reach | None = None,
) -> Attached | None:
    """Return the deployment that ``--attach`` names; None if the lab starts deployments itself.

    Args:
        to: ``none``; ``compose``: the compose stack; ``swarm``: the swarm's; ``auto``: the swarm's or the
            compose stack, if one is up; or the URLs of one deployment.
        names: The deployments that were asked for; if none, all of them.
        quick: Where no deployment is asked for, the deployments of a quick run.
        tell: Called with one line that says what was found.
        reach: How the URLs are reached.
    """
    reach = reach or Reach()
    if any("://" in one for one in to):
        if plain := [one for one in to if not re.fullmatch(r"https?://[^\s/].*", one)]:
            raise BadInput(f"--attach {plain[0]}: should be a URL that begins with http:// or https://")
        return _urls(to, names, reach, tell)
    reach.only_for_urls()
    if len(to) > 1:
        raise BadInput(
            f"--attach {to[1]}: only URLs can be given together, one for each host of a deployment"
        )
    return _known(to[0] if to else NONE, names, quick=quick, tell=tell)


def _known(to: str, names: Sequence[str], *, quick: bool, tell: Callable[[str], None]) -> Attached | None:
    """Return the meaning of a word after ``--attach``."""
    if to == NONE:
        return None
    if to in (AUTO, SWARM):
        on_swarm = _swarm_stack(to)
        if on_swarm is not None:
            return _swarm(on_swarm, names, tell=tell)
    if to in (AUTO, COMPOSE):
        stack = _stack(to, tell)
        return None if stack is None else _compose(stack, names, quick=quick, tell=tell)
    raise BadInput(f"--attach {to}: should be a URL, or one of: {AUTO}, {COMPOSE}, {SWARM}, {NONE}")


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
        running = stack.deployments[deployment.name]
        async with open_on_swarm(
            running, stack, row=deployment, logs=logs, tell=tell, env=env if needs_anew(env) else {}
        ) as live:
            yield live

    return Attached(
        deployments=[stack.deployments[name].row(known[name]) for name in chosen],
        open=opened,
        about={"swarm": stack.about},
        spans_hosts=True,
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


def _urls(urls: Sequence[str], names: Sequence[str], reach: Reach, tell: Callable[[str], None]) -> Attached:
    """Look at what runs at the URLs. One ``--deployment`` says which known deployment it is."""
    if len(names) > 1:
        raise BadInput("--attach goes with one --deployment at most: what runs at the URL is one deployment")
    if twice := [url for url in urls if list(urls).count(url) > 1]:
        raise BadInput(f"--attach {without_credentials(twice[0])}: named twice; name it once")
    address = reach.address(urls)
    try:
        found = asyncio.run(attach(address, reach.asked()))
    except NotALab as error:
        raise BadInput(str(error)) from None
    if names:
        known = registry.deployments()
        if names[0] not in known:
            raise BadInput(f"--deployment {names[0]}: not known; one of: {', '.join(known)}")
        found = dataclasses.replace(found, deployment=known[names[0]])
    for note in found.notes:
        tell(note)

    @asynccontextmanager
    async def opened(deployment: Deployment, env: dict[str, str], logs: Path) -> AsyncIterator[Live]:
        del deployment, logs
        _refuse_anew(env)
        yield found

    about = {"attached": ", ".join(without_credentials(url) for url in urls), "workers": list(found.notes)}
    return Attached(
        deployments=[found.deployment],
        open=opened,
        about=about,
        ours=False,
        address=address,
        facts=found.facts,
    )


def needs_anew(env: Mapping[str, str]) -> bool:
    """Whether a cell needs a deployment that nobody has used: it says how large the budget is."""
    return "LAB_BUDGET_TOTAL" in env


def _refuse_anew(env: Mapping[str, str]) -> None:
    if needs_anew(env):
        raise StackUnavailable("an attached deployment cannot be started anew for this cell")
