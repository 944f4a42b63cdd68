"""Attach: what somebody else runs is asked honestly, and what stands in between is told in one sentence."""

import asyncio
import dataclasses
import http.client
import itertools
import json
import re
import ssl
import subprocess
import sys
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from kernel_lab.bad_input import BadInput
from kernel_lab.cli.attach import Reach, look
from kernel_lab.cli.main import main
from kernel_lab.deployments.attached import QUIET, Asked, NotALab, attach
from kernel_lab.judge.history import HistoryWriter
from kernel_lab.redaction import without_headers
from kernel_lab.run.folder import RunFolder
from kernel_lab.run.plan import plan_of
from kernel_lab.run.schedule import run
from kernel_lab.traffic import between as between_module
from kernel_lab.traffic.address import Address
from kernel_lab.traffic.between import REFUSALS, Between, InTheWay
from kernel_lab.traffic.client import Principal, Recorder, RecordingClient
from kernel_lab.traffic.connections import Fresh

COMMAND = Path(sys.executable).with_name("kernel-lab")
pytestmark = [pytest.mark.live, pytest.mark.timeout(120)]


@pytest.fixture(scope="module")
def lab(tmp_path_factory):
    """The URL of four workers that somebody else runs."""
    said = tmp_path_factory.mktemp("lab") / "said"
    with said.open("wb") as file:
        server = subprocess.Popen([COMMAND, "up", "memory-4"], stdout=file)
    while not (found := re.search(r"clients call +(\S+)", said.read_text())):
        assert server.poll() is None
        time.sleep(0.05)
    yield found[1]
    server.terminate()
    server.wait(30)


@pytest.fixture
def proxy(lab):
    """Makes a real proxy in front of the lab, which changes the calls or answers itself."""
    running = []

    def make(change=None, answer=None, tls=None, named="X-Lab-Worker"):
        class Handler(BaseHTTPRequestHandler):
            calls = 0

            def serve(self):
                type(self).calls += 1
                length = int(self.headers.get("Content-Length") or 0)
                body = self.rfile.read(length)
                if answer is not None and (own := answer(self)) is not None:
                    status, headers, content = own
                else:
                    sent = {k: v for k, v in self.headers.items() if k.lower() not in ("host", "connection")}
                    if change is not None:
                        change(sent)
                    upstream = http.client.HTTPConnection(urlsplit(lab).netloc, timeout=10)
                    upstream.request(self.command, self.path, body=body or None, headers=sent)
                    reply = upstream.getresponse()
                    content = reply.read()
                    status = reply.status
                    headers = {named: reply.getheader("X-Lab-Worker", "")}
                    headers["Content-Type"] = reply.getheader("Content-Type", "")
                    upstream.close()
                self.send_response(status)
                for name, value in headers.items():
                    self.send_header(name, value)
                self.send_header("Content-Length", str(len(content)))
                self.send_header("Connection", "close")
                self.end_headers()
                self.wfile.write(content)

            do_GET = do_POST = serve  # noqa: N815

            def log_message(self, *_):
                pass

        class Server(ThreadingHTTPServer):
            request_queue_size = 128
            daemon_threads = True

            def handle_error(self, *_):
                pass

        server = Server(("127.0.0.1", 0), Handler)
        if tls is not None:
            server.socket = tls.wrap_socket(server.socket, server_side=True)
        threading.Thread(target=server.serve_forever, daemon=True).start()
        running.append(server)
        scheme = "http" if tls is None else "https"
        return f"{scheme}://127.0.0.1:{server.server_address[1]}", Handler

    yield make
    for server in running:
        server.shutdown()
        server.server_close()


SOONER = 60
FOUR = Asked(workers=4)
"""A search that ends early may miss a worker that waits for a processor, unless the number is stated."""
"""The search ends after this number of calls in a row that meet no new worker. Where four workers answer, one search in
about eight million misses a worker."""


@pytest.fixture
def sooner(monkeypatch):
    """End the search for workers early, in a test that is about something else. It states their number."""
    monkeypatch.setattr("kernel_lab.deployments.attached.QUIET", SOONER)
    monkeypatch.setattr("kernel_lab.deployments.attached.QUIET_S", 0.0)


def told(url, **more):
    with pytest.raises(NotALab) as error:
        asyncio.run(attach(Address(urls=(url,), between=Between(), **more)))
    said = str(error.value)
    assert "\n" not in said
    return said


def test_workers_are_met_until_their_number_is_certain(lab):
    found = asyncio.run(attach(Address(urls=(lab,), between=Between())))
    assert (found.expected_workers, found.deployment.workers, found.deployment.routing) == (4, 4, "direct")
    assert "4 workers answered; 99% certain that no other gets 1% or more" in found.notes[0]
    assert 0.99**QUIET <= 0.01 < 0.99 ** (QUIET - 1)


