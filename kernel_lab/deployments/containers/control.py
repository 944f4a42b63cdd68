"""The hosts of a swarm, as a fault disturbs them: with the swarm's own commands, and with those of ``.hosts.toml``."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from kernel_lab.deployments.containers.anew import Json, running
from kernel_lab.deployments.containers.engine import NoEngine, docker
from kernel_lab.deployments.containers.hosts import FILE, Hosts, Link
from kernel_lab.deployments.live import Node, StackFailed

COMMAND_S = 60.0
GOSSIP = 7946
"""The port over which the hosts of a swarm tell each other that they are there."""
STORE_PORT = 6379
ANSWER_S = 1
ROLL_S = 240.0
"""The most seconds of a rolling update. The engine watches each task for some seconds before it goes on."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SwarmHosts:
    """The hosts that one deployment spans: `kernel_lab.deployments.live.SpannedHosts`."""

    service: str
    manager: str
    """The address of the manager's engine."""
    nodes: tuple[Node, ...]
    busy: frozenset[str]
    """The hosts that run the manager, a store or a balancer."""
    file: Hosts | None
    root: Path
    """The checkout: the commands of ``.hosts.toml`` run there."""

    @property
    def spare(self) -> Node | None:
        """The last host that runs only workers: no store, no balancer, and not the manager."""
        others = [node for node in self.nodes if node.host not in self.busy]
        return others[-1] if others else None

    def lacks(self, host: str) -> str:
        """Return why a host (or ``store``) cannot be cut off; an empty text where it can."""
        link = self._link(host)
        what = "store" if host == "store" else f"host {host}"
        return "" if link.cut and link.heal else f"{FILE} does not say how the {what} is cut off and healed"

    async def cut(self, host: str) -> None:
        """Take a host, or ``store``, off the network."""
        await self._command(self._link(host).cut)

    async def heal(self, host: str) -> None:
        """Put it back."""
        await self._command(self._link(host).heal)

    async def reaches(self, node: Node) -> bool:
        """Whether a host can be reached from here."""
        with suppress(OSError, TimeoutError):
            async with asyncio.timeout(ANSWER_S):
                _, writer = await asyncio.open_connection(node.address, GOSSIP)
                writer.close()
                return True
        return False

    async def reaches_store(self) -> bool:
        """Whether a worker's container reaches the store."""
        asked = f"exec 3<>/dev/tcp/store/{STORE_PORT}"
        for task in await running(self.service, self.manager):
            container = task["Status"].get("ContainerStatus", {}).get("ContainerID", "")
            command = ("timeout", str(ANSWER_S), "bash", "-c", asked)
            try:
                await docker("exec", container, *command, engine=self._engine(task))
            except NoEngine:
                return False
            return True
        return False

    async def tasks(self) -> Mapping[str, str]:
        """The running tasks of the deployment: the host of each."""
        found = await running(self.service, self.manager)
        return {task["ID"]: self._host(task) for task in found}

    async def roll(self) -> None:
        """Replace every task, one after another, each before its predecessor ends; wait until that is done."""
        await docker(
            "service", "update", "--force", "--quiet", "--detach=false", "--update-parallelism", "1",
            "--update-order", "start-first", self.service, engine=self.manager, within_s=ROLL_S,
        )  # fmt: skip

    async def drain(self, node: Node) -> None:
        """Have the swarm take every task off a host."""
        await docker("node", "update", "--availability", "drain", node.id, engine=self.manager)

    async def activate(self, node: Node) -> None:
        """Let a host run tasks again."""
        await docker("node", "update", "--availability", "active", node.id, engine=self.manager)

    async def all_ready(self) -> bool:
        """Whether the swarm's manager counts every host as reachable."""
        told = await docker("node", "ls", "--format", "{{.Status}} {{.Availability}}", engine=self.manager)
        return all(line == "Ready Active" for line in told.splitlines())

    def _link(self, host: str) -> Link:
        if self.file is None:
            return Link()
        if host == "store":
            return self.file.store
        return next((one for one in self.file.host if one.name == host), Link())

    def _host(self, task: Json) -> str:
        return next((node.host for node in self.nodes if node.id == task["NodeID"]), "")

    def _engine(self, task: Json) -> str:
        """The engine that has a task's container."""
        hosts = self.file.host if self.file else ()
        return next((one.engine for one in hosts if one.name == self._host(task)), self.manager)

    async def _command(self, words: tuple[str, ...]) -> None:
        process = await asyncio.create_subprocess_exec(
            *words, cwd=self.root, stdin=asyncio.subprocess.DEVNULL, stdout=asyncio.subprocess.DEVNULL,
            stderr=asyncio.subprocess.PIPE,
        )  # fmt: skip
        async with asyncio.timeout(COMMAND_S):
            _, said = await process.communicate()
        if process.returncode:
            why = said.decode(errors="replace").strip().partition("\n")[0]
            raise StackFailed(f"{FILE}: {' '.join(words)} ended with {process.returncode}: {why}")
