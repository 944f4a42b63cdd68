"""The stack that ``docker stack deploy`` started on several hosts: found by the labels of its services.

A service labelled ``kernel-lab.deployment: hosts-redis`` is that deployment, and each of its tasks is one
replica. The service labelled ``kernel-lab.part: balancer`` publishes a port for each deployment on the host
where it runs. Every worker's name begins with its host: ``<node>.<task>/<pid>/<boot>``.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Iterable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec

from kernel_lab.deployments.attached import AttachedStack, meet
from kernel_lab.deployments.containers.anew import Json, given, settle
from kernel_lab.deployments.containers.anew import running as running_tasks
from kernel_lab.deployments.containers.code import differing, ours
from kernel_lab.deployments.containers.compose import (  # fmt: skip
    DEPLOYMENT,
    PART,
    WORKERS_S,
    Running,
    UnusableStack,
    ask_each,
)
from kernel_lab.deployments.containers.control import SwarmHosts
from kernel_lab.deployments.containers.engine import NoEngine, docker, happenings, save_log
from kernel_lab.deployments.containers.hosts import FILE, BadHosts, Hosts, read_hosts
from kernel_lab.deployments.deployment import Deployment
from kernel_lab.deployments.live import NOTHING, Node

UP = "make up-swarm"
NODE_CHARACTERS = 8
"""The number of characters of a node's id with which the name of each of its workers begins
(deploy/swarm/compose.yml)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SwarmStack:
    """The deployments of a swarm that is up."""

    manager: str
    """The address of the manager's engine; empty for the engine of the environment."""
    deployments: Mapping[str, Running]
    nodes: tuple[Node, ...]
    """Each node with its label ``host``, or with its host name where it has no label."""
    busy: frozenset[str] = frozenset()
    """Hosts that have a store or a balancer."""
    root: Path = Path()
    hosts: Hosts | None
    """The commands that cut hosts off, where the file names them."""
    about: Mapping[str, Any]
    """The facts that go into ``environment.json``."""

    def host_of(self, worker: str) -> str:
        """The host on which a worker runs; empty where its name begins with none of them."""
        prefix = worker.partition(".")[0]
        return next((node.host for node in self.nodes if node.id[:NODE_CHARACTERS] == prefix), "")


async def find_swarm(root: Path) -> SwarmStack | None:
    """The stack that is up on a swarm, or None.

    Args:
        root: The checkout whose code it must run; its ``.hosts.toml`` says where the manager answers.

    Raises:
        NoEngine: No engine can be asked.
        UnusableStack: It runs other code than `root` holds, or has no balancer.
    """
    try:
        hosts = read_hosts(root / FILE)
    except BadHosts as error:
        raise UnusableStack(str(error)) from None
    manager = hosts.manager if hosts else ""
    swarm = await docker("info", "--format", "{{.Swarm.ControlAvailable}}", engine=manager)
    if swarm.strip() != "true":
        return None
    ids = (await docker("service", "ls", "--quiet", "--filter", f"label={PART}", engine=manager)).split()
    if not ids:
        return None
    services: list[Json] = msgspec.json.decode(await docker("service", "inspect", *ids, engine=manager))
    workers = [one for one in services if _label(one, DEPLOYMENT)]
    if not workers:
        return None
    nodes = await _nodes(manager)
    images = sorted({_image(one) for one in workers})
    await _same_code(root, images, manager)
    if hosts:
        await _same_images(images, hosts)
    urls = {name: url for name, url, _ in await ask_each(await _addresses(services, nodes, manager))}
    return SwarmStack(
        manager=manager,
        deployments={name: _running(one, url) for name, url in urls.items() for one in _named(workers, name)},
        nodes=nodes,
        busy=await _busy(services, nodes, manager),
        root=root,
        hosts=hosts,
        about={
            "engine": (await docker("version", "--format", "{{.Server.Version}}", engine=manager)).strip(),
            "hosts": {node.host: {"node": node.id, "address": node.address} for node in nodes},
            "services": {_name(one): {"image": _image(one), "replicas": _replicas(one)} for one in services},
        },
    )


