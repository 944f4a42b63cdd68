"""The outermost layer: a name on every reply, a bound on every body, a line when it cannot be opened."""

import logging
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

import httpx
import pytest
from labs import problem, started
from starlette.types import ASGIApp

from lab.app import open_api
from lab.settings import BadSettings, Settings
from lab.state import BadStateURL
from lab.worker import Worker, WorkerName, quieten


def client(app: ASGIApp) -> httpx.AsyncClient:
    return httpx.AsyncClient(
        transport=httpx.ASGITransport(app, raise_app_exceptions=False), base_url="http://lab"
    )


def worker(opener: Callable[..., Any] = open_api, **settings: Any) -> Worker:
    return Worker(opener, read=lambda: Settings(secret="s", **settings))


async def chunks(count: int) -> AsyncIterator[bytes]:
    for _ in range(count):
        yield b"x" * 1000


@pytest.mark.parametrize("path", ["/healthz", "/nothing", "/traces/none", "/traces?limit=x", "/grants"])
async def test_every_reply_names_the_worker(path: str) -> None:
    app = worker(replica="r3")
    async with started(app), client(app) as lab:
        name = (await lab.get(path)).headers["x-lab-worker"]
        assert name == (await lab.get("/worker")).json()["worker"]
        assert name.startswith("r3/")


async def test_every_start_is_another_worker() -> None:
    names = {str(WorkerName.new("r0")) for _ in range(50)}
    assert len(names) == 50
    assert len({name.rpartition("/")[0] for name in names}) == 1


async def test_nothing_is_opened_before_the_server_starts_the_worker() -> None:
    opened = []

    @asynccontextmanager
    async def opener(*told: object) -> AsyncIterator[ASGIApp]:
        opened.append(told)
        async with open_api(*told) as api:  # type: ignore[arg-type]
            yield api
        opened.append("closed")

    app = worker(opener)
    assert not opened
    async with started(app):
        assert len(opened) == 1
    assert opened[-1] == "closed"


async def test_a_long_body_is_refused_before_it_is_read() -> None:
    app = worker(max_body_bytes=5000)
    async with started(app), client(app) as lab:
        reply = await lab.post("/grants", content=b"x" * 5001)
        assert problem(reply) == (413, "too_large")
        assert "x-lab-worker" in reply.headers
        assert problem(await lab.post("/grants", content=b"x" * 5000)) == (422, "malformed")


async def test_a_long_body_of_unknown_length_is_refused_when_it_grows_too_long() -> None:
    app = worker(max_body_bytes=5000)
    async with started(app), client(app) as lab:
        assert problem(await lab.post("/grants", content=chunks(6))) == (413, "too_large")
        assert problem(await lab.post("/grants", content=chunks(5))) == (422, "malformed")


@pytest.mark.parametrize(
    ("error", "line"),
    [
        (BadSettings("LAB_X='1': must be 2"), "LAB_X='1': must be 2"),
        (BadStateURL("foo://: no scheme"), "foo://: no scheme"),
        (ZeroDivisionError("in a factory"), "ZeroDivisionError: in a factory"),
    ],
)
async def test_a_worker_that_cannot_be_opened_says_so_in_a_line(error: Exception, line: str) -> None:
    @asynccontextmanager
    async def opener(*_: object) -> AsyncIterator[ASGIApp]:
        raise error
        yield

    async with started(worker(opener)) as answers:
        assert answers == [{"type": "lifespan.startup.failed", "message": line}]


async def test_bad_settings_are_told_the_same_way() -> None:
    def read() -> Settings:
        raise BadSettings("LAB_X")

    async with started(Worker(open_api, read=read)) as answers:
        assert answers == [{"type": "lifespan.startup.failed", "message": "LAB_X"}]


@pytest.mark.parametrize(
    ("log_level", "shown"), [("warning", False), ("error", False), ("info", True), ("debug", True)]
)
def test_upstreams_record_of_each_refusal_is_shown_only_when_asked_for(log_level: Any, shown: bool) -> None:
    quieten(Settings(secret="s", log_level=log_level))
    assert logging.getLogger("weaver_kernel.policy").isEnabledFor(logging.WARNING) is shown


def test_upstreams_other_warnings_stay() -> None:
    assert logging.getLogger("weaver_kernel._secrets").isEnabledFor(logging.WARNING)
