"""Real Valkey servers for the lab's states: one, a cluster of three, and one whose clock is told.

They can be killed, stopped and started again on their ports, as a stack's own store cannot.
"""

import contextlib
import datetime as dt
import os
import signal
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from redis import Redis
from redis.backoff import NoBackoff
from redis.exceptions import RedisError
from redis.retry import Retry
from weaver_kernel import ActionTrace, SensitivityTag

from kernel_lab.deployments.native.binaries import find_store
from kernel_lab.deployments.ports import LOOPBACK, free_port
from lab.state.redis.link import Script

SECRET = "a secret of the tests"


NOW = dt.datetime.now(dt.UTC)


def trace(action_id: str, **more: Any) -> ActionTrace:
    plain: dict[str, Any] = {
        "action_id": action_id, "capability_id": "c", "principal_id": "alice", "token_id": "t",
        "invoked_at": NOW, "args": {"id": 7, "tags": ["ä", None]}, "response_mode": "summary",
        "driver_id": "d", "result_summary": {"row_count": 1}, "sensitivity": SensitivityTag.PII,
    }  # fmt: skip
    return ActionTrace(**{**plain, **more})


class Valkey:
    """One server of our own: it can be killed, stopped and started again on its port."""

    def __init__(self, folder: Path, *arguments: str, cluster: bool = False) -> None:
        self.folder = folder
        self.socket = folder / "s"
        self._arguments = arguments
        self._process: subprocess.Popen[bytes] | None = None
        self._choose(cluster=cluster)
        try:
            while not self.start():  # somebody was quicker to have the port
                self._choose(cluster=cluster)
        except BaseException:
            self.kill()
            raise

    def _choose(self, *, cluster: bool) -> None:
        self.port = free_port()
        self.bus_port = free_port(avoid=[self.port])
        self._place = ["--port", str(self.port)]
        if cluster:
            self._place += ["--cluster-enabled", "yes", "--cluster-port", str(self.bus_port)]

    @property
    def pid(self) -> int:
        assert self._process is not None
        return self._process.pid

    def client(self) -> Redis:
        retry = Retry(NoBackoff(), 0)
        return Redis(port=self.port, retry=retry, socket_timeout=5, decode_responses=True, protocol=2)

    def start(self) -> bool:
        """Start it and wait until it answers; False if it ended instead."""
        command = [
            str(find_store().path), "--bind", LOOPBACK, "--dir", str(self.folder), "--unixsocket",
            str(self.socket), "--save", "", *self._place, *self._arguments,
        ]  # fmt: skip
        with (self.folder / "log").open("ab") as log:
            process = self._process = subprocess.Popen(command, stdout=log, stderr=log)
        with self.client() as client:
            until(lambda: ping(client) or process.poll() is not None, "the server answers or ends")
        return process.poll() is None

    def signal(self, number: signal.Signals) -> None:
        os.kill(self.pid, number)

    def kill(self) -> None:
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            self._process = None


def ping(client: Redis) -> bool:
    try:
        return bool(client.ping())
    except RedisError:
        return False


def until(holds: Callable[[], Any], what: str, within_s: float = 30) -> None:
    """Wait for something that must come true."""
    deadline_s = time.monotonic() + within_s
    while not holds():
        assert time.monotonic() < deadline_s, f"waited {within_s} s in vain: {what}"
        time.sleep(0.01)


def retold(script: Script) -> None:
    """Let a script read its time from a key instead of the server's clock: see `tell`."""
    script.text = script.text.replace(b"redis.call('TIME')", b"redis.call('LRANGE', 'clock', 0, 1)")
    script.sha = "0" * 40  # unknown to the server, so it is sent the text


def tell(client: Redis, now_s: float) -> None:
    """What time it is for such scripts."""
    client.rpush("clock", int(now_s), round(now_s % 1 * 1_000_000))
    client.ltrim("clock", -2, -1)


@contextlib.contextmanager
def server(*arguments: str, cluster: bool = False) -> Iterator[Valkey]:
    # the path of a Unix socket must be short
    with tempfile.TemporaryDirectory(prefix="lab-") as folder:
        valkey = Valkey(Path(folder), *arguments, cluster=cluster)
        try:
            yield valkey
        finally:
            valkey.kill()


@contextlib.contextmanager
def three_nodes(patience_s: int = 2) -> Iterator[list[Valkey]]:
    with contextlib.ExitStack() as stack:
        nodes = [
            stack.enter_context(server("--cluster-node-timeout", f"{patience_s}000", cluster=True))
            for _ in range(3)
        ]
        share = 16_384 // 3
        for i, node in enumerate(nodes):
            client = stack.enter_context(node.client())
            client.execute_command("CLUSTER", "SET-CONFIG-EPOCH", i + 1)
            last = 16_383 if i == 2 else (i + 1) * share - 1
            client.execute_command("CLUSTER", "ADDSLOTSRANGE", i * share, last)
            for other in nodes[:i]:
                client.execute_command("CLUSTER", "MEET", LOOPBACK, other.port, other.bus_port)
        for node in nodes:
            client = stack.enter_context(node.client())
            until(lambda client=client: whole(client), "the cluster is whole")
        yield nodes


def whole(client: Redis) -> bool:
    info = str(client.execute_command("CLUSTER", "INFO"))
    return "cluster_state:ok" in info and "cluster_known_nodes:3" in info
