"""The findings that the doctor knows; `docs/doctor.md` repeats them, and a test holds the two together."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, Literal

Severity = Literal["error", "warning", "info"]
RANK: Final[dict[Severity, int]] = {"info": 0, "warning": 1, "error": 2}


@dataclass(frozen=True, slots=True)
class Rule:
    """One kind of finding."""

    id: str
    severity: Severity
    """The severity where nothing in the files softens it."""
    title: str
    why: str
    fix: str
    measured: tuple[str, ...] = ()
    """Cells and pages of the reference run that show it."""

    @property
    def evidence(self) -> list[str]:
        """The measured cells, then the section of the page that explains the finding."""
        return [*self.measured, f"docs/doctor.md#{self.id}"]


_CELLS: Final = "results/reference/cells"
_SHARE: Final = "Keep it in a store that all processes share (docs/state.md), or run one process."
_MODEL: Final = "docs/consistency-model.md"


def _rules() -> tuple[Rule, ...]:
    limit = (f"{_CELLS}/rate_limit/memory-4-round_robin/verdict.json", _MODEL)
    revoked = (f"{_CELLS}/revocation/memory-4-round_robin/verdict.json", _MODEL)
    handles = (f"{_CELLS}/handles/memory-4-round_robin/verdict.json", _MODEL)
    runbook = ("results/reference/runbook.csv", "docs/choosing.md")
    return (
        Rule(
            "several-processes",
            "warning",
            "Several processes, each with its own memory",
            "Requests of one client meet different processes. A process does not know what another keeps in "
            "memory. A limit counts once in each process, a revocation reaches one process, and a handle or a "
            "session is unknown to the other processes.",
            "Run one process, or keep limits, revocations, sessions and handles in a shared store "
            "(docs/choosing.md says which).",
            (*limit[:1], *revoked[:1], *handles),
        ),
        Rule(
            "processes-by-cores",
            "warning",
            "The number of processes depends on the machine",
            "A larger machine starts more processes, so a limit in memory admits more and a revocation "
            "reaches a smaller share.",
            "Set the number of workers to a constant, or share the state.",
            (f"{_CELLS}/rate_limit/memory-8-round_robin/verdict.json", _MODEL),
        ),
        Rule(
            "workers-unknown",
            "info",
            "No file says how many workers a replica runs",
            "The command or the image decides it, and it is not among the files.",
            "Give the doctor the Dockerfile or the start script as well.",
            (),
        ),
        Rule(
            "workers-from-environment",
            "info",
            "A variable can change the number of workers",
            "The number above is the default. The variable wins where the platform or an operator sets it.",
            "Set the variable where you deploy, so that the number is written down.",
            (),
        ),
        Rule(
            "workers-only-in-environment",
            "info",
            "Only the environment says how many processes run",
            "gunicorn, uvicorn and `fastapi run` read WEB_CONCURRENCY although no file of the service "
            "mentions it.",
            "Write the number of workers into the command as well.",
            (),
        ),
        Rule(
            "limit-multiplied",
            "warning",
            "A limit is multiplied by the number of processes",
            "Each process counts for itself, so a client that meets all of them gets the limit once "
            "from each.",
            "Count in a shared store with one atomic operation, or divide the limit by the number of "
            "processes (a ceiling that denies early).",
            limit,
        ),
        Rule(
            "threads",
            "info",
            "One process serves with several threads",
            "Code that reads a counter and then writes it loses counts between two threads.",
            "Use a limiter that is safe for threads.",
            (),
        ),
        Rule(
            "preload",
            "info",
            "The application is loaded before the workers are forked",
            "Everything made at import is copied into every worker: random secrets are equal on one host and "
            "differ on the next, connections are shared by mistake, and seeds repeat.",
            "Make connections and random state after the fork (gunicorn's post_fork), and take secrets from "
            "the environment.",
            (f"{_CELLS}/rate_limit/preload-round_robin/verdict.json", _MODEL),
        ),
        Rule(
            "preload-reuse-port",
            "info",
            "Preload together with reuse_port",
            "With reuse_port a second gunicorn binds the same port without an error, so old and new "
            "processes answer side by side during a restart.",
            "Leave reuse_port off, or make sure that the old gunicorn has ended before the new one starts.",
            ("docs/choosing.md",),
        ),
        Rule(
            "recycle-forgets",
            "warning",
            "Workers are recycled and forget",
            "A worker that has served max_requests ends, and a new one starts with empty memory: windows, "
            "revocations and handles are gone.",
            "Keep this state in a shared store, or leave max_requests at 0.",
            runbook,
        ),
        Rule(
            "reload-forgets",
            "warning",
            "A reload starts workers with empty memory",
            "HUP replaces every worker. A revoked token is accepted again, and every window starts at zero.",
            "Keep revocations and windows in a shared store before you reload.",
            runbook,
        ),
        Rule(
            "deprecated-worker-class",
            "info",
            "uvicorn.workers is deprecated",
            "The class moved to the package uvicorn-worker.",
            "Install uvicorn-worker and use uvicorn_worker.UvicornWorker.",
            (),
        ),
        Rule(
            "no-affinity",
            "warning",
            "Replicas without session affinity and without a shared store",
            "A client's next request goes to any replica, which knows nothing of the one before.",
            "Share the state. Sticky routing keeps limits and handles of one client together, but no "
            "revocation by somebody else.",
            (f"{_CELLS}/handles/replicas-round_robin/verdict.json", _MODEL),
        ),
        Rule(
            "sticky-by-address",
            "warning",
            "Clients are tied to a server by their address",
            "Behind another proxy all clients have the proxy's address. ip_hash uses only the first three "
            "octets of an IPv4 address. When a server goes, its clients move and meet empty memory.",
            "Hash on what names the caller (a header or a cookie that your proxy sets), and share "
            "revocations.",
            (f"{_CELLS}/revocation/sticky-round_robin/verdict.json", _MODEL),
        ),
        Rule(
            "sticky-to-many-workers",
            "warning",
            "Sticky routing to a host that runs several workers",
            "The balancer chooses the host. Inside of it any worker may answer, so the client's state is "
            "still split.",
            "Run one worker in each replica, or share the state.",
            (f"{_CELLS}/handles/sticky-host-round_robin/verdict.json", _MODEL),
        ),
        Rule(
            "sticky-not-revocation",
            "info",
            "Sticky routing keeps a client together, not a revocation",
            "An operator's revocation arrives at the operator's process. The client's process does not "
            "learn of it.",
            "Keep revocations in a shared store.",
            (f"{_CELLS}/revocation/sticky-round_robin/verdict.json", _MODEL),
        ),
        Rule(
            "optional-store",
            "warning",
            "The shared store is optional",
            "Where the secret is missing, the service starts without the store, and most libraries then "
            "count in memory without a message.",
            "Make the reference required, and let the service refuse to start without its store.",
            (f"{_CELLS}/rate_limit/memory-2-round_robin/verdict.json", "docs/state.md"),
        ),
        Rule(
            "rollout-overlap",
            "info",
            "During a rollout more replicas run, of two versions",
            "Old and new version answer side by side. A field that only the new version signs is unknown to "
            "the old one.",
            "Let the new version read what the old one writes before it writes anything new.",
            ("docs/choosing.md",),
        ),
        Rule(
            "autoscaling",
            "warning",
            "Autoscaling changes what a limit means",
            "Each additional replica admits the limit once more, and a revocation reaches a smaller share.",
            "Share the state, so that the number of replicas no longer matters.",
            (f"{_CELLS}/rate_limit/memory-8-round_robin/verdict.json", _MODEL),
        ),
        Rule(
            "autoscaling-ready",
            "info",
            "Autoscaling is configured and switched off",
            "As soon as there is a second replica, each replica keeps its own state.",
            "Share the state before you switch it on.",
            (_MODEL,),
        ),
        Rule(
            "store-switched-off",
            "info",
            "The chart's shared store is switched off",
            "Without it each replica keeps its state in memory.",
            "Switch the store on, or name an external one, before there is a second replica.",
            ("docs/state.md",),
        ),
        Rule(
            "generated-key",
            "warning",
            "The key is generated when the chart is installed",
            "Each install, and with some charts each upgrade, signs with another key, so the tokens "
            "of one install look tampered with to the next.",
            "Set the key, or name an existing secret.",
            (f"{_CELLS}/tokens/no-secret-round_robin/verdict.json", _MODEL),
        ),
        Rule(
            "redis-evicts",
            "error",
            "Redis may evict a revocation or a counter",
            "When memory is full, Redis deletes keys by its policy. A deleted revocation makes the token "
            "good again, a deleted counter starts a window at zero. volatile-lru is no help, because a "
            "revocation key has a TTL.",
            "Set maxmemory-policy noeviction for the Redis that holds revocations and counters, and alert on "
            "its memory.",
            ("docs/state.md",),
        ),
        Rule(
            "redis-not-durable",
            "info",
            "Redis may lose the last writes when it restarts",
            "Without an append-only file a restart goes back to the last snapshot, or to nothing. A "
            "revocation written since is gone.",
            "Set appendonly yes (and appendfsync always where no revocation may be lost).",
            ("results/reference/runbook.csv", "docs/state.md"),
        ),
        Rule(
            "redis-asynchronous",
            "info",
            "A failover of Redis may lose an acknowledged write",
            "Replicas are written after the client got its answer. The token of a revocation that was lost "
            "is good again.",
            "Use WAIT after a revocation, or min-replicas-to-write, and revoke again after a failover.",
            ("docs/state.md",),
        ),
        Rule(
            "revocation-cached",
            "warning",
            "Each process caches revocations",
            "Until its cache expires, a process goes on accepting a revoked token.",
            "Shorten the cache to the delay that you can promise.",
            (f"{_CELLS}/revocation/redis-cached-round_robin/verdict.json", "docs/state.md"),
        ),
        Rule(
            "file-lock-leader",
            "warning",
            "A file lock elects one leader for each host",
            "A lock file protects one file system. Each host, container or pod elects its own leader.",
            "Elect the leader in the shared store, or run the leader as a service of its own with one "
            "replica.",
            (),
        ),
        Rule(
            "limiter-in-memory",
            "warning",
            "A limiter counts in the memory of each process",
            "Without a shared store each process counts alone.",
            "Give the limiter a storage_uri that all processes share.",
            limit,
        ),
        Rule(
            "limiter-falls-back",
            "warning",
            "A limiter falls back to memory without a word",
            "When the store is away, each process counts alone, and no error says so.",
            "Refuse requests while the store is away, or log and alert on the fallback.",
            limit,
        ),
        Rule(
            "limiter-fails-open",
            "warning",
            "A limiter lets everything pass when its store is away",
            "Errors of the store are swallowed, so there is no limit while it is away.",
            "Refuse requests while the store is away, or alert on it.",
            ("docs/state.md",),
        ),
        Rule(
            "store-database-shared",
            "info",
            "The limiter uses database 0 of the store",
            "Database 0 is the default of everything else as well: a FLUSHDB or an eviction caused by other "
            "keys takes the counters along.",
            "Give counters and revocations a database or a server of their own.",
            ("docs/state.md",),
        ),
        Rule(
            "revocations-in-memory",
            "warning",
            "Revocations are kept in the memory of one process",
            "The process that was asked to revoke knows it. The others accept the token until it expires, "
            "and a restart forgets it everywhere.",
            "Keep revocations in a shared store.",
            revoked,
        ),
        Rule(
            "registry-in-memory",
            "warning",
            "A registry is kept in the memory of one process",
            "An entry that one process made is unknown to the others.",
            _SHARE,
            handles,
        ),
        Rule(
            "collection-in-memory",
            "info",
            "A module's collection is changed while it serves",
            "Each process has its own copy.",
            _SHARE,
            handles,
        ),
        Rule(
            "cache-in-memory",
            "info",
            "A cache is kept in the memory of each process",
            "Processes may answer differently until their entries expire, and an invalidation reaches one "
            "of them.",
            "Bound the age of entries, or share the cache.",
            (),
        ),
        Rule(
            "locmem-cache",
            "warning",
            "The framework's cache lives in each process",
            "Throttles, sessions and locks that use this cache count once in each process.",
            "Use a shared cache backend such as Redis or Memcached.",
            limit,
        ),
        Rule(
            "random-secret",
            "warning",
            "A secret is made at random when the module is imported",
            "Each process signs with its own secret, and the others call its tokens tampered with. With "
            "preload it looks right until there is a second host or a restart.",
            "Take the secret from the environment, and refuse to start without it.",
            (f"{_CELLS}/tokens/no-secret-round_robin/verdict.json", _MODEL),
        ),
        Rule(
            "scheduler-in-process",
            "warning",
            "A scheduler starts in every process",
            "Each job runs once in each process, and once more during a rollout.",
            "Run the scheduler as a process of its own, or take a lock in the shared store for each job.",
            (),
        ),
        Rule(
            "scheduler-several",
            "warning",
            "The scheduler runs in several replicas",
            "Each replica starts every job.",
            "Run one replica of the scheduler, and let an update stop the old one first.",
            (),
        ),
        Rule(
            "cron-overlaps",
            "info",
            "A CronJob may run while its last run goes on",
            "concurrencyPolicy is Allow, so a slow job runs beside its successor.",
            "Set concurrencyPolicy: Forbid.",
            (),
        ),
        Rule(
            "task-workers",
            "warning",
            "Task workers count for themselves",
            "A limit or a budget that the web processes keep in memory is unknown to the task workers, and "
            "the other way round.",
            "Share the state between web and task workers.",
            (_MODEL,),
        ),
        Rule(
            "sqlite-several",
            "warning",
            "Several processes write one SQLite file",
            "Only one process writes at a time. The others wait, and fail with 'database is locked' when "
            "their time-out ends. A second host has a file of its own.",
            "Use WAL and a busy time-out on one host (docs/state.md), or a database server.",
            (f"{_CELLS}/rate_limit/sqlite-stock-round_robin/verdict.json", "docs/state.md"),
        ),
        Rule(
            "sqlite-in-memory",
            "warning",
            "Each process has a SQLite database of its own",
            "A database in memory belongs to one process and ends with it.",
            "Use a file on one host, or a database server.",
            handles,
        ),
        Rule(
            "weaver-default-stores",
            "warning",
            "weaver_kernel keeps this state in the process",
            "The default stores live in each process.",
            "Pass shared stores (docs/state.md), or run one process.",
            revoked,
        ),
        Rule(
            "audit-chain-forks",
            "warning",
            "Two writers fork the audit chain",
            "Each process continues the chain from the head it knows, and verification then reports "
            "tampering.",
            "Write the chain from one process, or from a store that orders the records.",
            ("docs/upstream/followups/12-jsonl-second-writer.md",),
        ),
        Rule(
            "lock-per-process",
            "warning",
            "A lock of one process guards a value in a shared store",
            "Processes do not see each other's locks, so two of them read the same count and both write.",
            "Use one atomic operation of the store (INCR, a script).",
            (f"{_CELLS}/rate_limit/redis-naive-round_robin/verdict.json", "docs/state.md"),
        ),
        Rule(
            "client-clock",
            "warning",
            "A shared window is measured by each client's clock",
            "Clocks of several hosts differ by milliseconds to seconds. A window can be too short by that "
            "difference, and then it admits too many calls.",
            "Take the time of the store (TIME inside of the script).",
            ("docs/state.md",),
        ),
        Rule(
            "metrics-per-process",
            "warning",
            "Metrics are those of the process that answers",
            "A scrape meets one process, so a counter jumps back and forth.",
            "Use the client's multi-process mode (PROMETHEUS_MULTIPROC_DIR).",
            (f"{_CELLS}/stats/memory-4-round_robin/verdict.json", _MODEL),
        ),
        Rule(
            "mcp-sessions",
            "warning",
            "Sessions of the Model Context Protocol live in one process",
            'Another process answers "session not found".',
            "Use stateless_http=True, or route each session to one process.",
            handles,
        ),
        Rule(
            "socketio-alone",
            "warning",
            "Socket.IO without a manager that spans processes",
            "A message reaches the clients of one process, and long polling meets unknown sessions.",
            "Give it a Redis manager, and route each client to one process.",
            (),
        ),
        Rule(
            "agent-memory-in-process",
            "warning",
            "An agent's memory lives in one process",
            "A conversation that continues in another process has lost its history and its approvals.",
            "Use a checkpointer or store in a database.",
            handles,
        ),
        Rule(
            "ignore-without-reason",
            "warning",
            "A finding is ignored without a reason",
            "Whoever reads the file later cannot tell whether the reason still holds.",
            "Write the reason after the bracket.",
            (),
        ),
        Rule(
            "unreadable",
            "warning",
            "A file or a part of it could not be read",
            "The sum and the findings do not take it into account.",
            "Correct the file, or leave it out.",
            (),
        ),
    )


RULES: Final[dict[str, Rule]] = {rule.id: rule for rule in _rules()}