def test_a_stated_number_of_workers_is_waited_for_and_more_are_counted(lab):
    found = asyncio.run(attach(Address(urls=(lab,), between=Between()), Asked(workers=3)))
    assert found.expected_workers == 4
    assert "though --workers says 3" in found.notes[0]


def as_one_service(headers):
    for name in list(headers):
        if name.lower() == "x-principal-id":
            headers[name] = "svc-gateway"


def test_a_proxy_that_replaces_the_principal_is_refused_in_one_sentence(proxy, tmp_path, command_line):
    url, _ = proxy(change=as_one_service)
    done = command_line("run", "--attach", url, "--quick", "--out", "run")
    assert done.returncode == 64, done.stderr
    assert len(done.stderr.splitlines()) == 1
    assert "the grant is for 'svc-gateway': a proxy in front replaces X-Principal-Id" in done.stderr
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    ("path", "answer", "said"),
    [
        ("/worker", (404, {}, b"{}"), "GET /worker answered 404; a service with routes of its own"),
        ("/worker", (200, {}, b"<html>"), "GET /worker answered with no JSON"),
        ("/worker", (200, {}, b"[" * 100_000), "GET /worker answered with no JSON"),
        ("/worker", (401, {}, b""), "--token-env NAME sends a bearer token"),
        (
            "/worker",
            (307, {"Location": "https://u:pw@idp.example/login"}, b""),
            "is redirected to https://***@",
        ),
        ("/capabilities", (200, {}, b'{"capabilities": 3}'), "GET /capabilities has no list of capabilities"),
        ("/healthz", (200, {}, b"{}"), "GET /healthz has no header x-lab-worker; --worker-header names"),
        ("/grants", (405, {}, b""), "POST /grants answered 405; a service with routes of its own"),
    ],
)
def test_the_first_route_that_does_not_answer_as_the_lab_does_is_named(proxy, path, answer, said):
    url, _ = proxy(answer=lambda asked: answer if asked.path == path else None)
    assert said in told(url)


def test_a_new_name_in_each_reply_ends(proxy):
    numbers = itertools.count()
    url, _ = proxy(
        answer=lambda asked: (
            (200, {"X-Lab-Worker": f"w{next(numbers)}"}, b"{}") if "health" in asked.path else None
        )
    )
    assert "more than 1,024 workers were named" in told(url)


def test_a_lab_that_limits_the_rate_is_not_hammered(proxy, tmp_path, monkeypatch):
    monkeypatch.setattr(between_module, "FIRST_WAIT_S", 0.01)
    limited = {"on": True}
    url, handler = proxy(answer=lambda asked: (429, {}, b"slow down") if limited["on"] else None)
    assert f"refused calls {REFUSALS} times in a row for their rate" in told(url)
    assert handler.calls == REFUSALS

    async def drive():
        watch = Between()
        links = Fresh(Address(urls=(url,), between=watch), (f"k{n}" for n in itertools.count()))
        with HistoryWriter(tmp_path / "history.jsonl") as writer:
            recorder = Recorder(writer, between=watch)

            async def call():
                await RecordingClient(recorder, links, Principal(name="a")).grant("billing.get_invoice")

            limited["on"] = False
            await call()
            limited["on"] = True
            handler.calls = 0
            ends = await asyncio.gather(*(call() for _ in range(40)), return_exceptions=True)
            while not watch.stopped:
                ends += await asyncio.gather(*(call() for _ in range(4)), return_exceptions=True)
            with pytest.raises(InTheWay):
                await call()
        await links.aclose()
        return ends

    ends = asyncio.run(drive())
    assert sum(isinstance(end, InTheWay) for end in ends) >= 1
    assert handler.calls <= 40 + 4 * REFUSALS


@pytest.fixture(scope="module")
def certificate(tmp_path_factory):
    folder = tmp_path_factory.mktemp("tls")
    subprocess.run(
        ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-subj", "/CN=lab",
         "-addext", "subjectAltName=IP:127.0.0.1", "-keyout", folder / "key.pem", "-out", folder / "cert.pem"],
        check=True, capture_output=True,
    )  # fmt: skip
    return folder


def test_tls_is_verified_unless_that_is_refused(proxy, certificate, sooner):
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate / "cert.pem", certificate / "key.pem")
    url, _ = proxy(tls=context)
    assert "--insecure asks for no certificate" in told(url)
    found = asyncio.run(attach(Address(urls=(url,), insecure=True, between=Between()), FOUR))
    assert found.expected_workers == 4


