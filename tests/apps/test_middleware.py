"""The middleware names the worker, and every copy of it is the same file."""

import os
from pathlib import Path

import pytest

import kernel_lab.middleware
from kernel_lab.middleware import WorkerASGI, WorkerWSGI, worker

ORIGINAL = Path(kernel_lab.middleware.__file__)


def test_a_worker_is_a_replica_a_process_and_a_start(monkeypatch):
    monkeypatch.setenv("LAB_REPLICA", "pod-7")
    replica, pid, boot = worker().split("/")
    assert (replica, pid, len(boot)) == ("pod-7", str(os.getpid()), 8)
    assert worker() == worker()


def test_a_forked_process_is_another_worker():
    mine = worker()
    read, write = os.pipe()
    if os.fork() == 0:
        os.write(write, worker().encode())
        os._exit(0)
    os.close(write)
    assert os.read(read, 100).decode() not in ("", mine)
    os.wait()


async def test_asgi_replies_are_named_and_other_scopes_pass():
    seen = []

    async def app(scope, receive, send):
        await send({"type": "http.response.start", "status": 200, "headers": [(b"a", b"b")]})

    async def send(message):
        seen.append(message)

    await WorkerASGI(app)({"type": "http"}, None, send)
    await WorkerASGI(app)({"type": "lifespan"}, None, send)
    assert seen[0]["headers"] == [(b"a", b"b"), (b"x-lab-worker", worker().encode())]
    assert seen[1]["headers"] == [(b"a", b"b")]


def test_wsgi_replies_are_named():
    seen = []
    app = WorkerWSGI(lambda _, start: start("200 OK", [("a", "b")], None) or [b"x"])
    assert app({}, lambda *told: seen.append(told)) == [b"x"]
    assert seen == [("200 OK", [("a", "b"), ("X-Lab-Worker", worker())], None)]


@pytest.mark.parametrize("copy", sorted((ORIGINAL.parents[1] / "examples").glob("*/worker_header.py")))
def test_every_copy_is_the_original(copy):
    assert copy.read_text() == ORIGINAL.read_text()
