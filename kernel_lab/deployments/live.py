"""The protocol of a live deployment, whoever runs it.

There is one protocol, `Live`. An attribute that only some deployments can have is None in the others. `Live.servers`
are the server processes, where the lab may disturb them. `Live.hosts` are the hosts, where a deployment spans several
hosts that the lab may disturb.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType, TracebackType
from typing import Protocol, Self

from kernel_lab.deployments.deployment import Deployment

NOTHING: Mapping[str, str] = MappingProxyType({})
"""No settings."""


class StackFailed(RuntimeError):  # noqa: N818 - it names a thing
    """A server did not start, or ended; the message says which, and shows the last lines of its log.

    Args:
        message: What failed: fit for a file that people commit.
        shown: What the server wrote into its log. Other people's code can have written secrets there, so it is shown
            on a terminal only.
    """

    def __init__(self, message: str, shown: str = "") -> None:
        super().__init__(message + shown)
        self.message = message


class StackUnavailable(RuntimeError):  # noqa: N818 - it names a thing
    """This machine lacks something that the deployment needs. The message is the reason that a skipped cell gives."""


@dataclass(frozen=True, slots=True, kw_only=True)
class AppSpec:
    """The place of the app that gunicorn serves."""

    root: Path
    """The folder it is imported from, and the servers' working folder."""
    app: str = "lab.app:app"
    sidecar_app: str = "lab.sidecar:app"
    """The app that is served instead where the workers forward to a sidecar or to a remote kernel."""
    config: str = "lab/gunicorn.conf.py"


@dataclass(frozen=True, slots=True, kw_only=True)
class Process:
    """A server of a stack: the facts that a fault needs."""

    name: str
    """``gunicorn-r0``, ``nginx``, ``remote`` (the kernel process), ``store`` (of a cluster, ``store-0``)."""
    pid: int
    """The server's own; of gunicorn, the arbiter's. It leads the process group of its workers."""
    port: int
    log: Path


class Servers(Protocol):
    """The server processes of a live deployment that we started: they may be watched and disturbed."""

    @property
    def processes(self) -> Mapping[str, Process]:
        """The servers, by name; of one that has ended, the last pid it had."""

    @property
    def log_paths(self) -> Mapping[str, Path]:
        """The servers' logs, by name; they outlive the deployment."""

    @property
    def files(self) -> Path:
        """The deployment's own folder, for which ``{run}`` stands. Its SQLite file is there, for example."""

    def alive(self) -> bool:
        """Whether every server runs."""

    def ended(self) -> tuple[str, ...]:
        """The names of the servers that have ended."""

    def workers(self, replica: int) -> list[int]:
        """The pids of a replica's workers that accept connections, oldest first."""

    def kill_worker(self, worker: str) -> bool:
        """SIGKILL a worker by its name (``replica/pid/boot``); False if there is no such worker."""

    def signal(self, name: str, number: int) -> None:
        """Send a signal to a server, by its name."""

    async def reload(self, replica: int) -> None:
        """SIGHUP a replica, and wait until new workers have taken the place of every old one."""

    async def balance(self, replicas: Sequence[int]) -> None:
        """Have the balancer lead to these replicas alone, and wait until no new call reaches another replica."""

    async def restart(
        self, name: str, *, env: Mapping[str, str] = NOTHING, arguments: Sequence[str] = (),
        before: Sequence[str] = (),
    ) -> None:  # fmt: skip
        """Start a server that has ended once more, on its port, and wait until it is ready.

        It starts as before, apart from the arguments: settings, further command-line arguments after its own,
        and a command in front of its own that ends by starting the server. All of them stay.
        """


@dataclass(frozen=True, slots=True, kw_only=True)
class Node:
    """One host of several."""

    id: str
    host: str
    """Its name."""
    address: str


class SpannedHosts(Protocol):
    """The hosts that a live deployment spans: they may be cut off and drained, and its tasks replaced.

    A task is one replica of the deployment; it runs on one host.
    """

    @property
    def spare(self) -> Node | None:
        """A host that runs only workers, so that neither a store nor a balancer needs it."""

    def lacks(self, host: str) -> str:
        """Return why a host (or ``store``) cannot be cut off; an empty text where it can."""

    async def cut(self, host: str) -> None:
        """Take a host, or ``store``, off the network."""

    async def heal(self, host: str) -> None:
        """Put it back."""

    async def reaches(self, node: Node) -> bool:
        """Whether a host can be reached from here."""

    async def reaches_store(self) -> bool:
        """Whether a worker reaches the store."""

    async def tasks(self) -> Mapping[str, str]:
        """The running tasks of the deployment: the host of each."""

    async def roll(self) -> None:
        """Replace every task, one after another, each before its predecessor ends; wait until that is done."""

    async def drain(self, node: Node) -> None:
        """Have every task leave a host."""

    async def activate(self, node: Node) -> None:
        """Let a host run tasks again."""

    async def all_ready(self) -> bool:
        """Whether every host is reachable."""


class Live(Protocol):
    """A deployment that serves. Once it is live, its scenarios use it one after another."""

    @property
    def deployment(self) -> Deployment:
        """The deployment that is live."""

    @property
    def base_url(self) -> str:
        """The URL that clients call: that of the balancer, or of the one replica's shared socket."""

    @property
    def replica_urls(self) -> tuple[str, ...]:
        """Each replica, past the balancer; empty where they cannot be reached."""

    @property
    def expected_workers(self) -> int:
        """The number of all workers that answer."""

    @property
    def notes(self) -> tuple[str, ...]:
        """Facts that a reader of its figures must know, such as a store that existed before the run."""

    @property
    def servers(self) -> Servers | None:
        """Its server processes; None where somebody else started them."""

    @property
    def hosts(self) -> SpannedHosts | None:
        """The hosts that it spans; None where it spans none that may be disturbed."""


class Stack(Live, Servers, Protocol):
    """A live deployment that is started when it is entered and stopped when it is left."""

    async def __aenter__(self) -> Self:
        """Ready: every worker accepts connections.

        Raises:
            StackFailed: A server did not start.
            StackUnavailable: This machine lacks what it needs.
        """

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Stopped, gracefully where that is possible, and nothing left behind but the logs."""
