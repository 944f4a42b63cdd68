"""A service of a swarm, started anew: with other settings, and with a state that nobody has used.

A claim that counts what its deployment does, and every fault, need a deployment that nobody has used. On a
swarm the lab starts no second deployment. All tasks of the service end, its settings change, and as many tasks
start again.

The settings that ``make up-swarm`` gave are kept in a label of the service. The next cell that needs no settings of
its own, in this run or in a later one, puts them back.
"""

from __future__ import annotations

import asyncio
import re
import time
from collections.abc import Mapping, Sequence
from secrets import token_hex
from typing import Any, cast

import httpx
import msgspec

from kernel_lab.deployments.containers.engine import NoEngine, docker
from kernel_lab.deployments.live import StackFailed
from kernel_lab.traffic.address import open_http

KEPT = "kernel-lab.settings"
"""The label that keeps the settings of ``make up-swarm`` while others are in force."""
PLACE = re.compile(r"namespace=[\w-]+|/state(?=\.db)")
"""The part of a state's URL that says in which part of the store the state is."""
KERNEL = "kernel-lab.kernel"
"""The label that names the service with the kernel, where the workers of a service keep none."""
STACK = "com.docker.stack.namespace"
WITHIN_S = 90.0
"""The most seconds that tasks may take to end, and to start."""
CALM_S = 3.0
"""After this time a balancer that looks its members up every two seconds has forgotten the old ones."""
TRIES = 5
_POLL_S = 0.2

Json = Mapping[str, Any]


class Settings(msgspec.Struct, frozen=True, kw_only=True):
    """The settings that ``make up-swarm`` gave a service."""

    env: dict[str, str]
    replicas: int


def environment_of(service: Json) -> dict[str, str]:
    """The environment of a service's tasks, as ``docker service inspect`` tells it."""
    spec = service["Spec"]["TaskTemplate"]["ContainerSpec"]
    return dict(line.partition("=")[::2] for line in spec.get("Env") or ())


def given(service: Json) -> Settings:
    """The settings that ``make up-swarm`` gave a service, whatever is in force now."""
    if kept := service["Spec"]["Labels"].get(KEPT):
        return msgspec.json.decode(kept, type=Settings)
    replicas = int(service["Spec"]["Mode"].get("Replicated", {}).get("Replicas", 0))
    return Settings(env=environment_of(service), replicas=replicas)


def wanted(base: Mapping[str, str], env: Mapping[str, str], token: str) -> dict[str, str]:
    """The settings of a deployment that nobody has used: its own, those of a cell, and another place in its store."""
    moved = {
        name: PLACE.sub(lambda place: f"{place[0]}-{token}", value) if name.startswith("LAB_STATE") else value
        for name, value in base.items()
    }
    return {**moved, **env}


def changes(now: Mapping[str, str], to: Mapping[str, str]) -> list[str]:
    """The options of ``docker service update`` that turn one environment into another."""
    options = [word for name in now if name not in to for word in ("--env-rm", name)]
    for name, value in to.items():
        if now.get(name) != value:
            options += ["--env-add", f"{name}={value}"]
    return options


async def settle(name: str, env: Mapping[str, str], *, url: str, manager: str) -> None:
    """Have a service run with the settings of a cell, or with its own where `env` is empty.

    Args:
        name: The service.
        env: The cell's settings; where there are any, the service starts anew.
        url: The address at which the balancer leads to the service.
        manager: The manager's engine.

    Raises:
        StackFailed: Its tasks did not end, or did not start.
    """
    service = await _inspect(name, manager)
    labels = service["Spec"]["Labels"]
    changed = False
    if kernel := labels.get(KERNEL):
        changed = await _settle_one(await _inspect(f"{labels[STACK]}_{kernel}", manager), env, manager)
    if await _settle_one(service, env, manager) or changed:
        await _calm(url)


async def _inspect(name: str, manager: str) -> Json:
    [service] = msgspec.json.decode(await docker("service", "inspect", name, engine=manager), type=list[Any])
    return cast("Json", service)


async def _settle_one(service: Json, env: Mapping[str, str], manager: str) -> bool:
    """Whether the service had to start anew."""
    name = str(service["Spec"]["Name"])
    base, now = given(service), environment_of(service)
    to = wanted(base.env, env, token_hex(3)) if env else base.env
    replicas = int(service["Spec"]["Mode"]["Replicated"]["Replicas"])
    if not env and now == to and replicas == base.replicas:
        return False
    await _scale(name, 0, manager)
    kept = msgspec.json.encode(base).decode()
    changed = ("--label-add", f"{KEPT}={kept}", *changes(now, to))
    await docker("service", "update", "--detach", *changed, name, engine=manager)
    await _scale(name, base.replicas, manager)
    return True


async def running(name: str, manager: str) -> list[Json]:
    """The tasks of a service that run and should run, in the order of their slots."""
    return [task for task in await tasks(name, manager, "desired-state=running") if state(task) == "running"]


async def tasks(name: str, manager: str, *filters: str) -> list[Json]:
    """The tasks of a service, in the order of their slots."""
    asked = [word for one in filters for word in ("--filter", one)]
    for tries_left in reversed(range(TRIES)):
        ids = (await docker("service", "ps", "--quiet", "--no-trunc", *asked, name, engine=manager)).split()
        if not ids:
            return []
        try:
            told = await docker("inspect", "--type", "task", *ids, engine=manager)
        except NoEngine:  # the swarm forgets old tasks, and may have forgotten one since it was listed
            if not tries_left:
                raise
            continue
        found: list[Json] = msgspec.json.decode(told)
        return sorted(found, key=lambda task: task.get("Slot", 0))
    return []


def state(task: Json) -> str:
    """``running``, ``shutdown`` and the like."""
    return str(task["Status"]["State"])


async def _scale(name: str, replicas: int, manager: str) -> None:
    await docker("service", "scale", "--detach", f"{name}={replicas}", engine=manager)
    deadline_s = time.monotonic() + WITHIN_S
    while time.monotonic() < deadline_s:
        there = [state(task) for task in await tasks(name, manager)]
        # whatever has not ended yet may still answer
        if there.count("running") == replicas and not _begun(there):
            return
        await asyncio.sleep(_POLL_S)
    raise StackFailed(f"{name} has not {replicas} running tasks after {WITHIN_S:g} s")


def _begun(there: Sequence[str]) -> bool:
    """Whether a task is on its way to run."""
    ended = ("running", "shutdown", "failed", "rejected", "complete", "remove", "orphaned")
    return any(one not in ended for one in there)


async def _calm(url: str) -> None:
    """Wait until no call has failed for a few seconds."""
    deadline_s = time.monotonic() + WITHIN_S
    since_s = time.monotonic()
    async with open_http(url, kept=False, timeout_s=5.0) as http:

        async def ask() -> bool:
            try:
                return (await http.get("/healthz", headers={"Connection": "close"})).is_success
            except (httpx.HTTPError, OSError):
                return False

        while (now_s := time.monotonic()) < deadline_s:
            if not all(await asyncio.gather(*(ask() for _ in range(6)))):
                since_s = time.monotonic()
            elif now_s - since_s > CALM_S:
                return
            await asyncio.sleep(_POLL_S)
    raise StackFailed(f"calls to {url} still fail {WITHIN_S:g} s after its tasks have started")