def test_credentials_are_sent_with_each_call_and_land_in_no_file(
    proxy, tmp_path, monkeypatch, command_line, sooner
):
    def guarded(asked):
        good = asked.headers.get("Authorization") in ("Bearer s3cret-token", "Basic YWRhOnA0c3N3b3Jk")
        return None if good and asked.headers.get("X-Api-Key") == "k3y-value" else (401, {}, b"")

    url, _ = proxy(answer=guarded)
    place = url.replace("http://", "http://ada:p4ssword@")
    done = command_line(
        "run", "--attach", place, "--header", "X-Api-Key: k3y-value",
        "--workers", "4", "--scenario", "tokens", "--connections", "fresh", "--quick", "--out", "run",
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    for file in (tmp_path / "run").rglob("*"):
        if file.is_file():
            held = file.read_bytes()
            for secret in (b"k3y-value", b"p4ssword", b"YWRhOnA0c3N3b3Jk"):
                assert secret not in held, file
    assert "p4ssword" not in done.stderr + done.stdout
    about = RunFolder(tmp_path / "run").read_environment()
    assert "X-Api-Key: ***" in about["arguments"]
    assert "4 workers answered" in about["workers"][0]
    monkeypatch.setenv("LAB_BEARER", "s3cret-token")
    reach = Reach(headers=("X-Api-Key: k3y-value",), token_env="LAB_BEARER")
    assert "s3cret" not in repr(reach.address([url]))
    assert asyncio.run(attach(reach.address([url]), FOUR)).expected_workers == 4
    with pytest.raises(BadInput, match="one of them is sent"):
        reach.address([place])


def test_a_worker_that_is_met_later_corrects_the_number_before_the_run_is_judged(lab, tmp_path):
    class Silent:
        def planned(self, cells): ...
        def doing(self, what): ...
        def done(self, cell): ...

    attached = look([lab], [], quick=True, tell=lambda line: None)
    plan = plan_of([], ["tokens"], ["round_robin"], quick=True, seed=1, out=tmp_path / "run", kernel=None)
    plan = dataclasses.replace(
        plan, deployments=attached.deployments, own_kernel=False, address=attached.address, stacks_at_once=1
    )
    plan.folder.create()
    # a fifth worker answers seldom: it was met once, while the others answered
    now = max(last for _, last in attached.address.between.seen.values())
    attached.address.between.seen["r0/5/late"] = [now, now]
    (row,) = asyncio.run(run(plan, attached.open, Silent()))
    assert (row.workers, row.validity) == (5, "unknown")
    assert "4 of the 5 workers it takes answered" in row.reason
    about = json.loads((tmp_path / "run/cells/tokens/attached-round_robin/cell.json").read_text())
    assert (about["deployment"]["workers"], about["assumptions"]["min_workers"]) == (5, 5)


def test_a_recycled_worker_is_not_counted_twice():
    watch = Between()
    for worker, first, last in (("a", 0, 10), ("b", 0, 4), ("c", 5, 10)):
        watch.met(worker, first, last)
    assert watch.workers() == 2
    watch.met("b", 6, 6)
    assert watch.workers() == 3


def test_several_urls_take_turns_and_the_worker_may_be_named_by_another_header(proxy, sooner):
    def named(asked):
        return None

    first, one = proxy(answer=named)
    second, other = proxy(answer=named)
    found = asyncio.run(
        attach(Address(urls=(first, second), worker_header="X-Lab-Worker", between=Between()), FOUR)
    )
    assert (found.expected_workers, found.deployment.replicas) == (4, 2)
    assert one.calls > SOONER
    assert other.calls > SOONER


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--attach", "http://127.0.0.1:9"], "GET /worker: ConnectError"),
        (["--attach", "ftp://host"], "begins with http:// or https://"),
        (["--attach", "http://127.0.0.1:9", "--header", "nonsense"], "should be 'Name: value'"),
        (
            ["--attach", "http://127.0.0.1:9", "--header", "X-Principal-Id: ada"],
            "the lab sets this header itself",
        ),
        (["--attach", "http://127.0.0.1:9", "--token-env", "NO_SUCH"], "should hold a bearer token"),
        (["--insecure"], "--insecure needs --attach URL"),
        (["--attach", "compose", "--attach", "swarm"], "only URLs can be given together"),
    ],
)
def test_what_cannot_be_attached_is_one_line_and_exit_code_64(arguments, said, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "argv", ["kernel-lab", "run", *arguments])
    with pytest.raises(SystemExit) as end:
        main()
    assert end.value.code == 64
    stderr = capsys.readouterr().err
    assert said in stderr
    assert len(stderr.splitlines()) == 1


def test_a_header_keeps_its_name_and_loses_its_value():
    assert without_headers(["run", "--header", "A: b", "--header=C: d", "--quick"]) == [
        "run", "--header", "A: ***", "--header=C: ***", "--quick",
    ]  # fmt: skip
    assert "s3cret" not in repr(Reach(headers=("A: s3cret",)).address(["http://h"]))
