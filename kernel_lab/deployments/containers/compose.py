"""The stack that ``docker compose up`` started: found by its labels, reached over its balancer's ports.

A container labelled ``kernel-lab.deployment: redis`` is one replica of that deployment; the one labelled
``kernel-lab.part: balancer`` publishes a port for each, and its replies name the deployment that a port
leads to (``X-Lab-Deployment``). Containers are looked at, never touched: whoever started them ends them.
"""

from __future__ import annotations

import asyncio
import os
import re
from collections import defaultdict
from collections.abc import AsyncIterator, Callable, Iterable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import msgspec

from kernel_lab.deployments.attached import AttachedStack, attach, meet
from kernel_lab.deployments.containers.code import differing, ours
from kernel_lab.deployments.containers.engine import ANSWER_S, docker, happenings, save_log
from kernel_lab.deployments.deployment import Deployment
from kernel_lab.traffic.address import Address, open_http

DEPLOYMENT = "kernel-lab.deployment"
PART = "kernel-lab.part"
PROJECT = "com.docker.compose.project"
DEPLOYMENT_HEADER = "x-lab-deployment"

UP = "docker compose up --build --wait"
WORKERS_S = 60.0
"""The most seconds that all workers of a deployment may take to answer."""

Container = Mapping[str, Any]
"""The reply of ``docker inspect`` for one container."""


