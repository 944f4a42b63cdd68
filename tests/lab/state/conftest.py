"""Servers that are there for a session or a test, and states opened on them."""

import itertools
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from bridged import PREFIX, open_state
from places import PATIENT, Clock, Process, Together, started

from beside_upstream.servers import Valkey, retold, server, tell, three_nodes
from kernel_lab.deployments.ports import LOOPBACK
from lab.state import State, StateOptions
from lab.state.redis.link import Script


@pytest.fixture(scope="session")
def valkey() -> Iterator[Valkey]:
    """A server that nobody hurts."""
    with server() as valkey:
        yield valkey


@pytest.fixture
def hurt() -> Iterator[Valkey]:
    """A server of the test's own, which keeps what it acknowledged when it is killed."""
    with server("--appendonly", "yes") as valkey:
        yield valkey


@pytest.fixture(scope="session")
def cluster() -> Iterator[list[Valkey]]:
    with three_nodes() as nodes:
        yield nodes


_namespaces = itertools.count()


@pytest.fixture
def url_of(request: pytest.FixtureRequest, tmp_path: Path) -> Callable[[str], str]:
    """The URL of a fresh state of some kind; servers are started when they are first needed."""

    def url(name: str) -> str:
        through = PREFIX if name.startswith(PREFIX) else ""
        name = name.removeprefix(PREFIX)
        inner = name.removeprefix("cached+")
        namespace = f"test{next(_namespaces)}"
        if inner == "memory":
            text = "memory://"
        elif inner in {"sqlite", "stock+sqlite"}:
            text = f"{inner}:///{tmp_path}/{namespace}.db"
        elif inner == "redis+cluster":
            nodes = request.getfixturevalue("cluster")
            text = "redis+cluster://" + ",".join(f"{LOOPBACK}:{node.port}" for node in nodes)
        elif inner == "redis+unix":
            text = f"redis+unix://{request.getfixturevalue('valkey').socket}"
        else:
            text = f"{inner}://{LOOPBACK}:{request.getfixturevalue('valkey').port}/0"
        parameters = [f"namespace={namespace}"] if "redis" in inner else []
        parameters += ["max_stale_ms=100"] if name != inner else []
        return through + name.removesuffix(inner) + text + ("?" + "&".join(parameters) if parameters else "")

    return url


@pytest.fixture
def opened(url_of: Callable[[str], str]) -> Iterator[Callable[..., State]]:
    """Open a fresh state, closed when the test ends."""
    states: list[State] = []

    def open_one(name: str, options: StateOptions = PATIENT) -> State:
        states.append(open_state(url_of(name), options))
        return states[-1]

    yield open_one
    for state in states:
        state.close()


@pytest.fixture(scope="session")
def processes() -> Iterator[list[Process]]:
    """Eight of them."""
    with started(8) as eight:
        yield eight


@pytest.fixture
def together(processes: list[Process]) -> Together:
    """All eight do a job at the same time; their answers. ``arguments[i]`` are the i-th one's own."""

    def run(job: str, url: str, *each: dict[str, Any], **same: Any) -> list[Any]:
        start_s = time.monotonic() + 0.05  # one clock for all processes of a host
        for i, process in enumerate(processes):
            process.ask(job, url, start_s=start_s, **same, **(each[i] if each else {}))
        return [process.answer() for process in processes]

    return run


@pytest.fixture
def told(valkey: Valkey, monkeypatch: pytest.MonkeyPatch) -> Iterator[Clock]:
    """The scripts of Redis are told the time."""
    made = Script.__init__

    def remade(self: Script, name: str) -> None:
        made(self, name)
        retold(self)

    monkeypatch.setattr(Script, "__init__", remade)
    with valkey.client() as client:
        yield Clock(lambda now_s: tell(client, now_s))
