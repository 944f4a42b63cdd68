"""The facts that the doctor reads from configuration files: places, counts, settings, servers and services."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Literal

Role = Literal["web", "task", "scheduler"]
"""``web`` answers requests, ``task`` takes work from a queue, ``scheduler`` starts work by the clock."""


@dataclass(frozen=True, slots=True)
class Place:
    """A line of a file; lines are counted from 1."""

    file: str
    line: int = 1

    def __str__(self) -> str:
        return f"{self.file}:{self.line}"


@dataclass(frozen=True, slots=True)
class Count:
    """A number of processes that lies between `min` and `max`; `max` is None where nothing bounds it."""

    min: int
    max: int | None

    @classmethod
    def exactly(cls, number: int) -> Count:
        """The count that is known."""
        return cls(number, number)

    def __mul__(self, other: Count) -> Count:
        if self.max == 0 or other.max == 0:
            return Count(self.min * other.min, 0)
        if self.max is None or other.max is None:
            return Count(self.min * other.min, None)
        return Count(self.min * other.min, self.max * other.max)

    def __add__(self, other: Count) -> Count:
        high = None if self.max is None or other.max is None else self.max + other.max
        return Count(self.min + other.min, high)

    def or_else(self, other: Count) -> Count:
        """The range of two alternatives."""
        high = None if self.max is None or other.max is None else max(self.max, other.max)
        return Count(min(self.min, other.min), high)

    @property
    def known(self) -> bool:
        """Whether it is one number."""
        return self.min == self.max

    @property
    def several(self) -> bool:
        """Whether it may be more than one."""
        return self.max is None or self.max > 1

    def __str__(self) -> str:
        if self.max is None:
            return f"{self.min} or more"
        return str(self.min) if self.known else f"{self.min} to {self.max}"


NONE = Count.exactly(0)
ONE = Count.exactly(1)
UNBOUNDED = Count(1, None)


@dataclass(frozen=True, slots=True, kw_only=True)
class Factor:
    """One number of the sum, where it stands, and why it counts. `count` is None where no file tells it."""

    place: Place
    count: Count | None
    why: str


@dataclass(frozen=True, slots=True)
class Value:
    """A setting as text, and where it stands. `text` is None where it cannot be known before it runs."""

    text: str | None
    place: Place
    optional: bool = False
    """Whether the setting may be absent at run time, as an optional secret may."""

    @property
    def true(self) -> bool:
        """Whether it switches something on."""
        return (self.text or "").strip().lower() in {"1", "true", "yes", "on", "y", "t"}

    @property
    def false(self) -> bool:
        """Whether it switches something off."""
        return (self.text or "").strip().lower() in {"0", "false", "no", "off", "n", "f", "none", "disabled"}

    @property
    def number(self) -> int | None:
        """The whole number that it is, if it is one."""
        try:
            return int((self.text or "").strip())
        except ValueError:
            return None


Environment = Mapping[str, Value]


@dataclass(frozen=True, slots=True, kw_only=True)
class Server:
    """A program that serves, with the settings that its command line, files and environment give it."""

    program: str
    place: Place
    role: Role = "web"
    workers: Count | None = None
    """None where the number cannot be known."""
    workers_place: Place
    workers_why: str
    settings: Mapping[str, Value] = field(default_factory=dict)
    """The settings by gunicorn's names: threads, worker_class, preload_app, max_requests, reuse_port and others."""
    application: str | None = None
    environment: Environment = field(default_factory=dict)
    changed_by: tuple[str, ...] = ()
    """The environment variables that nothing sets here and that would change the number of workers."""
    also_changed_by: tuple[str, ...] = ()
    """The variables that nothing sets here and that would change other settings, such as the threads."""
    by_cores: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Service:
    """A set of like containers, pods, units or hosts, and the server in each of them."""

    name: str
    kind: str
    """compose service, Deployment, unit, …"""
    place: Place
    server: Server
    replicas: Count = ONE
    replica_factors: tuple[Factor, ...] = ()
    surge: int = 0
    """The number of additional replicas during a rollout."""
    surge_factor: Factor | None = None
    surge_stated: bool = False
    """Whether a file asks for the surge, rather than the platform by default."""
    reloads_by_hup: Place | None = None
    group: str = ""
    """Services of one group run together; groups are alternatives."""
    labels: Mapping[str, str] = field(default_factory=dict)

    @property
    def environment(self) -> Environment:
        """The environment of the server."""
        return self.server.environment

    @property
    def workers(self) -> Count:
        """The number of processes of each replica; 1 or more where no file states it."""
        return self.server.workers or UNBOUNDED

    @property
    def processes(self) -> Count:
        """Replicas times workers."""
        return self.replicas * self.workers

    @property
    def factors(self) -> tuple[Factor, ...]:
        """The place of each number in the product."""
        workers = Factor(
            place=self.server.workers_place, count=self.server.workers, why=self.server.workers_why
        )
        return (*self.replica_factors, workers)


@dataclass(frozen=True, slots=True, kw_only=True)
class Store:
    """A Redis or Valkey server whose options are known."""

    place: Place
    settings: Mapping[str, Value] = field(default_factory=dict)
    """The settings by the names of redis.conf, in lower case. `save` holds all its lines, joined by semicolons."""
    cluster: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Balancer:
    """A proxy that spreads requests over replicas."""

    place: Place
    name: str
    servers: tuple[Value, ...] = ()
    backups: tuple[Value, ...] = ()
    affinity: Literal["none", "address", "key", "cookie", "least", "random"] = "none"
    affinity_place: Place | None = None
    key: str = ""
    consistent: bool = False
    knows_client: bool = False
    """Whether it restores the client's address that another proxy handed on."""
    weights: bool = False
    kind: str = "nginx"
    selector: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class Fact:
    """Something a reader noticed that a rule speaks about: `rule` is an id of the catalogue."""

    rule: str
    place: Place
    values: Mapping[str, str | int] = field(default_factory=dict)
    group: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Trouble:
    """A file or a part of a file that could not be read, in one sentence."""

    place: Place
    message: str


@dataclass(slots=True, kw_only=True)
class Reading:
    """Everything that was read from the given files."""

    services: list[Service] = field(default_factory=list)
    stores: list[Store] = field(default_factory=list)
    balancers: list[Balancer] = field(default_factory=list)
    facts: list[Fact] = field(default_factory=list)
    troubles: list[Trouble] = field(default_factory=list)
    environment: dict[str, Value] = field(default_factory=dict)
    """Variables of .env files, which every program that is started in the same folder may see."""
    sources: list[str] = field(default_factory=list)
    consumed: set[str] = field(default_factory=set)
    """Files that another file runs or includes, so that they do not say by themselves how a service is run."""

    def trouble(self, place: Place, message: str) -> None:
        """Note what could not be read."""
        trouble = Trouble(place=place, message=message)
        if trouble not in self.troubles:
            self.troubles.append(trouble)


def merge_environments(layers: Iterable[Environment]) -> dict[str, Value]:
    """One environment out of several; later layers win."""
    merged: dict[str, Value] = {}
    for layer in layers:
        merged.update(layer)
    return merged