class UnusableStack(RuntimeError):  # noqa: N818 - it names a thing
    """A stack is up that should not be measured; the message says why, and what would be right."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Running:
    """One deployment of the stack, as it runs."""

    name: str
    url: str
    workers: int
    """Per replica."""
    replicas: int
    containers: tuple[str, ...] = ()
    """Their names; none where there is no engine to ask."""

    def row(self, declared: Deployment) -> Deployment:
        """The deployment's row with the real numbers. Here a balancer stands in front of every deployment."""
        return msgspec.structs.replace(
            declared,
            title=f"{declared.title}; here {self.replicas} × {self.workers} in containers behind nginx",
            workers=self.workers,
            replicas=self.replicas,
            routing="round_robin" if declared.routing == "direct" else declared.routing,
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class ComposeStack:
    """The deployments of a compose stack that is up."""

    project: str
    """Empty where there is no engine to ask."""
    deployments: Mapping[str, Running]
    about: Mapping[str, Any]
    """For ``environment.json``: the engine, the containers, their images and limits."""


async def find(root: Path, *, environ: Mapping[str, str] = os.environ) -> ComposeStack | None:
    """The stack that is up, or None.

    Args:
        root: The checkout whose code it must run.
        environ: ``LAB_STACK=http://nginx:8101-8110`` names the balancer where no engine can be asked, from
            inside of the stack's own networks; ``COMPOSE_PROJECT_NAME`` chooses among several stacks.

    Raises:
        NoEngine: No engine can be asked.
        UnusableStack: It runs other code than `root` holds, has no balancer, or several stacks are up.
    """
    if balancer := environ.get("LAB_STACK"):
        return await _look_from_inside(balancer)
    ids = (await docker("ps", "--all", "--quiet", "--filter", f"label={PART}")).split()
    if not ids:
        return None
    containers: list[Container] = msgspec.json.decode(await docker("inspect", *ids))
    project = _project(containers, environ.get("COMPOSE_PROJECT_NAME"))
    containers = [one for one in containers if _label(one, PROJECT) == project]
    workers = [one for one in containers if _label(one, DEPLOYMENT) and one["State"]["Running"]]
    if not workers:
        return None
    await _same_code(root, workers)
    # the reply names the deployment even if no worker is up yet, so the lab waits for the workers
    urls = {name: url for name, url, _ in await ask_each(_addresses(project, containers))}
    return ComposeStack(
        project=project,
        deployments=_deployments(workers, urls),
        about={
            "project": project,
            "engine": (await docker("version", "--format", "{{.Server.Version}}")).strip(),
            "containers": {_name(one): _describe(one) for one in containers},
        },
    )


@asynccontextmanager
async def open_running(
    running: Running, stack: ComposeStack, *, row: Deployment, logs: Path, tell: Callable[[str], None]
) -> AsyncIterator[AttachedStack]:
    """A deployment of the stack, for as long as it is measured.

    `logs` gets what its containers wrote meanwhile (``server-<container>.log``) and what the engine saw
    happen to the stack's containers (``containers.log``): killed, paused, started again, one more of them.
    `tell` is called with one line about such events.

    Raises:
        TimeoutError: Fewer workers answer than the containers were started with.
    """
    met = await meet(running.url, expected=running.workers * running.replicas, within_s=WORKERS_S)
    live = AttachedStack(deployment=row, base_url=running.url, expected_workers=len(met))
    if not running.containers:
        yield live
        return
    logs.mkdir(parents=True, exist_ok=True)
    files = {container: logs / f"server-{container}.log" for container in running.containers}
    for file in files.values():
        file.touch()  # the file is made at the beginning, because each cell links to its stack's logs
    async with happenings(f"{PROJECT}={stack.project}", logs / "containers.log") as happened:
        try:
            yield live
        finally:
            for container, file in files.items():
                await save_log(container, file, since_s=happened.since_s)
    if events := happened.events():
        tell(f"while {running.name} was measured: {', '.join(events)}; see containers.log")


def _label(container: Container, name: str) -> str:
    return str(container["Config"]["Labels"].get(name, ""))


def _name(container: Container) -> str:
    return str(container["Name"]).lstrip("/")


def _project(containers: Iterable[Container], wanted: str | None) -> str:
    """The one project to which these containers belong, or the project that is asked for."""
    projects = sorted({_label(one, PROJECT) for one in containers})
    if wanted is None and len(projects) > 1:
        raise UnusableStack(
            f"several compose stacks are here ({', '.join(projects)}): COMPOSE_PROJECT_NAME says which"
        )
    return wanted or projects[0]


def _addresses(project: str, containers: Iterable[Container]) -> list[str]:
    """The addresses that the balancer publishes."""
    bound = [
        binding
        for one in containers
        if _label(one, PART) == "balancer" and one["State"]["Running"]
        for bindings in one["NetworkSettings"]["Ports"].values()
        for binding in bindings or ()
    ]
    if not bound:
        raise UnusableStack(f"the compose stack {project} has no balancer running: {UP}")
    return sorted({f"http://{binding['HostIp']}:{binding['HostPort']}" for binding in bound})


async def ask_each(urls: Iterable[str]) -> list[tuple[str, str, bool]]:
    """(deployment, URL, whether a worker of it answered), in the order of the URLs."""

    async def ask(url: str) -> tuple[str, str, bool]:
        try:
            async with open_http(url, kept=False, timeout_s=ANSWER_S) as http:
                reply = await http.get("/healthz", headers={"Connection": "close"})
        except (httpx.HTTPError, OSError):
            return "", url, False
        return reply.headers.get(DEPLOYMENT_HEADER, ""), url, reply.is_success

    return [answer for answer in await asyncio.gather(*map(ask, urls)) if answer[0]]


def _deployments(containers: Iterable[Container], urls: Mapping[str, str]) -> dict[str, Running]:
    """The deployments whose containers run, in the order of the ports."""
    groups: dict[str, list[Container]] = defaultdict(list)
    for one in containers:
        groups[_label(one, DEPLOYMENT)].append(one)
    return {
        name: Running(
            name=name,
            url=url,
            workers=_workers(groups[name][0]),
            replicas=len(groups[name]),
            containers=tuple(sorted(map(_name, groups[name]))),
        )
        for name, url in urls.items()
        if name in groups
    }


def _workers(container: Container) -> int:
    """Return the number of workers that a container was started with."""
    env = dict(line.partition("=")[::2] for line in container["Config"]["Env"] or ())
    return int(env.get("LAB_WORKERS") or 1)


def _describe(container: Container) -> dict[str, Any]:
    limits = container["HostConfig"]
    return {
        "image": container["Config"]["Image"],
        "image_id": container["Image"],
        "state": container["State"]["Status"],
        "cpus": limits["NanoCpus"] / 1e9 or None,
        "memory_bytes": limits["Memory"] or None,
    }


async def _same_code(root: Path, containers: Sequence[Container]) -> None:
    """Refuse a stack whose code differs from the checkout, because its figures would carry the checkout's commit."""
    expected = ours(root)
    one_of_each = {one["Image"]: one["Id"] for one in containers if not one["State"]["Paused"]}
    for container in one_of_each.values():
        listed = await docker(
            "exec", container, "sh", "-c", "find lab constraints.txt -type f -exec sha256sum {} +"
        )
        if said := differing(expected, listed):
            raise UnusableStack(f"the compose stack runs another version of the lab ({said}): {UP}")


async def _look_from_inside(balancer: str) -> ComposeStack:
    """The stack, from a container in its networks: there is a balancer, and no engine to ask."""
    place = re.fullmatch(r"(http://[^:/]+):(\d+)-(\d+)", balancer)
    if place is None:
        raise UnusableStack(f"LAB_STACK={balancer}: should be like http://nginx:8101-8110")
    host, first, last = place.groups()
    answers = await ask_each([f"{host}:{port}" for port in range(int(first), int(last) + 1)])
    found = await asyncio.gather(
        *(attach(Address(urls=(url,)), name=name) for name, url, serves in answers if serves)
    )
    if not found:
        raise UnusableStack(f"LAB_STACK={balancer}: no deployment answers there")
    deployments = {
        one.deployment.name: Running(
            name=one.deployment.name,
            url=one.base_url,
            workers=one.deployment.workers,
            replicas=one.deployment.replicas,
        )
        for one in found
    }
    return ComposeStack(project="", deployments=deployments, about={"balancer": balancer})
