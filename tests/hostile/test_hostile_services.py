"""A service that is not the lab's and names another worker with each reply, or with each connection."""

import itertools
from collections.abc import AsyncIterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import httpx
import pytest
from hostile_server import HostileServer

from kernel_lab.apps import connections, server
from kernel_lab.apps.connections import CannotPin, Place, RoundRobin
from kernel_lab.apps.http import Http, open_client
from kernel_lab.apps.mapping import read
from kernel_lab.deployments.live import StackFailed

pytestmark = [pytest.mark.timeout(60)]


def naming(names: Any) -> Any:
    async def reply(_: bytes) -> AsyncIterator[bytes]:
        yield b"HTTP/1.1 200 OK\r\nX-Lab-Worker: %s\r\nContent-Length: 2\r\n\r\n{}" % next(names)

    return reply


def numbered() -> Any:
    return (b"w%d" % number for number in itertools.count())


async def test_more_names_than_a_service_has_workers_end_the_search(monkeypatch: pytest.MonkeyPatch) -> None:
    for module in (connections, server):
        monkeypatch.setattr(module, "MOST_WORKERS", 40)
    names = (f"k{number}" for number in itertools.count())
    with HostileServer(naming(numbered()), kept=True) as hostile:
        place = Place(url=hostile.url)
        with pytest.raises(StackFailed, match="more than 40 workers were named at http://127"):
            await server._meet(place, None, within_s=50)
        with pytest.raises(CannotPin, match="more than 40 workers were named"):
            await RoundRobin.pin(place, names, workers=2, named=True)


@pytest.mark.parametrize("name", [b"\x1b[2J", b"n" * 300, b"\xff\xfe"[:1] + b"\x9b"])
async def test_a_name_that_is_no_short_text_names_nobody(name: bytes) -> None:
    with HostileServer(naming(itertools.repeat(name)), kept=True) as hostile:
        async with open_client(hostile.url) as client:
            http = Http(client)
            with suppress(httpx.HTTPError):
                await http.get("/")
            assert http.workers == []


async def test_credentials_of_a_service_that_does_not_answer_are_not_told(tmp_path: Path) -> None:
    told = tmp_path / "app.toml"
    told.write_text('name = "there"\n[attach]\nurl = "http://u:hidden@127.0.0.1:9"\n')
    with pytest.raises(StackFailed, match="nothing answers at http") as failed:
        async with server.attached(read(told)):
            pass
    assert "hidden" not in str(failed.value)
