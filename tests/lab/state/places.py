"""Real servers, and processes that use a state at the same time."""

import contextlib
import json
import os
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from beside_upstream.servers import SECRET
from lab.state import StateOptions

PATIENT = StateOptions(secret=SECRET, budget_total=1_000_000, timeout_ms=5_000)
"""A state whose calls are not refused because the machine is busy."""

SHARED = (
    "sqlite", "redis", "redis+unix", "redis+cluster", "cached+sqlite", "cached+redis", "bridged+redis",
    "bridged+redis+cluster", "bridged+cached+redis", "bridged+sqlite",
)  # fmt: skip
"""Every right state that processes share."""
ALL = ("memory", *SHARED)


class Clock:
    """A clock that stands until it is moved."""

    def __init__(self, tell: Callable[[float], None]) -> None:
        self._tell = tell
        # in a far future: a server whose scripts are told this time does not expire their keys meanwhile
        self.now_s = 4_000_000_000.0

    @property
    def now_s(self) -> float:
        return self._now_s

    @now_s.setter
    def now_s(self, now_s: float) -> None:
        self._now_s = now_s
        self._tell(now_s)


class Process:
    """Another process that uses states: see `worker.py`. It is asked, and answers, in lines of JSON."""

    def __init__(self, ours: socket.socket) -> None:
        ours.settimeout(110)
        self._lines = ours.makefile("rwb")

    def close(self) -> None:
        self._lines.close()

    def ask(self, job: str, url: str, **arguments: Any) -> None:
        self._lines.write(json.dumps({"job": job, "url": url, "arguments": arguments}).encode() + b"\n")
        self._lines.flush()

    def answer(self) -> Any:
        line = self._lines.readline()
        assert line, "the process ended"
        return json.loads(line)


@contextlib.contextmanager
def started(count: int) -> Iterator[list[Process]]:
    """Processes forked from one that has imported everything; they end when their sockets close."""
    with contextlib.ExitStack() as stack:
        pairs = [socket.socketpair() for _ in range(count)]
        for end in (end for pair in pairs for end in pair):
            stack.enter_context(end)
        theirs = [pair[1].fileno() for pair in pairs]
        command = [sys.executable, str(Path(__file__).with_name("worker.py")), *map(str, theirs)]
        parent = subprocess.Popen(
            command, pass_fds=theirs, env={**os.environ, "WEAVER_KERNEL_SECRET": SECRET}
        )
        stack.callback(parent.wait)
        stack.callback(parent.terminate)
        for _, their in pairs:
            their.close()
        processes = [stack.enter_context(contextlib.closing(Process(our))) for our, _ in pairs]
        for process in processes:
            assert process.answer() == "ready"
        yield processes


Together = Callable[..., list[Any]]
