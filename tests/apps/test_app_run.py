"""kernel-lab run --app: real servers up to their verdicts; whatever they answer, the run ends with a sentence."""

import asyncio
import csv
import json
import sys

import pytest

from kernel_lab.apps import http
from kernel_lab.apps import run as app_run

pytestmark = [pytest.mark.live, pytest.mark.timeout(180)]


def rows(run, name):
    with (run / f"{name}.csv").open(newline="") as file:
        return {(row["deployment"], row["connections"]): row for row in csv.DictReader(file)}


def test_all_claims_of_a_service_that_keeps_everything_in_memory(command_line, app_toml, tmp_path):
    run = tmp_path / "run"
    done = command_line("run", "--app", str(app_toml(workers="[1, 2]")), "--quick", "--out", str(run))
    assert done.returncode == 1, done.stderr
    for claim in ("rate_limit", "revocation", "handles", "stats"):
        found = rows(run, claim)
        for policy in ("round_robin", "fresh", "keep_alive"):
            assert found["tiny-1", policy]["validity"] == "valid", (claim, policy, done.stderr)
        assert found["tiny-2", "round_robin"]["validity"] == "invalid", (claim, done.stderr)
    assert (run / "report.html").stat().st_size > 10_000
    # what was recorded is judged the same again, and gated
    assert command_line("check", str(run)).returncode == 1
    guarantees = tmp_path / "guarantees.toml"
    guarantees.write_text('[[guarantee]]\nclaim = "handles"\ndeployment = "tiny-1"\n')
    assert command_line("gate", "--quick", "--guarantees", str(guarantees), str(run)).returncode == 0
    # a token is a credential: its name in the history is a digest
    line = json.loads((run / "cells/revocation/tiny-1-fresh/history.jsonl").read_text().splitlines()[0])
    assert len(line["output"]["token_id"]) == 16


def test_a_worker_that_is_killed_forgets_what_was_revoked(command_line, app_toml, tmp_path):
    run = tmp_path / "run"
    path = app_toml(workers="[1]", head='expect.handles = "invalid"')
    done = command_line(
        "run", "--app", str(path), "--scenario", "handles", "--connections", "fresh", "--fault", "kill_worker",
        "--out", str(run),
    )  # fmt: skip
    history = (run / "cells/handles/tiny-1-fresh-kill_worker/history.jsonl").read_text()
    fault = next(json.loads(line) for line in history.splitlines() if "fault.kill_worker" in line)
    assert fault["outcome"] == "ok", done.stderr
    assert fault["input"]["worker"].count("/") == 2


def test_without_the_middleware_nothing_is_valid_and_what_is_broken_stays_broken(
    command_line, app_toml, tmp_path
):
    run = tmp_path / "run"
    # nobody can choose a worker, so the kernel spreads the connections: 16 over 4 sockets never all meet one
    path = app_toml(env='UNNAMED = "1", GUNICORN_CMD_ARGS = "--reuse-port"', workers="[4]")
    done = command_line("run", "--app", str(path), "--scenario", "handles", "--quick", "--out", str(run))
    assert "do not name their worker" in done.stderr
    found = rows(run, "handles")
    assert found["tiny-4", "round_robin"]["validity"] == "invalid", done.stderr
    assert found["tiny-4", "fresh"]["validity"] in ("invalid", "unknown")


@pytest.mark.parametrize(
    ("rudeness", "said"),
    [("flood", "reply_too_large"), ("redirect", "http_302"), ("500", "http_500"), ("html", "no_json")],
)
def test_a_rude_service_is_told_in_one_sentence(command_line, app_toml, tmp_path, rudeness, said):
    path = app_toml(env=f'BREAK = "{rudeness}"')
    done = command_line("run", "--app", str(path), "--scenario", "handles", "--out", str(tmp_path / "run"))
    assert done.returncode == 64, done.stderr
    last = done.stderr.splitlines()[-1]
    assert said in last
    assert last.startswith("kernel-lab: handles: put failed at the first try")
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    ("command", "said"),
    [
        ("no-such-program {port}", "no-such-program"),
        (f"{sys.executable} -c 'raise SystemExit(3)' {{port}}", "ended with 3"),
    ],
)
def test_a_service_that_does_not_start_says_why(command_line, app_toml, tmp_path, command, said):
    path = app_toml(command=command)
    done = command_line("run", "--app", str(path), "--out", str(tmp_path / "run"))
    assert done.returncode == 2
    assert said in done.stderr
    assert "Traceback" not in done.stderr


