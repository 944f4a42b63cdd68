"""The conclusions from the facts of sources and variables, given the number of processes that run them."""

# ruff: noqa: ARG005 - every sentence has the same signature

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Final

from kernel_lab.doctor import stores
from kernel_lab.doctor.adding_up import Way
from kernel_lab.doctor.catalogue import Severity
from kernel_lab.doctor.facts import UNBOUNDED, Count, Fact, Reading
from kernel_lab.doctor.findings import Finding, admits, factor, finding, others, processes, times

Sentence = Callable[[Fact, Count], str]

ALWAYS: Final = frozenset(
    {
        "autoscaling-ready",
        "store-switched-off",
        "generated-key",
        "store-database-shared",
        "workers-only-in-environment",
        "cron-overlaps",
        "optional-store",
        "random-secret",
        "limiter-fails-open",
        "revocation-cached",
    }
)
"""Rules whose findings matter even with one process."""
MENDED: Final = frozenset({"limit-multiplied"})
"""Rules whose findings a shared store mends."""


def judge(facts: Sequence[Fact], ways: Sequence[Way], reading: Reading) -> Iterator[Finding]:
    """One finding for each fact."""
    for fact in facts:
        way = next((each for each in ways if each.name == fact.group), ways[0] if ways else None)
        count = way.web if way is not None and (way.web.max != 0) else UNBOUNDED
        known = way is not None
        sentence = SENTENCES.get(fact.rule)
        if sentence is None:
            continue
        if fact.rule == "limit-multiplied" and not count.several:
            continue
        severity = _severity(fact, count, known=known, way=way, reading=reading)
        yield finding(fact.rule, fact.place, sentence(fact, count), severity=severity)


def _severity(fact: Fact, count: Count, *, known: bool, way: Way | None, reading: Reading) -> Severity | None:
    if fact.rule in ALWAYS:
        return (
            "info"
            if fact.rule == "revocation-cached" and not count.several and not fact.values.get("seconds")
            else None
        )
    if known and not count.several:
        return "info"
    if (
        fact.rule in MENDED
        and way is not None
        and stores.way_store(way, reading) is not None
        and fact.place.file not in reading.sources
    ):
        return "info"
    return None


def _in(count: Count) -> str:
    """``in each of the 4 processes``."""
    if count.max is None:
        return "in each process"
    return "in the one process" if not count.several else f"in each of the {count} processes"


def _one(count: Count) -> str:
    return (
        " There is one process here, so this holds until there is a second one." if not count.several else ""
    )


def _cached(fact: Fact, count: Count) -> str:
    name, seconds = fact.values["name"], fact.values.get("seconds")
    age = f"for up to {seconds} s" if seconds else "until it restarts"
    if not count.several:
        return f"`{name}` caches whether a token is revoked, so a revoked token is accepted {age}."
    return (
        f"`{name}` caches revocations in each process: a revoked token goes on being accepted {age} by each "
        f"of {processes(count)} that has it in its cache."
    )


def _hosts(fact: Fact, _: Count) -> str:
    replicas = str(fact.values.get("replicas", ""))
    so = (
        f", so {replicas} replicas on hosts of their own elect {replicas} leaders"
        if replicas not in {"", "1"}
        else ""
    )
    name = fact.values["name"]
    return f"{name} elects a leader with a lock file. The file belongs to one host or container{so}."


