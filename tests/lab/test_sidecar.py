"""Workers that forward to one sidecar: what passes through, and what happens when it is away."""

import asyncio
import contextlib
import gc
import json
import os
import signal
import subprocess
import threading
import time
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import httpx
import psutil
import pytest
from labs import problem
from serving import BOOT_S, Server, serving

from kernel_lab.deployments.ports import free_port
from lab.settings import BadSettings, Settings
from lab.sidecar import open_forwarder
from lab.sidecar_process import Sidecar, SidecarFailed
from lab.worker import WorkerName


@asynccontextmanager
async def forwarding_to_nothing(folder: Path) -> AsyncIterator[httpx.AsyncClient]:
    settings = Settings(secret="s", sidecar_socket=str(folder / "none"))
    async with (
        open_forwarder(settings, WorkerName("r0", 1, "b")) as app,
        httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://lab") as client,
    ):
        yield client


async def test_without_a_sidecar_calls_are_refused_and_the_next_without_asking(tmp_path: Path) -> None:
    async with forwarding_to_nothing(tmp_path) as lab:
        first = await lab.post("/grants", json={"capability_id": "x"})
        assert problem(first) == (503, "state_unavailable")
        again = await lab.get("/traces")
        assert problem(again) == (503, "state_unavailable")
        assert "not asked again yet" in again.json()["detail"]


