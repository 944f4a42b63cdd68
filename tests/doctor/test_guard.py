"""The guard under real servers: it speaks where there are several workers, and is silent where there is one."""

import ast
import contextlib
import json
import os
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from pathlib import Path

import pytest

from kernel_lab import guard

HERE = Path(__file__).parent / "guarded"
ROOT = Path(__file__).parents[2]
BIN = Path(sys.executable).parent


@contextlib.contextmanager
def serving(command, tmp_path, port, **env):
    log = (tmp_path / "server.log").open("w+")
    clean = {
        k: v
        for k, v in os.environ.items()
        if k not in {"WEB_CONCURRENCY", "GUNICORN_CMD_ARGS", "UVICORN_WORKERS"}
    }
    server = subprocess.Popen(
        command, cwd=HERE, stdout=log, stderr=log, start_new_session=True,
        env={**clean, "PYTHONPATH": f"{HERE}:{ROOT}", **env},
    )  # fmt: skip
    try:
        yield server, lambda: Path(log.name).read_text()
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(server.pid, signal.SIGTERM)
        try:
            server.wait(10)
        except subprocess.TimeoutExpired:
            os.killpg(server.pid, signal.SIGKILL)
            server.wait(5)
        log.close()


def ask(port, server, log):
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    until = time.monotonic() + 60
    while True:
        try:
            with opener.open(f"http://127.0.0.1:{port}/", timeout=5) as reply:
                return json.loads(reply.read())
        except OSError:
            assert server.poll() is None, log()
            assert time.monotonic() < until, log()
            time.sleep(0.1)


def free_port():
    with socket.socket() as each:
        each.bind(("127.0.0.1", 0))
        return each.getsockname()[1]


def gunicorn(port, *more):
    return [
        str(BIN / "gunicorn"),
        "-k",
        "uvicorn_worker.UvicornWorker",
        "-b",
        f"127.0.0.1:{port}",
        "--no-control-socket",
        *more,
        "guarded_app:app",
    ]


def uvicorn(port, *more):
    return [str(BIN / "uvicorn"), "--port", str(port), *more, "guarded_app:app"]


def config(tmp_path, text):
    path = tmp_path / "gunicorn.conf.py"
    path.write_text(text)
    return str(path)


LAUNCHES = {
    "gunicorn with one": (lambda p, t: gunicorn(p), {}, False),
    "gunicorn with three": (lambda p, t: gunicorn(p, "-w", "3"), {}, True),
    "gunicorn by a file": (lambda p, t: gunicorn(p, "-c", config(t, "workers = 1 + 1\n")), {}, True),
    "gunicorn preloaded, by a file": (lambda p, t: gunicorn(p, "-c", config(t, "workers = 2\npreload_app "
                                                                               "= True\n")), {}, True),
    "gunicorn by WEB_CONCURRENCY": (lambda p, t: gunicorn(p), {"WEB_CONCURRENCY": "2"}, True),
    "gunicorn by its arguments in the "
    "environment": (lambda p, t: gunicorn(p), {"GUNICORN_CMD_ARGS": "--workers 2"}, True),
    "gunicorn with one, whatever "
    "WEB_CONCURRENCY says": (lambda p, t: gunicorn(p, "-w", "1"), {"WEB_CONCURRENCY": "8"}, False),
    "uvicorn with one": (lambda p, t: uvicorn(p), {}, False),
    "uvicorn with two": (lambda p, t: uvicorn(p, "--workers", "2"), {}, True),
    "uvicorn by WEB_CONCURRENCY": (lambda p, t: uvicorn(p), {"WEB_CONCURRENCY": "2"}, True),
    "uvicorn.run with two": (lambda p, t: [sys.executable, "guarded_app.py", str(p), "2"], {}, True),
    "uvicorn.run with one": (lambda p, t: [sys.executable, "guarded_app.py", str(p), "1"], {}, False),
}  # fmt: skip


@pytest.mark.live
@pytest.mark.parametrize("name", LAUNCHES)
def test_the_guard_speaks_where_there_are_several_workers(name, tmp_path):
    command, env, several = LAUNCHES[name]
    port = free_port()
    with serving(command(port, tmp_path), tmp_path, port, **env) as (server, log):
        seen = ask(port, server, log)
        text = log()
    assert bool(seen["at_import"]) == several, (seen, text)
    assert bool(seen["now"]) == several, (seen, text)
    assert ("kept in the memory of each" in text) == several
    assert seen["lab"] == ["kernel_lab", "kernel_lab.guard"], "the guard brings nothing else of the lab along"


@pytest.mark.live
def test_the_guard_refuses_where_it_is_told_to(tmp_path):
    port = free_port()
    with serving(gunicorn(port, "-w", "2"), tmp_path, port, REFUSE="1") as (server, log):
        assert server.wait(30) != 0
        assert "ManyProcesses" in log()


def test_the_guard_imports_the_standard_library_only():
    tree = ast.parse(Path(guard.__file__).read_text())
    names = {
        alias.name.split(".")[0]
        for node in ast.walk(tree)
        if isinstance(node, ast.Import)
        for alias in node.names
    }
    names |= {str(node.module).split(".")[0] for node in ast.walk(tree) if isinstance(node, ast.ImportFrom)}
    assert names <= sys.stdlib_module_names


@pytest.mark.parametrize(
    ("argv", "env", "count"),
    [
        (["gunicorn", "-w4", "a:b"], {}, 4),
        (["/v/bin/gunicorn", "--workers=2", "a:b"], {"WEB_CONCURRENCY": "9"}, 2),
        (["gunicorn", "a:b"], {"GUNICORN_CMD_ARGS": "--bind=:80 -w 3"}, 3),
        (["gunicorn", "a:b"], {"GUNICORN_CMD_ARGS": "--workers '"}, None),
        (["uvicorn", "a:b"], {"UVICORN_WORKERS": "5"}, 5),
        (["python", "-m", "uvicorn", "a:b", "--workers", "2", "--reload"], {}, None),
        (["uvicorn", "a:b", "--workers", "1"], {"WEB_CONCURRENCY": "4"}, None),
        (["fastapi", "run", "main.py", "--workers", "4"], {}, 4),
        (["gunicorn: master [a:b]"], {"WEB_CONCURRENCY": "2"}, 2),
        (["hypercorn", "-w", "many", "a:b"], {}, None),
        (["python", "main.py"], {"WEB_CONCURRENCY": "4"}, None),
    ],
)  # fmt: skip
def test_a_command_line_and_an_environment_tell_the_number(argv, env, count):
    signs = guard.signs_of_many_processes(env, argv)
    assert [sign.processes for sign in signs] == ([] if count is None else [count])


def test_a_child_of_multiprocessing_is_a_sign():
    code = (
        "import multiprocessing as m\nfrom kernel_lab import guard\n"
        "def f(q): q.put([s.why for s in guard.warn_if_many_processes('x')])\n"
        "if __name__ == '__main__':\n    q = m.get_context('fork').Queue()\n    p = "
        "m.get_context('fork').Process(target=f, args=(q,))\n    p.start(); print(q.get()); p.join()\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, timeout=30, check=True, cwd=ROOT
    )
    assert "multiprocessing started this process" in done.stdout
    assert "several processes run this app, and x is kept" in done.stderr


def test_alone_it_says_nothing(monkeypatch):
    code = "from kernel_lab import guard; print(guard.warn_if_many_processes('x'))"
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, timeout=30, check=True, cwd=ROOT
    )
    assert done.stdout == "[]\n"
    assert done.stderr == ""
