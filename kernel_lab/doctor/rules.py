"""The conclusions from the files, in whole sentences with the arithmetic."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace

from kernel_lab.doctor import rules_for_facts, stores
from kernel_lab.doctor.adding_up import Way, surge_of
from kernel_lab.doctor.catalogue import RANK, Severity
from kernel_lab.doctor.facts import ONE, Balancer, Count, Place, Reading, Service, Store, Value
from kernel_lab.doctor.files import Files
from kernel_lab.doctor.findings import Finding, admits, factor, finding, others, processes


def judge(ways: Sequence[Way], reading: Reading, files: Files) -> list[Finding]:
    """Every finding, each once: several ways to start a service may give the same one."""
    found: list[Finding] = []
    for way in ways:
        found.extend(Judge(way, reading, files).findings())
    for store in reading.stores:
        found.extend(_store(store))
    for balancer in reading.balancers:
        found.extend(_balancer(balancer, ways))
    facts = [*reading.facts, *stores.facts([service for way in ways for service in way.services])]
    found.extend(rules_for_facts.judge(facts, ways, reading))
    found.extend(finding("unreadable", trouble.place, trouble.message) for trouble in reading.troubles)
    return _once(found)


def _once(found: Sequence[Finding]) -> list[Finding]:
    kept: dict[tuple[str, Place], Finding] = {}
    for each in found:
        key = (each.id, each.place)
        if key not in kept or RANK[kept[key].severity] < RANK[each.severity]:
            kept[key] = each
    return sorted(
        kept.values(), key=lambda each: (-RANK[each.severity], each.place.file, each.place.line, each.id)
    )


class Judge:
    """The rules over one way to run things."""

    def __init__(self, way: Way, reading: Reading, files: Files) -> None:
        self.way = way
        self.reading = reading
        self.count = way.web
        self.store = stores.way_store(way, reading)
        self.optional = self.store is not None and self.store[1].optional
        self.shared = (self.store is not None and not self.optional) or stores.sources_share(reading, files)
        self.web = [service for service in way.services if service.server.role == "web"]
        self.sticky = self._sticky()

    def findings(self) -> Iterator[Finding]:
        """All of them."""
        yield from self.several()
        yield from self.by_cores()
        yield from self.tasks()
        for service in self.way.services:
            yield from self.origin(service)
            yield from self.server(service)
            yield from self.replicas(service)

    def softened(self, severity: Severity = "warning") -> Severity:
        """The severity of a finding that a shared store mends."""
        return "info" if self.shared else severity

    def _sticky(self) -> bool:
        """Whether each client stays with one process: sticky by a key, and one worker behind it."""
        kept = any(each.affinity in {"key", "cookie"} for each in self.reading.balancers)
        return kept and all(service.workers == ONE or (service.kind == "upstream") for service in self.web)

    def several(self) -> Iterator[Finding]:
        """Several processes with a memory of their own."""
        count = self.count
        if not count.several or not self.web:
            return
        largest = max(
            self.web, key=lambda service: (service.processes.max is None, service.processes.max or 0)
        )
        place = max(
            (each for each in largest.factors if each.count is None or each.count.several),
            key=lambda each: each.count is None or each.count.max or 0,
            default=largest.factors[-1],
        ).place
        named = [
            each
            for service in self.web
            for each in service.factors
            if each.count is not None and each.count != ONE
        ]
        sum_ = " × ".join(str(each.count) for each in named) if len(self.web) == 1 and len(named) > 1 else ""
        how = f" ({sum_})" if sum_ and count.known else ""
        verb = "runs" if count.min == count.max == 1 else "run"
        if self.shared:
            named_store = (
                f"{self.store[0]} ({self.store[1].place}) names a shared store"
                if self.store
                else "the sources use a shared store"
            )
            yield finding(
                "several-processes",
                place,
                f"{processes(count)}{how} {verb}, and {named_store}. What is kept there holds for all of "
                f"them; what a module still keeps in memory is counted {factor(count)}.",
                severity="info",
            )
            return
        if self.sticky:
            yield finding(
                "several-processes",
                place,
                f"{processes(count)}{how} {verb}, each with memory of its own, and routing keeps each client "
                "at one of them. A limit, a handle or a session of one client "
                "holds there; what one client does to another, such as a revocation, does not reach "
                f"{others(count)}.",
                severity="info",
            )
            return
        off = any(stores.limits_are_off(service.environment) for service in self.web)
        limit = (
            "Rate limits are switched off here. "
            if off
            else f"A limit that is kept in memory admits {admits(count)}. "
        )
        unknown = (
            "The command or the image decides whether the number is larger. "
            if count.max is None and count.min == 1
            else ""
        )
        yield finding(
            "several-processes",
            place,
            f"{processes(count)}{how} {verb}, each with memory of its own. {unknown}{limit}"
            f"A token that one process revoked goes on being accepted by {others(count)} until it expires, "
            f"and a handle or a session of one is unknown to {others(count)}.",
            severity="info"
            if count.max is None
            and count.min <= 1
            and not any(service.server.by_cores for service in self.web)
            else None,
        )

    def by_cores(self) -> Iterator[Finding]:
        """A number of processes that differs between machines."""
        for service in self.way.services:
            server = service.server
            if not server.by_cores or server.workers is None:
                continue
            names = [name for name in server.changed_by if "CORE" not in name]
            unless = f" unless {' or '.join(names)} says so" if names else ""
            least = f"It is never 1{unless}. " if server.workers.min > 1 else ""
            yield finding(
                "processes-by-cores",
                server.workers_place,
                "The number of workers depends on the number of cores of the machine: "
                f"{server.workers_why.removeprefix('by the number of cores: ')}. {least}"
                f"The same file means another limit and another reach of a revocation on each machine.",
                severity=self.softened() if server.role == "web" else "info",
            )

    def tasks(self) -> Iterator[Finding]:
        """Task workers beside the web processes."""
        if self.way.tasks.max == 0 or not self.web:
            return
        first = next(service for service in self.way.services if service.server.role == "task")
        yield finding(
            "task-workers",
            first.server.workers_place,
            f"{processes(self.way.tasks)} take tasks beside {processes(self.count)} that answer requests. "
            "What one group counts or revokes in memory, the other group does not see.",
            severity=self.softened(),
        )

    def origin(self, service: Service) -> Iterator[Finding]:
        """Return where the number of workers comes from, if that is open."""
        server = service.server
        if server.workers is None:
            yield finding(
                "workers-unknown",
                server.workers_place,
                f"How many workers each replica of {service.name} runs is not known: {server.workers_why}. "
                f"At least {processes(service.processes)} run{'s' if service.processes.min == 1 else ''}.",
            )
        elif server.changed_by:
            names = " and ".join(server.changed_by)
            it = "them" if len(server.changed_by) > 1 else "it"
            also = " and ".join(server.also_changed_by)
            more = f" {also} would change its other settings." if also else ""
            yield finding(
                "workers-from-environment",
                server.workers_place,
                f"{names} would change the number of processes of {service.name}, and nothing here sets {it}. "
                f"Without {it} each replica runs {processes(server.workers)}.{more}",
            )

    def server(self, service: Service) -> Iterator[Finding]:
        """Settings of the server."""
        server, settings = service.server, service.server.settings
        stated_single = service.processes == ONE and not server.changed_by
        open_count = self.count.several or not stated_single
        if (requests := settings.get("max_requests")) is not None and requests.number:
            yield finding(
                "recycle-forgets",
                requests.place,
                self._recycled(service, requests),
                severity=self.softened("warning" if open_count else "info"),
            )
        if service.reloads_by_hup is not None:
            yield finding(
                "reload-forgets",
                service.reloads_by_hup,
                f"ExecReload sends HUP, which replaces all {server.workers or 'the'} "
                f"worker{'s' if server.workers != ONE else ''} of {service.name} with new ones. Their "
                "memory is "
                "empty: a token that was revoked is accepted again, and every window starts at zero.",
                severity=self.softened("warning" if self.count.several else "info"),
            )
        threads = settings.get("threads")
        if threads is not None and (threads.number or 0) > 1:
            one = "One process" if service.processes == ONE else f"Each process of {service.name}"
            yield finding(
                "threads",
                threads.place,
                f"{one} serves with {threads.number} threads, so a limiter and every other counter in memory "
                "must be thread safe.",
            )
        preload, reuse = settings.get("preload_app"), settings.get("reuse_port")
        preloads = (
            preload is not None and (preload.true or preload.text is None) and server.program != "uwsgi"
        )
        if preloads and preload is not None:
            yield finding(
                "preload",
                preload.place,
                "The application is loaded once and then copied into every worker: secrets made at import, "
                "open connections and the state of random generators are the same in all "
                "of them on this host, and different on the next one.",
            )
        if preloads and reuse is not None and reuse.true:
            yield finding(
                "preload-reuse-port",
                reuse.place,
                "preload_app and reuse_port are both set: a second gunicorn binds the same port without an "
                "error, so old and new processes may answer side by side during a restart.",
            )
        worker_class = settings.get("worker_class")
        if worker_class is not None and (worker_class.text or "").startswith("uvicorn.workers"):
            yield finding(
                "deprecated-worker-class",
                worker_class.place,
                f"`{worker_class.text}` is deprecated: the class moved to the package uvicorn-worker.",
            )

    def _recycled(self, service: Service, requests: Value) -> str:
        jitter = service.server.settings.get("max_requests_jitter")
        least = requests.number or 0
        most = least + ((jitter.number or 0) if jitter is not None else 0)
        after = f"{least}" if most == least else f"{least} to {most}"
        return (
            f"Each worker of {service.name} is recycled after {after} requests. The new one starts with "
            "empty memory: it has forgotten revocations, handles and "
            "how much of each limit is used up."
        )

    def replicas(self, service: Service) -> Iterator[Finding]:
        """Replicas, rollouts and autoscaling."""
        if service.server.role == "scheduler" and service.replicas.several:
            yield finding(
                "scheduler-several",
                (service.replica_factors or service.factors)[0].place,
                f"{service.name} runs in {service.replicas} replicas, and each of them starts every job.",
            )
        if service.server.role != "web":
            return
        yield from self._affinity(service)
        extra = surge_of(service)
        if extra is not None and service.surge_factor is not None:
            after = service.processes + extra
            more = "1 replica more runs" if service.surge == 1 else f"{service.surge} replicas more run"
            yield finding(
                "rollout-overlap",
                service.surge_factor.place,
                f"During a rollout of {service.name} {more}, of another version: {processes(after)} instead "
                f"of {service.processes}.",
            )
        if service.replicas.min != service.replicas.max and service.kind not in {
            "upstream",
            "CronJob",
            "systemd unit",
            "image",
            "start script",
            "gunicorn",
            "process type",
        }:
            yield self._scaling(service)

    def _affinity(self, service: Service) -> Iterator[Finding]:
        fronts = [
            each
            for each in self.reading.balancers
            if each.kind in {"Service", "Ingress"} and _selects(each, service)
        ]
        affine = [each for each in fronts if each.affinity != "none"]
        if service.replicas.max is not None and service.replicas.max < 2:
            return
        if (
            any(each.kind == "Service" for each in fronts)
            and not affine
            and not any(each.kind == "Ingress" and each.affinity != "none" for each in self.reading.balancers)
        ):
            place = next(each.place for each in fronts if each.kind == "Service")
            yield finding(
                "no-affinity",
                place,
                f"{service.replicas} replicas of {service.name} answer without session affinity: a client's "
                f"next request meets another replica in all but one of {service.replicas} cases.",
                severity=self.softened(),
            )

    def _scaling(self, service: Service) -> Finding:
        place = (service.replica_factors or service.factors)[0].place
        low, high = service.replicas.min, service.replicas.max
        each = service.workers
        if high is None or each.max is None:
            end = "as many times as there are processes" if high is None or each.max is None else ""
            text = (
                f"The number of replicas of {service.name} grows from {low} without a known end, "
                f"so a limit that is kept in memory counts {end}."
            )
        else:
            text = (
                f"{service.name} scales from {low} to {high} replicas of {each} "
                f"worker{'' if each == ONE else 's'}: a limit that is kept in memory counts × "
                f"{low * each.min} at the "
                f"least load and × {high * each.max} at the most."
            )
        return finding("autoscaling", place, text, severity=self.softened())


def _selects(balancer: Balancer, service: Service) -> bool:
    if balancer.kind == "Ingress":
        return True
    return bool(balancer.selector) and all(
        service.labels.get(key) == value for key, value in balancer.selector.items()
    )


def _store(store: Store) -> Iterator[Finding]:
    settings = store.settings
    policy = settings.get("maxmemory-policy")
    limit = settings.get("maxmemory")
    evicts = policy is not None and (policy.text or "").lower() not in {"", "noeviction"}
    if evicts and policy is not None:
        at = f" at {limit.text}" if limit is not None and limit.text not in {None, "", "0"} else ""
        kind = (policy.text or "").lower()
        which = (
            "any key, a revocation or a counter among them"
            if kind.startswith("allkeys")
            else "any key that has a time to live, and a revocation or a counter has one"
        )
        yield finding(
            "redis-evicts",
            policy.place,
            f"With {kind}{at} this Redis may evict {which}. An evicted revocation makes the token good "
            "again, and an evicted counter starts its window at zero. "
            "A volatile policy such as volatile-lru evicts them as well, because a revocation has a TTL; "
            "noeviction refuses the write instead.",
        )
    append, save, fsync = settings.get("appendonly"), settings.get("save"), settings.get("appendfsync")
    if append is None or not append.true:
        none = save is not None and (save.text or "").strip("\"' ") == ""
        severity: Severity = "warning" if none or evicts else "info"
        what = (
            'nothing is written to disk (save ""), so a restart forgets every revocation and counter'
            if none
            else "a restart goes back to the last snapshot, and a revocation written since is lost"
        )
        yield finding(
            "redis-not-durable",
            (save or append or policy or Value("", store.place)).place,
            f"This Redis has no append-only file: {what}.",
            severity=severity,
        )
    elif fsync is None or (fsync.text or "").lower() != "always":
        lost = (
            "as much as the operating system has not written yet"
            if fsync is not None and (fsync.text or "").lower() == "no"
            else "up to one second of writes"
        )
        yield finding(
            "redis-not-durable",
            (fsync or append).place,
            "The append-only file is synced "
            f"{'by the operating system' if lost.startswith('as') else 'every second'}: a crash of the "
            f"machine loses {lost}, a revocation among them.",
            severity="info",
        )
    for name in ("replicaof", "slaveof", "cluster-enabled"):
        value = settings.get(name)
        if value is not None and (name != "cluster-enabled" or value.true):
            yield finding(
                "redis-asynchronous",
                value.place,
                "Replicas of this Redis are written after the client got its answer, so a failover may lose "
                "a revocation that was acknowledged.",
            )
            break


def _balancer(balancer: Balancer, ways: Sequence[Way]) -> Iterator[Finding]:
    place = balancer.affinity_place or balancer.place
    per_server = [
        service
        for way in ways
        for service in way.services
        if service.server.role == "web" and service.kind != "upstream"
    ]
    if balancer.affinity == "address" and (
        len(balancer.servers) > 1 or balancer.kind in {"Service", "Ingress"}
    ):
        yield finding(
            "sticky-by-address",
            place,
            _by_address(balancer),
            severity="info" if balancer.knows_client or balancer.kind == "Service" else None,
        )
    if balancer.affinity in {"key", "cookie"}:
        yield finding(
            "sticky-not-revocation",
            place,
            f"{balancer.name} keeps each client at one server, so limits and handles of that client hold "
            "there. A revocation by somebody else reaches another server.",
        )
    several = [
        service
        for service in per_server
        if service.workers.min > 1 and (balancer.kind != "Service" or _selects(balancer, service))
    ]
    if balancer.affinity in {"address", "key", "cookie"} and several:
        workers: Count = several[0].workers
        yield finding(
            "sticky-to-many-workers",
            place,
            f"{balancer.name} ties a client to a host, and {several[0].name} runs {workers} workers there. "
            f"Any of them may answer, so {others(workers)} know nothing of that client.",
        )


def _by_address(balancer: Balancer) -> str:
    if balancer.kind == "Service":
        return (
            f"The Service {balancer.name} ties a client to a pod by its address (ClientIP). Behind an "
            "ingress or another proxy all clients have that proxy's address, and one pod gets all of them. "
            "A client moves when its pod goes."
        )
    octets = (
        "ip_hash keys on the first three octets of an IPv4 address, so a whole office shares one server. "
        if balancer.key == "ip_hash"
        else ""
    )
    proxy = (
        "The address of the client is restored from what the proxy in front sends, so clients do differ. "
        if balancer.knows_client
        else "Behind another proxy all clients have one address, so all load reaches one server. "
    )
    count = len(balancer.servers)
    size = f"the {count} servers of {balancer.name}" if count else balancer.name
    moves = "A client moves when a server goes, and meets empty memory."
    return f"Clients are tied to {size} by their address. {proxy}{octets}{moves}"


def ignored(found: Sequence[Finding], reasons: dict[tuple[str, Place], str]) -> list[Finding]:
    """The findings, those with a reason to ignore marked."""
    return [replace(each, ignored=reasons.get((each.id, each.place))) for each in found]