@asynccontextmanager
async def open_on_swarm(
    running: Running, stack: SwarmStack, *, row: Deployment, logs: Path, tell: Callable[[str], None],
    env: Mapping[str, str] = NOTHING,
) -> AsyncIterator[AttachedStack]:  # fmt: skip
    """A deployment of the swarm, for as long as it is measured.

    If a cell has its own settings, the deployment starts anew.

    The folder `logs` gets the output of its tasks (``server-<service>.log``) and the events of the swarm's
    services and nodes (``hosts.log``). `tell` is called with one line about such events.

    Raises:
        TimeoutError: Fewer workers answer than the service should have.
        StackFailed: Its tasks did not end, or did not start.
    """
    [service] = running.containers
    await settle(service, env, url=running.url, manager=stack.manager)
    met = await meet(running.url, expected=running.workers * running.replicas, within_s=WORKERS_S)
    if strangers := sorted(worker for worker in met if not stack.host_of(worker)):
        raise UnusableStack(f"{strangers[0]}: this worker's name begins with no node of the swarm: {UP}")
    spread = {stack.host_of(worker) for worker in met}
    tell(f"{running.name}: {len(met)} workers answer from {len(spread)} hosts")
    logs.mkdir(parents=True, exist_ok=True)
    files = {service: logs / f"server-{service}.log"}
    for file in files.values():
        file.touch()
    async with happenings("", logs / "hosts.log", engine=stack.manager, scope="swarm") as happened:
        try:
            yield AttachedStack(
                deployment=row,
                base_url=running.url,
                expected_workers=len(met),
                hosts=SwarmHosts(
                    service=service, manager=stack.manager, nodes=stack.nodes, busy=stack.busy, file=stack.hosts,
                    root=stack.root,
                ),
            )  # fmt: skip
        finally:
            for service, file in files.items():
                await save_log(service, file, since_s=happened.since_s, service=True, engine=stack.manager)
    if events := happened.events():
        tell(f"while {running.name} was measured: {', '.join(dict.fromkeys(events))}; see hosts.log")


def _label(service: Json, name: str) -> str:
    return str(service["Spec"]["Labels"].get(name, ""))


def _name(service: Json) -> str:
    return str(service["Spec"]["Name"])


def _named(services: Iterable[Json], deployment: str) -> list[Json]:
    return [one for one in services if _label(one, DEPLOYMENT) == deployment]


def _image(service: Json) -> str:
    return str(service["Spec"]["TaskTemplate"]["ContainerSpec"]["Image"])


def _replicas(service: Json) -> int:
    return int(service["Spec"]["Mode"].get("Replicated", {}).get("Replicas", 0))


def _running(service: Json, url: str) -> Running:
    settings = given(service)
    return Running(
        name=_label(service, DEPLOYMENT),
        url=url,
        workers=int(settings.env.get("LAB_WORKERS") or 1),
        replicas=settings.replicas,
        containers=(_name(service),),
    )


async def _busy(services: Iterable[Json], nodes: Sequence[Node], manager: str) -> frozenset[str]:
    """The hosts that run something other than workers, and the host of the manager."""
    leaders = (await docker("node", "ls", "--quiet", "--filter", "role=manager", engine=manager)).split()
    there = {node.id for node in nodes if any(node.id.startswith(one) for one in leaders)}
    for service in services:
        if not _label(service, DEPLOYMENT):
            there |= {task["NodeID"] for task in await running_tasks(_name(service), manager)}
    return frozenset(node.host for node in nodes if node.id in there)


async def _nodes(manager: str) -> tuple[Node, ...]:
    ids = (await docker("node", "ls", "--quiet", engine=manager)).split()
    described: list[Json] = msgspec.json.decode(await docker("node", "inspect", *ids, engine=manager))
    nodes = [
        Node(
            id=one["ID"],
            host=one["Spec"]["Labels"].get("host") or one["Description"]["Hostname"],
            address=one["Status"]["Addr"],
        )
        for one in described
    ]
    return tuple(sorted(nodes, key=lambda node: node.host))


async def _addresses(services: Iterable[Json], nodes: Sequence[Node], manager: str) -> list[str]:
    """The addresses that the balancers publish on the hosts where they run."""
    balancers = [one for one in services if _label(one, PART) == "balancer"]
    address = {node.id: node.address for node in nodes}
    found = set()
    for balancer in balancers:
        ports = balancer["Endpoint"].get("Ports") or balancer["Spec"]["EndpointSpec"].get("Ports") or ()
        for task in await running_tasks(_name(balancer), manager):
            found |= {f"http://{address[task['NodeID']]}:{port['PublishedPort']}" for port in ports}
    if not found:
        raise UnusableStack(f"the swarm's stack has no balancer running: {UP}")
    return sorted(found)


async def _same_code(root: Path, images: Sequence[str], manager: str) -> None:
    """Refuse a stack whose code differs from the checkout, because its figures would carry the checkout's commit."""
    expected = ours(root)
    for image in images:
        listed = await docker(
            "run", "--rm", "--network", "none", "--entrypoint", "sh", image, "-c",
            "find lab constraints.txt -type f -exec sha256sum {} +", engine=manager, within_s=60,
        )  # fmt: skip
        if said := differing(expected, listed):
            raise UnusableStack(f"the swarm's stack runs another version of the lab ({said}): {UP}")


async def _same_images(images: Sequence[str], hosts: Hosts) -> None:
    """Refuse hosts that have different images under one tag."""
    for image in images:
        found = await asyncio.gather(
            *(
                docker("image", "inspect", "--format", "{{.Id}}", image, engine=host.engine)
                for host in hosts.host
            ),
            return_exceptions=True,
        )
        for host, said in zip(hosts.host, found, strict=True):
            if isinstance(said, NoEngine):
                raise UnusableStack(f"host {host.name}: {said}")
            if isinstance(said, BaseException):
                raise said
            if said != found[0]:
                raise UnusableStack(f"host {host.name} has another image under the name {image}: {UP}")