async def test_closing_ends_what_asks_whenever_a_call_has_just_failed(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    settings = Settings(secret="s", sidecar_socket=str(tmp_path / "none"))
    for turns in range(40):
        async with open_forwarder(settings, WorkerName("r0", 1, "b")) as app:
            client = httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://lab")
            assert problem(await client.get("/traces")) == (503, "state_unavailable")
            for _ in range(turns):
                await asyncio.sleep(0)
        assert asyncio.all_tasks() == {asyncio.current_task()}, turns
    gc.collect()  # asyncio reports a task that failed when nobody can ask for its outcome any more
    assert caplog.messages == []


async def test_without_its_remote_kernel_a_worker_refuses_and_names_it() -> None:
    address = f"127.0.0.1:{free_port()}"
    settings = Settings(secret="s", remote_kernel=address)
    async with (
        open_forwarder(settings, WorkerName("r0", 1, "b")) as app,
        httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://lab") as client,
    ):
        refused = await client.post("/grants", json={"capability_id": "x"})
        assert problem(refused) == (503, "state_unavailable")
        assert f"the remote kernel at {address} did not answer" in refused.json()["detail"]


async def test_without_a_sidecar_a_worker_still_says_who_it_is_and_is_healthy(tmp_path: Path) -> None:
    async with forwarding_to_nothing(tmp_path) as lab:
        assert (await lab.get("/healthz")).json() == {"status": "ok"}
        told = (await lab.get("/worker")).json()
        assert (told["worker"], told["token_ttl_s"], told["chained_audit"]) == ("r0/1/b", 3600, None)


async def test_a_header_that_cannot_be_passed_on_unchanged_is_malformed(tmp_path: Path) -> None:
    async with forwarding_to_nothing(tmp_path) as lab:
        assert problem(await lab.get("/traces", headers={"x-principal-id": b"\xff"})) == (422, "malformed")


async def test_a_forwarder_that_was_not_told_where_says_so() -> None:
    with pytest.raises(BadSettings, match=r"^LAB_SIDECAR_SOCKET is unset"):
        async with open_forwarder(Settings(secret="s"), WorkerName("r0", 1, "b")):
            pass


def test_a_file_or_a_link_in_the_place_of_the_socket_stays_and_is_told(tmp_path: Path) -> None:
    file, link = tmp_path / "notes.txt", tmp_path / "link"
    file.write_text("kept")
    link.symlink_to(file)
    for place in (file, link):
        with pytest.raises(SidecarFailed, match=r"is there and is no socket; LAB_SIDECAR_SOCKET should name"):
            Sidecar(Settings(secret="s", sidecar_socket=str(place)), print).start()
    assert (file.read_text(), link.is_symlink()) == ("kept", True)


@pytest.fixture(scope="module")
def sidecar(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    log = tmp_path_factory.mktemp("sidecar") / "log"
    with serving(log, workers="2", sidecar="1", stream_chunk_ms="50") as server:
        yield server


def eventually(what: Callable[[], Any]) -> Any:
    """The first true answer of `what`; a connection that a worker dropped as it ended is no answer."""
    deadline = time.monotonic() + BOOT_S
    while time.monotonic() < deadline:
        with contextlib.suppress(httpx.TransportError):
            if answer := what():
                return answer
        time.sleep(0.02)
    raise AssertionError("it never came to be")


def pid_of_sidecar(server: Server) -> int:
    return int(eventually(lambda: server.get("/stats").headers.get("x-lab-sidecar")).split("/")[1])


def folder_of(sidecar: psutil.Process) -> Path:
    arguments = sidecar.cmdline()
    socket = Path(arguments[arguments.index("--socket") + 1])
    assert socket.is_socket()
    return socket.parent


def two_connections(server: Server) -> tuple[httpx.Client, httpx.Client]:
    """Kept connections to two workers, as alice."""
    met: dict[str, httpx.Client] = {}

    def met_both() -> bool:
        client = server.client_as("alice")
        met.setdefault(client.get("/healthz").headers["x-lab-worker"], client)
        return len(met) == 2

    eventually(met_both)
    one, other = met.values()
    return one, other


def granted(client: httpx.Client, capability: str = "billing.get_invoice") -> Any:
    return client.post("/grants", json={"capability_id": capability}).json()["token"]


@pytest.mark.live
class TestServing:
    def test_every_worker_has_the_same_kernel_behind_it(self, sidecar: Server) -> None:
        one, other = two_connections(sidecar)
        frame = one.post("/invocations", json={"token": granted(one, "billing.list_invoices")}).json()
        assert other.post(f"/handles/{frame['handle_id']}/expansions").json()["rows"] == 50
        assert other.get(f"/traces/{frame['action_id']}").status_code == 200
        token = granted(one)
        other.post(f"/tokens/{token['token_id']}/revocation")
        assert problem(one.post("/invocations", json={"token": token})) == (403, "token_revoked")
        names = [client.get("/stats").headers for client in (one, other)]
        assert names[0]["x-lab-sidecar"] == names[1]["x-lab-sidecar"]
        assert names[0]["x-lab-worker"] != names[1]["x-lab-worker"]

    def test_refusals_pass_through_unchanged(self, sidecar: Server) -> None:
        token = granted(sidecar.client_as("alice"))
        bob = sidecar.client_as("bob")
        assert problem(bob.post("/invocations", json={"token": token})) == (403, "token_scope")
        assert problem(bob.get("/traces?limit=x")) == (422, "malformed")
        wrong = bob.get("/grants")
        assert problem(wrong) == (405, "method_not_allowed")
        assert wrong.headers["allow"] == "POST"
        assert problem(bob.post("/grants", content=b"x" * 2_000_000)) == (413, "too_large")

    def test_odd_paths_arrive_as_they_were_sent(self, sidecar: Server) -> None:
        odd = sidecar.client_as("alice").post("/tokens/a%20b%3Fc/revocation")
        assert odd.json() == {"token_id": "a b?c", "revoked": True}

    def test_a_stream_passes_frame_by_frame(self, sidecar: Server) -> None:
        client = sidecar.client_as("alice")
        body = {"token": granted(client, "billing.export_invoices")}
        with client.stream("POST", "/invocations/stream", json=body) as reply:
            lines = reply.iter_lines()
            action_id = json.loads(next(lines))["action_id"]
            # upstream records a stream when it ends: the first frame was here before that
            assert sidecar.get(f"/traces/{action_id}").status_code == 404
            rest = [json.loads(line) for line in lines]
        assert len(rest) == 19
        assert rest[-1]["is_final"] is True
        assert sidecar.get(f"/traces/{action_id}").status_code == 200

    def test_a_client_that_leaves_a_stream_ends_it_in_the_sidecar(self, sidecar: Server) -> None:
        client = sidecar.client_as("alice")
        body = {"token": granted(client, "billing.export_invoices")}
        with client.stream("POST", "/invocations/stream", json=body) as reply:
            action_id = json.loads(next(reply.iter_lines()))["action_id"]
        eventually(lambda: sidecar.get(f"/traces/{action_id}").status_code == 200)


@pytest.mark.live
class TestFailing:
    def test_a_reload_replaces_the_workers_and_keeps_what_the_sidecar_knows(self, sidecar: Server) -> None:
        client = sidecar.client_as("alice")
        token = granted(client)
        client.post(f"/tokens/{token['token_id']}/revocation")
        before, kept = sidecar.meet(2), pid_of_sidecar(sidecar)
        sidecar.process.send_signal(signal.SIGHUP)
        eventually(lambda: sidecar.worker() not in before)
        assert pid_of_sidecar(sidecar) == kept

        def refused_by_a_new_worker() -> bool:
            reply = sidecar.client_as("alice").post("/invocations", json={"token": token})
            assert problem(reply) == (403, "token_revoked")
            return reply.headers["x-lab-worker"] not in before

        eventually(refused_by_a_new_worker)

    def test_a_killed_sidecar_is_replaced_and_its_workers_stay(self, sidecar: Server) -> None:
        workers = sidecar.meet(2)
        killed = pid_of_sidecar(sidecar)
        os.kill(killed, signal.SIGKILL)
        refused = eventually(lambda: (reply := sidecar.get("/stats")).status_code == 503 and reply)
        assert problem(refused) == (503, "state_unavailable")
        assert sidecar.get("/healthz").status_code == 200
        assert pid_of_sidecar(sidecar) != killed
        assert sidecar.meet(2) == workers

    def test_a_stopped_sidecar_is_not_waited_for_and_taken_back_when_it_goes_on(
        self, sidecar: Server
    ) -> None:
        stopped = pid_of_sidecar(sidecar)
        os.kill(stopped, signal.SIGSTOP)
        try:
            in_flight = sidecar.client_as("alice").get("/stats", timeout=BOOT_S)
            assert problem(in_flight) == (503, "state_unavailable")
            for _ in range(10):
                assert sidecar.get("/healthz").status_code == 200
        finally:
            os.kill(stopped, signal.SIGCONT)
        assert pid_of_sidecar(sidecar) == stopped

    def test_a_call_in_flight_when_its_sidecar_dies_is_refused_as_doubtful(self, tmp_path: Path) -> None:
        (tmp_path / "slow_kernel.py").write_text(
            "import asyncio, lab.kernel\n"
            "class Slow:\n"
            "    driver_id = 'memory'\n"
            "    async def execute(self, ctx):\n"
            "        await asyncio.sleep(600)\n"
            "def factory(settings):\n"
            "    kernel = lab.kernel.build_kernel(settings)\n"
            "    kernel.register_driver(Slow())\n"
            "    return kernel\n"
        )
        slow = {"kernel": "slow_kernel:factory", "PYTHONPATH": str(tmp_path)}
        with serving(tmp_path / "log", workers="1", sidecar="1", stream_chunk_ms="600000", **slow) as server:
            client = server.client_as("alice")
            token, stream = granted(client), {"token": granted(client, "billing.export_invoices")}
            replies: list[httpx.Response] = []
            waiting = threading.Thread(
                target=lambda: replies.append(
                    client.post("/invocations", json={"token": token}, timeout=BOOT_S)
                )
            )
            waiting.start()
            with server.client_as("alice").stream("POST", "/invocations/stream", json=stream) as cut:
                lines = cut.iter_lines()
                next(lines)
                os.kill(pid_of_sidecar(server), signal.SIGKILL)
                (last,) = [json.loads(line) for line in lines if line]
            assert (last["error"]["status"], last["error"]["reason_code"]) == (503, "state_unavailable")
            waiting.join(BOOT_S)
            assert problem(replies[0]) == (503, "state_unavailable")

    def test_it_ends_with_its_gunicorn_and_leaves_nothing(self, tmp_path: Path) -> None:
        with serving(tmp_path / "log", sidecar="1") as server:
            kept = psutil.Process(pid_of_sidecar(server))
            folder = folder_of(kept)
            server.process.terminate()
            assert server.process.wait(BOOT_S) == 0
            assert not kept.is_running()
            assert not folder.exists()

    def test_it_ends_and_leaves_nothing_when_its_gunicorn_was_killed(self, tmp_path: Path) -> None:
        with serving(tmp_path / "log", sidecar="1") as server:
            kept = psutil.Process(pid_of_sidecar(server))
            folder = folder_of(kept)
            server.process.kill()
            kept.wait(BOOT_S)
            assert not folder.exists()

    def test_one_that_could_not_be_started_is_tried_again(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        said: list[str] = []
        started: list[subprocess.Popen[bytes]] = []
        start = subprocess.Popen

        def second_without_memory(*arguments: Any, **options: Any) -> subprocess.Popen[bytes]:
            if len(started) == 1 and not said[1:]:
                raise OSError(12, "Cannot allocate memory")
            started.append(start(*arguments, **options))
            return started[-1]

        monkeypatch.setenv("WEAVER_KERNEL_SECRET", "s")
        monkeypatch.setattr(subprocess, "Popen", second_without_memory)
        sidecar = Sidecar(Settings(secret="s", sidecar_socket=str(tmp_path / "socket")), said.append)
        sidecar.start()
        try:
            started[0].kill()
            eventually(lambda: len(started) == 2)
            assert (
                "the sidecar could not be started ([Errno 12] Cannot allocate memory); trying again" in said
            )
        finally:
            sidecar.stop()
            for process in started:
                process.wait(BOOT_S)
            sidecar.forget()

    @pytest.mark.slow
    def test_one_that_cannot_be_opened_ends_gunicorn(self, tmp_path: Path) -> None:
        with serving(tmp_path / "log", ready=False, sidecar="1", kernel="no_such_module:factory") as server:
            assert server.process.wait(BOOT_S) == 3
            assert [line for line in server.lines() if "LAB_KERNEL='no_such_module:factory'" in line]
            assert server.lines()[-1] == "the sidecar ended before it served"