async def test_an_attached_service_is_asked_how_many_workers_it_has(app_toml, tmp_path, monkeypatch):
    from kernel_lab.apps.mapping import read
    from kernel_lab.apps.server import attached, started

    monkeypatch.setenv("SHOP_TOKEN", "secret")
    async with started(read(app_toml()), 2, tmp_path / "logs") as running:
        there = tmp_path / "there.toml"
        there.write_text(
            f'name = "there"\n[attach]\nurl = "{running.place.url}"\nheaders = {{ X-Token = "${{SHOP_TOKEN}}" }}\n'
        )
        async with attached(read(there)) as found:
            assert (found.workers, found.named, found.guard) == (2, True, None)
            assert "missed with a probability below 1%" in found.notes[0]
            assert found.place.headers == {"X-Token": "secret"}
            assert not found.kill_worker("r0/1/a")


async def test_a_reply_that_drips_is_given_up(monkeypatch):
    import asyncio

    from kernel_lab.apps.connections import Fresh, Place
    from kernel_lab.apps.drives import Session
    from kernel_lab.apps.mapping import File, Mapped, Stats, Step

    async def drip(reader, writer):
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\n")
        for _ in range(12):
            writer.write(b"x")
            await asyncio.sleep(0.05)
        writer.close()

    written = []

    class Writer:
        def next_index(self):
            return 0

        def write(self, line):
            written.append(line)

    monkeypatch.setattr("kernel_lab.apps.drives.DEADLINE_S", 0.2)
    server = await asyncio.start_server(drip, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    file = File(name="drip", stats=Stats(add=Step(request="POST /")))
    session = Session(
        app=Mapped(file), links=Fresh(Place(url=f"http://127.0.0.1:{port}"), iter("k")), writer=Writer(),
        workers=1, quick=True, tag="t",
    )  # fmt: skip
    assert await session.client(0).add() is None
    assert (written[0]["outcome"], written[0]["error"], written[0]["return_ns"]) == ("info", "too_slow", None)
    server.close()
    await asyncio.sleep(0.7)  # until the server has given up too


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("--deployment", "redis"), "cannot be combined"),
        (("--fault", "store_gone"), 'needs store = "redis"'),
        (("--fault", "flood"), "one of: kill_worker"),
        (("--scenario", "tokens"), "one of: rate_limit"),
    ],
)
def test_what_does_not_fit_is_one_line(command_line, app_toml, tmp_path, arguments, said):
    done = command_line("run", "--app", str(app_toml()), "--out", str(tmp_path / "run"), *arguments)
    assert done.returncode == 64
    assert said in done.stderr.splitlines()[-1]


def test_the_limits_of_the_client_are_stated():
    assert http.MOST_BYTES == 1 << 20
    assert http.DEADLINE_S == 10


async def test_a_cell_that_breaks_off_leaves_no_fault_for_the_next_cell(monkeypatch):
    begun = asyncio.Event()

    async def waits(*_):
        begun.set()
        await asyncio.Event().wait()

    async def breaks_off(_):
        await begun.wait()
        raise ValueError("the service is gone")

    monkeypatch.setattr(app_run, "inject", waits)
    monkeypatch.setitem(app_run.DRIVES, "stats", breaks_off)
    with pytest.raises(ValueError, match="the service is gone"):
        await app_run.drive_under_fault("stats", "kill_worker", None, None, 0)
    assert asyncio.all_tasks() == {asyncio.current_task()}
