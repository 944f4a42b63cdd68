"""Generators on several machines and their coordinator, over locust's own messages. Imported by locust alone.

The coordinator is locust's master, a generator its worker. A generator asks for the coordinator's time for as long as
the load lasts. When the load ends, it sends its clock and what it recorded. The coordinator waits for all of it.
"""

from __future__ import annotations

import os
import tempfile
import time
from collections import defaultdict
from pathlib import Path
from typing import Any

import gevent  # type: ignore[import-untyped]
import msgspec
from locust.env import Environment
from locust.runners import MasterRunner, WorkerRunner

from kernel_lab.load.generator.clocks import Clock, Exchange, measured
from kernel_lab.load.several import CLOCKS

ASK, TELL, PART, END, FINISH = (f"kernel_lab_{one}" for one in ("ask", "tell", "part", "end", "finish"))
AHEAD_MS = "KERNEL_LAB_CLOCK_AHEAD_MS"
"""Puts a generator's clock ahead in a test. The shift applies to everything that it records, and to its
questions for the time."""
EXCHANGES, EVERY_S = 12, 2.0
"""Exchanges of a burst, and the time between two bursts."""
CHUNK_BYTES = 256 * 1024
WAIT_S = 60.0
"""The most seconds for which the coordinator waits for the recordings."""


def clock_ns() -> int:
    """This generator's clock."""
    return time.monotonic_ns() + ahead_ns()


def ahead_ns() -> int:
    """The time by which this generator's clock was put ahead."""
    return round(float(os.environ.get(AHEAD_MS) or 0) * 1e6)


class Coordinator:
    """The master: tells the time, and keeps what the generators send."""

    def __init__(self, runner: MasterRunner, folder: Path) -> None:
        self._runner = runner
        self._folder = folder
        self._clocks: dict[str, Clock] = {}
        runner.register_message(ASK, self._tell)
        runner.register_message(PART, self._keep)
        runner.register_message(END, self._end)

    def begin(self) -> None:
        """A folder of its own for each recording."""
        self._folder.mkdir(parents=True, exist_ok=True)
        if any(self._folder.iterdir()):
            raise SystemExit(f"--record {self._folder}: is not empty; name a new folder")

    def finish(self) -> None:
        """Have every generator stop and send, wait for all of them, and write the clocks down."""
        expected = len(self._runner.clients.all)
        self._runner.send_message(FINISH)
        deadline_s = time.monotonic() + WAIT_S
        while len(self._clocks) < expected and time.monotonic() < deadline_s:
            gevent.sleep(0.05)
        if len(self._clocks) < expected:
            print(
                f"locustfile: {expected - len(self._clocks)} generators sent nothing within {WAIT_S:g} s",
                flush=True,
            )
        (self._folder / CLOCKS).write_bytes(msgspec.json.encode(self._clocks))

    def _tell(self, environment: Environment, msg: Any, **_: Any) -> None:
        del environment
        self._runner.send_message(TELL, {**msg.data, "told_ns": time.monotonic_ns()}, msg.node_id)

    def _keep(self, environment: Environment, msg: Any, **_: Any) -> None:
        del environment
        name = Path(str(msg.data["name"])).name
        with (self._folder / name).open("ab") as file:
            file.write(msg.data["lines"].encode())

    def _end(self, environment: Environment, msg: Any, **_: Any) -> None:
        del environment
        self._clocks[str(msg.data["number"])] = msgspec.convert(msg.data["clock"], Clock)


class Generator:
    """A worker: asks for the time, and sends what it recorded."""

    def __init__(self, runner: WorkerRunner) -> None:
        self._runner = runner
        self._bursts: dict[int, list[Exchange]] = defaultdict(list)
        self._asking: gevent.Greenlet | None = None
        self.folder = Path(tempfile.mkdtemp(prefix="kernel-lab-generator-"))
        """The folder on this machine into which the generator records."""
        runner.register_message(TELL, self._told)
        runner.register_message(FINISH, self._finish, concurrent=True)

    def begin(self) -> None:
        """The load begins."""
        self._asking = gevent.spawn(self._ask)

    def send(self) -> None:
        """The load has ended: send everything."""
        if self._asking is None:
            return
        self._asking.kill()
        self._asking = None
        for path in sorted(self.folder.glob("*.jsonl")):
            with path.open("r", encoding="utf-8") as file:
                while lines := file.read(CHUNK_BYTES):
                    self._runner.send_message(PART, {"name": path.name, "lines": lines})
            path.unlink()
        self.folder.rmdir()
        clock = msgspec.to_builtins(measured(self._bursts.values()))
        self._runner.send_message(END, {"number": self._runner.worker_index, "clock": clock})

    def _ask(self) -> None:
        burst = 0
        while True:
            for _ in range(EXCHANGES):
                self._runner.send_message(ASK, {"burst": burst, "sent_ns": clock_ns()})
                gevent.sleep(0.01)
            burst += 1
            gevent.sleep(EVERY_S)

    def _told(self, environment: Environment, msg: Any, **_: Any) -> None:
        del environment
        back_ns, said = clock_ns(), msg.data
        exchange = Exchange(sent_ns=said["sent_ns"], told_ns=said["told_ns"], back_ns=back_ns)
        self._bursts[said["burst"]].append(exchange)

    def _finish(self, environment: Environment, msg: Any, **_: Any) -> None:
        del environment, msg
        self._runner.stop()
