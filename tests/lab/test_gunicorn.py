"""The app under a real gunicorn, as it is started by hand."""

import json
import time
from collections.abc import Iterator
from pathlib import Path

import httpx
import psutil
import pytest
from serving import BOOT_S, GUNICORN, Server, serving

pytestmark = [pytest.mark.live]


@pytest.fixture(scope="module")
def two_workers(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    with serving(tmp_path_factory.mktemp("two") / "log", workers="2") as server:
        yield server


def test_each_worker_has_a_name_of_its_own_and_keeps_it(two_workers: Server) -> None:
    met = two_workers.meet(2)
    assert {int(name.split("/")[1]) for name in met} <= {
        child.pid for child in psutil.Process(two_workers.process.pid).children()
    }
    assert {two_workers.worker() for _ in range(20)} <= met


def test_a_kept_connection_meets_one_worker(two_workers: Server) -> None:
    with httpx.Client(base_url=two_workers.url, trust_env=False) as client:
        assert len({client.get("/healthz").headers["x-lab-worker"] for _ in range(30)}) == 1


def test_a_token_of_one_worker_is_good_on_the_other_and_its_handle_is_not(two_workers: Server) -> None:
    mine = {"x-principal-id": "alice"}
    with httpx.Client(base_url=two_workers.url, trust_env=False, headers=mine) as one:
        home = one.get("/healthz").headers["x-lab-worker"]
        token = one.post("/grants", json={"capability_id": "billing.get_invoice"}).json()["token"]
        handle = one.post("/invocations", json={"token": token}).json()["handle_id"]
        deadline = time.monotonic() + BOOT_S
        while time.monotonic() < deadline:
            with httpx.Client(base_url=two_workers.url, trust_env=False, headers=mine) as other:
                if other.get("/healthz").headers["x-lab-worker"] == home:
                    continue
                assert other.post("/invocations", json={"token": token}).status_code == 200
                missed = other.post(f"/handles/{handle}/expansions")
                assert (missed.status_code, missed.json()["reason_code"]) == (404, "handle_not_found")
                return
        pytest.fail("only one worker ever answered")


def test_a_client_that_leaves_a_stream_leaves_a_trace_of_it(two_workers: Server) -> None:
    mine = {"x-principal-id": "leaver"}
    with httpx.Client(base_url=two_workers.url, trust_env=False, headers=mine) as client:
        asked = {"capability_id": "billing.export_invoices"}
        token = client.post("/grants", json=asked).json()["token"]
        with client.stream("POST", "/invocations/stream", json={"token": token}) as reply:
            first = json.loads(next(reply.iter_lines()))
            home = reply.headers["x-lab-worker"]
    deadline = time.monotonic() + BOOT_S
    while time.monotonic() < deadline:
        found = two_workers.get(f"/traces/{first['action_id']}")
        if found.headers["x-lab-worker"] == home and found.status_code == 200:
            return
    pytest.fail("no trace of the stream that was left")


def test_it_says_nothing_while_it_serves(two_workers: Server) -> None:
    two_workers.get("/nothing")
    httpx.post(f"{two_workers.url}/grants", json={"capability_id": "x"}, trust_env=False)
    assert two_workers.lines() == []


def test_it_ends_when_it_is_told_to_and_takes_its_workers_along(tmp_path: Path) -> None:
    with serving(tmp_path / "log", workers="2") as server:
        server.meet(2)
        workers = psutil.Process(server.process.pid).children()
        server.process.terminate()
        assert server.process.wait(BOOT_S) == 0
        assert not [worker for worker in workers if worker.is_running()]


@pytest.mark.parametrize(
    ("settings", "arguments", "line"),
    [
        ({"workers": "two"}, (), "LAB_WORKERS='two': must be a whole number, 1 or more"),
        pytest.param({"state": "mysql://x"}, (), "LAB_STATE: mysql://x: no scheme", marks=pytest.mark.slow),
        pytest.param(
            {"WEAVER_KERNEL_SECRET": ""}, (), "WEAVER_KERNEL_SECRET is unset", marks=pytest.mark.slow
        ),
        ({"bind": "0.0.0.0:1"}, (), "LAB_BIND='0.0.0.0:1': must be on loopback"),
        ({}, ("-b", "0.0.0.0:{port}"), "bind='0.0.0.0:"),
    ],
)
def test_a_bad_setting_ends_it_with_one_line_before_there_is_a_worker(
    tmp_path: Path, settings: dict[str, str], arguments: tuple[str, ...], line: str
) -> None:
    with serving(tmp_path / "log", argv=(*GUNICORN, *arguments), ready=False, **settings) as server:
        assert server.process.wait(BOOT_S) == 3
        (told,) = server.lines()
        assert told.startswith(line)


def test_a_worker_that_cannot_be_opened_ends_it_and_it_does_not_try_again(tmp_path: Path) -> None:
    with serving(tmp_path / "log", ready=False, kernel="no_such_module:factory") as server:
        assert server.process.wait(BOOT_S) == 3
        told = [line for line in server.lines() if "no_such_module" in line]
        assert len(told) == 1
        assert "LAB_KERNEL='no_such_module:factory': must be module:factory" in told[0]


def test_uvicorn_by_hand_ends_with_the_same_line(tmp_path: Path) -> None:
    by_hand = ("uvicorn", "lab.app:app", "--port", "{port}")
    with serving(tmp_path / "log", argv=by_hand, ready=False, split_limit="0") as server:
        assert server.process.wait(BOOT_S) == 3
        assert [line for line in server.lines() if "LAB_SPLIT_LIMIT='0': must be" in line]
        assert not [line for line in server.lines() if "Traceback" in line]


@pytest.mark.parametrize("preload", [pytest.param("0", marks=pytest.mark.slow), "1"])
def test_a_factory_of_an_operators_own_is_called_in_each_worker_after_the_fork(
    tmp_path: Path, preload: str
) -> None:
    (tmp_path / "operators_own.py").write_text(
        "import os, pathlib, lab.kernel\n"
        "def factory(settings):\n"
        "    (pathlib.Path(__file__).parent / f'opened-{os.getpid()}').touch()\n"
        "    return lab.kernel.build_kernel(settings)\n"
    )
    own = {"kernel": "operators_own:factory", "PYTHONPATH": str(tmp_path)}
    with serving(tmp_path / "log", workers="2", preload=preload, **own) as server:
        pids = {name.split("/")[1] for name in server.meet(2)}
        assert {path.name for path in tmp_path.glob("opened-*")} == {f"opened-{pid}" for pid in pids}


def test_preloaded_workers_without_a_secret_sign_with_a_secret_each(tmp_path: Path) -> None:
    unset = {"WEAVER_KERNEL_SECRET": "", "secret_mode": "development", "preload": "1"}
    mine = {"x-principal-id": "alice"}
    with serving(tmp_path / "log", workers="2", **unset) as server:
        seen: dict[str, int] = {}
        with httpx.Client(base_url=server.url, trust_env=False, headers=mine) as client:
            granted = client.post("/grants", json={"capability_id": "billing.get_invoice"})
        home, token = granted.headers["x-lab-worker"], granted.json()["token"]
        deadline = time.monotonic() + BOOT_S
        while len(seen) < 2 and time.monotonic() < deadline:
            with httpx.Client(base_url=server.url, trust_env=False, headers=mine) as client:
                reply = client.post("/invocations", json={"token": token})
                seen[reply.headers["x-lab-worker"]] = reply.status_code
        assert seen.pop(home) == 200
        assert list(seen.values()) == [401]
