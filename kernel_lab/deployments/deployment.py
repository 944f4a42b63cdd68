"""A deployment, as data: a row of ``deployments.toml``."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path
from typing import Literal

import msgspec

from kernel_lab.redaction import without_credentials

Routing = Literal["direct", "round_robin", "hash_principal"]
Kind = Literal["revocations", "limiter", "handles", "traces", "budget", "capabilities", "stats"]


class Deployment(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One way to run the kernel. The keys are described in ``docs/interfaces.md``."""

    name: str
    title: str = ""
    state: str = "memory://"
    workers: int = 1
    """Workers per replica."""
    replicas: int = 1
    routing: Routing = "direct"
    store: Literal["", "redis", "redis-cluster"] = ""
    store_replica: bool = False
    """A second store server copies the first one, asynchronously, and could be promoted. Both keep an append-only
    file."""
    sidecar: bool = False
    """The workers keep no kernel: those of one replica forward to one process beside them."""
    remote: bool = False
    """The workers keep no kernel: those of all replicas forward to one process over TCP."""
    shares: tuple[Kind, ...] = ()
    """The kinds of state that all workers share."""
    shares_on_host: tuple[Kind, ...] = ()
    """The kinds of state that the workers of one replica share, where one replica is one host."""
    spans_hosts: bool = False
    store_away: str = ""
    """The answer that a caller gets while the store cannot be reached, in a few words."""
    use_for: str = ""
    """The operators for whom it is meant, in a few words."""
    env: dict[str, str] = {}
    secret: bool = True

    @property
    def processes(self) -> int:
        """The number of all workers that answer."""
        return self.workers * self.replicas

    @property
    def forwards(self) -> bool:
        """Whether the workers keep no kernel, and forward every call to a process that does."""
        return self.sidecar or self.remote

    @property
    def kernels(self) -> int:
        """The number of processes that keep a kernel."""
        if self.remote:
            return 1
        return self.replicas if self.sidecar else self.processes

    @property
    def state_name(self) -> str:
        """The state's URL without the places that each run chooses anew, and without credentials."""
        schemes = {"redis": "redis://", "redis-cluster": "redis+cluster://"}
        named = self.state.replace("{store}", schemes.get(self.store, "")).replace("{run}/", "")
        return without_credentials(named)

    @property
    def races(self) -> bool:
        """A control: limits and revocations are shared, read, changed and written back.

        Which updates are lost is random, so neither a routing nor a rule predicts it.
        """
        return self.state.startswith(("naive+", "stash:"))

    @property
    def loses_traces(self) -> bool:
        """Whether several processes record traces in upstream's `SQLiteTraceStore`.

        It is documented as single-writer. Where two processes write at once, one record may fail: which one is random.
        """
        return self.state.startswith("stock+sqlite:") and self.kernels > 1

    @property
    def blocks(self) -> bool:
        """Whether each call of its store holds a worker until the answer is there."""
        return "blocking=1" in self.state

    @property
    def stale(self) -> dict[str, int]:
        """The parameter ``max_stale_ms`` where the state states that bound."""
        told = re.search(r"[?&]max_stale_ms=(\d+)", self.state)
        return {"max_stale_ms": int(told[1])} if told else {}

    def home(self, kind: Kind, worker: str) -> str:
        """Return the place of `kind` for `worker` (``replica/pid/boot``). Workers with equal places share it."""
        if kind in self.shares:
            return "deployment"
        return worker.split("/", 1)[0] if self._within_replica(kind) else worker

    def homes(self, kind: Kind) -> int:
        """Return the number of separate copies of `kind`."""
        if kind in self.shares:
            return 1
        return self.replicas if self._within_replica(kind) else self.processes

    def homes_of_one(self, kind: Kind) -> int:
        """Return the number of separate copies of `kind` to which the balancer can take the calls of one principal."""
        if self.routing != "hash_principal" or kind in self.shares:
            return self.homes(kind)
        return 1 if self._within_replica(kind) else self.workers

    def _within_replica(self, kind: Kind) -> bool:
        """Whether one replica keeps `kind` once, for all of its workers."""
        return self.sidecar or kind in self.shares_on_host


class BadDeployments(ValueError):  # noqa: N818 - it names a thing
    """``deployments.toml`` is not what it should be; the message says where."""


def read_deployments(path: Path) -> dict[str, Deployment]:
    """Every deployment of a file, by name, in the file's order.

    Raises:
        BadDeployments: With the table and the key that is wrong.
    """
    try:
        tables = tomllib.loads(path.read_bytes().decode())
    except UnicodeDecodeError as error:
        raise BadDeployments(
            f"{path}: is not UTF-8 at byte {error.start}; it should be TOML in UTF-8"
        ) from None
    except OSError as error:
        raise BadDeployments(f"{path}: cannot be read ({error.strerror})") from None
    except (tomllib.TOMLDecodeError, RecursionError) as error:
        raise BadDeployments(f"{path}: {' '.join(str(error).split())}") from None
    deployments = {}
    for name, table in tables.items():
        if not isinstance(table, dict):
            raise BadDeployments(f"{path}: {name} stands outside of a table; [name] begins a deployment")
        try:
            deployments[name] = msgspec.convert({"name": name, **table}, Deployment)
        except (msgspec.ValidationError, TypeError) as error:
            raise BadDeployments(f"{path}: [{name}]: {error}") from None
    return deployments
