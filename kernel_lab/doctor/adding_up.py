"""Add up the processes: replicas times workers, for each way in which the files run the service."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from kernel_lab.doctor.facts import (
    NONE,
    ONE,
    UNBOUNDED,
    Balancer,
    Count,
    Factor,
    Place,
    Reading,
    Server,
    Service,
)

_ONE_HOST = frozenset(
    {
        "systemd unit",
        "image",
        "start script",
        "gunicorn",
        "process type",
        "supervisor program",
        "Apache",
        "program",
    }
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Way:
    """One way to run the service: services that run together."""

    name: str
    services: tuple[Service, ...]

    @property
    def web(self) -> Count:
        """The processes that answer requests, without those of a rollout."""
        return total([service for service in self.services if service.server.role == "web"])

    @property
    def tasks(self) -> Count:
        """The processes that take tasks from a queue."""
        return total([service for service in self.services if service.server.role == "task"])

    @property
    def processes(self) -> Count:
        """All processes, with a surge that a file asks for."""
        count = total(self.services)
        extra = [
            surge
            for service in self.services
            if service.surge_stated and (surge := surge_of(service)) is not None
        ]
        if count.max is None or any(each.max is None for each in extra):
            return Count(count.min, None)
        return Count(count.min, count.max + sum(each.max or 0 for each in extra))

    @property
    def during_rollout(self) -> Count:
        """All processes while every service is being updated."""
        return total(self.services) + sum(
            (surge for service in self.services if (surge := surge_of(service)) is not None), start=NONE
        )


def total(services: Sequence[Service]) -> Count:
    """The sum of the services' processes."""
    return sum((service.processes for service in services), start=NONE)


def surge_of(service: Service) -> Count | None:
    """The processes that a rollout adds, or None if it adds none."""
    return Count.exactly(service.surge) * service.workers if service.surge else None


def ways(reading: Reading) -> list[Way]:
    """The ways to run things that the files describe, largest first."""
    services = list(reading.services) or _upstreams(reading.balancers)
    services = [_behind(service, reading.balancers, services) for service in services]
    groups: dict[str, list[Service]] = {}
    for service in services:
        groups.setdefault(service.group, []).append(service)
    made = [Way(name=name, services=tuple(group)) for name, group in groups.items()]
    return sorted(made, key=lambda way: (way.web.max is None, way.web.max or 0), reverse=True)


def _upstreams(balancers: Sequence[Balancer]) -> list[Service]:
    """A balancer alone: each server that it names counts as one process."""
    made: list[Service] = []
    seen: set[str] = set()
    for balancer in balancers:
        servers = [each for each in balancer.servers if each.text not in seen]
        backups = [each for each in balancer.backups if each.text not in seen]
        seen.update(each.text or "" for each in (*servers, *backups))
        if not servers and not backups:
            continue
        count = Count(len(servers), len(servers) + len(backups))
        also = f", and {len(backups)} as a backup" if backups else ""
        first = (*servers, *backups)[0].place
        why = f"upstream {balancer.name} names {len(servers)} server{'' if len(servers) == 1 else 's'}{also}"
        made.append(
            Service(
                name=balancer.name,
                kind="upstream",
                place=balancer.place,
                replicas=count,
                group=balancer.place.file,
                replica_factors=(Factor(place=first, count=count, why=why),),
                server=Server(
                    program="unknown",
                    place=first,
                    workers=ONE,
                    workers_place=balancer.place,
                    workers_why="one process on each server is counted; a server that runs several workers "
                    "multiplies this",
                ),
            )
        )
    return made


def _behind(service: Service, balancers: Sequence[Balancer], services: Sequence[Service]) -> Service:
    """A service of one host behind a balancer that names several servers runs on each of them."""
    if (
        service.kind not in _ONE_HOST
        or service.server.role != "web"
        or service.replicas not in {ONE, UNBOUNDED}
    ):
        return service
    upstreams = [each for each in balancers if len(each.servers) + len(each.backups) > 1]
    if len(upstreams) != 1 or sum(other.server.role == "web" for other in services) > 1:
        return service
    upstream = upstreams[0]
    count = Count(max(1, len(upstream.servers)), len(upstream.servers) + len(upstream.backups))
    factor = Factor(
        place=upstream.place,
        count=count,
        why=f"upstream {upstream.name} names {count} servers, and each of them runs {service.name}",
    )
    return replace(service, replicas=count, replica_factors=(factor,))


@dataclass(frozen=True, slots=True, kw_only=True)
class Sum:
    """The printed result for the number of processes."""

    processes: Count
    during_rollout: Count
    factors: tuple[Factor, ...]


def add_up(found: Sequence[Way], reading: Reading, first: Place) -> Sum:
    """The range over all ways, with every factor."""
    if not found:
        return _nothing(reading, first)
    processes, rollout = found[0].processes, found[0].during_rollout
    for way in found[1:]:
        processes, rollout = processes.or_else(way.processes), rollout.or_else(way.during_rollout)
    factors: list[Factor] = []
    several = len(found) > 1
    for way in found:
        for service in way.services:
            factors.extend(
                replace(factor, why=f"{way.name}: {factor.why}")
                if several and way.name not in factor.why
                else factor
                for factor in service.factors
            )
            if service.surge_factor is not None and service.surge_stated:
                factors.append(service.surge_factor)
    return Sum(processes=processes, during_rollout=rollout, factors=tuple(factors))


def _nothing(reading: Reading, first: Place) -> Sum:
    """The range where no file says how anything runs.

    A store runs no process of the service. A source runs in as many processes as its deployment has.
    """
    if reading.sources:
        why = "as deployed: this is a source, and no file here says in how many processes it runs"
        return Sum(
            processes=UNBOUNDED,
            during_rollout=UNBOUNDED,
            factors=(Factor(place=Place(reading.sources[0]), count=None, why=why),),
        )
    if reading.stores or reading.balancers:
        place = reading.stores[0].place if reading.stores else reading.balancers[0].place
        factor = Factor(
            place=place, count=NONE, why="this is a store or a balancer: it runs no process of the service"
        )
        return Sum(processes=NONE, during_rollout=NONE, factors=(factor,))
    return Sum(
        processes=UNBOUNDED,
        during_rollout=UNBOUNDED,
        factors=(
            Factor(place=first, count=None, why="no file here says in how many processes anything runs"),
        ),
    )