SENTENCES: Final[dict[str, Sentence]] = {
    "limit-multiplied": lambda fact, count: (
        f"{fact.values.get('when', '')}{times(int(fact.values['limit']), str(fact.values['per']), count)}, "
        "because each process counts for itself."
    ),
    "limiter-in-memory": lambda fact, count: (
        f"This limiter ({fact.values['what']}) counts in memory, {_in(count)}: a limit admits "
        f"{admits(count)}.{_one(count)}"
    ),
    "limiter-falls-back": lambda fact, count: (
        "When the store is away, this limiter counts in memory without a word: each process counts alone, "
        f"so a limit admits {admits(count)}.{_one(count)}"
    ),
    "limiter-fails-open": lambda fact, count: (
        "Errors of the store are swallowed: while it is away, every request passes without a limit."
    ),
    "store-database-shared": lambda fact, count: (
        f"`{fact.values['url']}` names no database, so the counters live in database 0, beside the keys of "
        "everything else that uses this store."
    ),
    "revocations-in-memory": lambda fact, count: (
        f"`{fact.values['name']}` keeps revocations in memory: what one process revokes, {others(count)} "
        f"accept{'s' if not count.several else ''} until the token expires, and a restart forgets "
        f"it.{_one(count)}"
    ),
    "registry-in-memory": lambda fact, count: (
        f"`{fact.values['name']}` is kept in memory: an entry that one process makes is unknown to "
        f"{others(count)}.{_one(count)}"
    ),
    "collection-in-memory": lambda fact, count: (
        f"`{fact.values['name']}` is changed while the service runs, and each process has its own copy."
    ),
    "cache-in-memory": lambda fact, count: (
        f"`{fact.values['name']}` caches {_in(count)}: an invalidation reaches the process that was asked."
    ),
    "revocation-cached": _cached,
    "locmem-cache": lambda fact, count: (
        f"{fact.values['what']} lives in the memory of each process: throttles and sessions that use it are "
        f"kept {_in(count)}, so a limit admits {admits(count)}.{_one(count)}"
    ),
    "random-secret": lambda fact, count: (
        f"`{fact.values['name']}` is made with {fact.values['how']} when the module is imported: each "
        f"process has another one, so {others(count) if count.several else 'the next start'} calls its "
        "tokens tampered with."
    ),
    "scheduler-in-process": lambda fact, count: (
        f"`{fact.values['name']}` starts in every process that imports this module, so each job runs "
        f"{factor(count)}, and once more for each replica of a rollout.{_one(count)}"
    ),
    "sqlite-several": lambda fact, count: (
        f"`{fact.values['url']}` is a SQLite file, opened by {processes(count)}: one writes at a time, and "
        f"the others fail with 'database is locked' when their time-out ends.{_one(count)}"
    ),
    "sqlite-in-memory": lambda fact, count: (
        f"`{fact.values['url']}` is a database in memory: what one process writes, {others(count)} cannot "
        f"read.{_one(count)}"
    ),
    "weaver-default-stores": lambda fact, count: (
        f"{fact.values['what']} is built with its default store, so {fact.values['keeps']} are kept "
        f"{_in(count)}.{_one(count)}"
    ),
    "audit-chain-forks": lambda fact, count: (
        f"{fact.values['what']} continues the chain from the head that its process knows. With "
        f"{processes(count)} the chain forks, and verification reports tampering.{_one(count)}"
    ),
    "lock-per-process": lambda fact, count: (
        f"`{fact.values['name']}` guards a check and a write in a shared store, and it is a lock of one "
        f"process: two processes may both pass.{_one(count)}"
    ),
    "client-clock": lambda fact, count: (
        f"{fact.values['what']} is given the time of this process: hosts whose clocks differ measure "
        f"different windows.{_one(count)}"
    ),
    "metrics-per-process": lambda fact, count: (
        "A scrape shows the metrics of the one process that answers, so a counter jumps between "
        f"{processes(count)}.{_one(count)}"
    ),
    "file-lock-leader": _hosts,
    "mcp-sessions": lambda fact, count: (
        f"{fact.values['what']} keeps sessions in the process: "
        f"{others(count)} answer 'session not found'.{_one(count)}"
    ),
    "socketio-alone": lambda fact, count: (
        f"{fact.values['what']} has no manager that spans processes: a message reaches only the clients of "
        f"the process that sends it.{_one(count)}"
    ),
    "agent-memory-in-process": lambda fact, count: (
        f"{fact.values['what']} keeps conversations in the process: {others(count)} cannot continue them, "
        f"and a restart forgets them.{_one(count)}"
    ),
    "optional-store": lambda fact, count: (
        f"{fact.values['name']} comes from an optional reference: where it is missing, the shared store is "
        "absent without notice, and each process keeps its state in memory."
    ),
    "autoscaling-ready": lambda fact, count: (
        f"Autoscaling is off, so {fact.values['now']} replica runs; switched on it goes up to "
        f"{fact.values['most']}, and nothing is shared as soon as there is a second replica."
    ),
    "store-switched-off": lambda fact, count: (
        f"The chart's {fact.values['name']} is switched off, so there is no shared store: nothing is shared "
        "as soon as there is a second replica."
    ),
    "generated-key": lambda fact, count: (
        f"`{fact.values['name']}` is empty, so the chart generates a key: it differs between installs, and "
        "tokens of one are refused by the other."
    ),
    "workers-only-in-environment": lambda fact, count: (
        f"{processes(count)} although no file of the service says so: {fact.values['why']}."
    ),
    "cron-overlaps": lambda fact, count: (
        f"The CronJob {fact.values['name']} may start while its last run goes on, because concurrencyPolicy "
        "is Allow."
    ),
}
