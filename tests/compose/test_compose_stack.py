"""The stack for real: up from a clean clone, measured, disturbed meanwhile, and gone without a trace."""

import asyncio
import csv
import json
import os
import socket
import subprocess
import time
from dataclasses import replace
from itertools import pairwise

import pytest

from kernel_lab.deployments.attached import meet
from kernel_lab.deployments.ports import LOOPBACK
from kernel_lab.judge.history import Outcome, read_history

pytestmark = [
    pytest.mark.skipif("LAB_TEST_COMPOSE" not in os.environ, reason="make test-compose runs these"),
    pytest.mark.timeout(3600),
]

DEPLOYMENTS = (
    "memory-4", "replicas", "sticky", "sticky-host", "sqlite", "redis", "redis-authz", "redis-cached",
    "sidecar", "remote",
)  # fmt: skip


def test_with_nothing_set_but_the_secret_the_configuration_is_clean(checkout):
    done = checkout.run(
        "docker", "compose", "config", "--quiet", env=checkout.env | {"WEAVER_KERNEL_SECRET": "s"}
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


def test_a_start_without_a_secret_is_refused_in_one_line(checkout):
    done = checkout.run("docker", "compose", "up", env=checkout.env)
    assert done.returncode != 0
    assert "every worker must sign with the same secret" in done.stderr
    assert len(done.stderr.strip().splitlines()) == 1


def test_a_taken_port_is_one_line(checkout):
    with socket.create_server((LOOPBACK, checkout.first_port + 1)):
        done = checkout.run("lab/up.sh")
    assert done.returncode == 1
    assert done.stderr == (
        f"make up: port {checkout.first_port + 1} is taken by another program; "
        "LAB_PORTS=9101-9110 make up takes others\n"
    )


def test_an_engine_that_does_not_answer_is_one_line(checkout):
    done = checkout.run("lab/up.sh", env=checkout.stack_env | {"DOCKER_HOST": "unix:///nowhere.sock"})
    assert done.returncode == 1
    assert "the container engine does not answer" in done.stderr
    assert len(done.stderr.strip().splitlines()) == 1


def test_every_container_is_healthy_and_none_is_root(stack):
    for container in stack.listed("ps"):
        about = json.loads(stack.must("docker", "inspect", container))[0]
        assert about["State"]["Health"]["Status"] == "healthy"
        assert about["HostConfig"]["ReadonlyRootfs"]
        assert stack.must("docker", "exec", container, "id", "-u").strip() != "0"


def test_no_build_tools_are_left_in_the_image(stack):
    for tool in ("pip", "gcc", "uv", "git"):
        found = stack.run(
            "docker", "run", "--rm", "--entrypoint", "sh", "kernel-lab:test", "-c", f"command -v {tool}"
        )
        assert found.stdout == ""


def test_of_a_stack_that_is_up_only_its_own_ports_are_no_obstacle(stack):
    with socket.socket() as taken:
        taken.bind((LOOPBACK, 0))
        taken.listen()
        port = taken.getsockname()[1]
        done = stack.run("lab/up.sh", env=replace(stack, first_port=port).stack_env)
    assert done.returncode == 1
    assert done.stderr.startswith(f"make up: port {port} is taken by another program")


@pytest.fixture(scope="module")
def measured(stack):
    """A run of `make scenarios` over the whole stack."""
    named = " ".join(f"--deployment {name}" for name in DEPLOYMENTS)
    some = "--scenario tokens --scenario rate_limit --connections round_robin --connections fresh"
    done = stack.run("make", "scenarios", "QUICK=1", f"ARGS={named} {some} --out results/measured")
    return done, stack.root / "results" / "measured"


def test_make_scenarios_finds_the_stack_and_says_so(measured):
    done, _ = measured
    assert f"the compose stack is up: measured there are {', '.join(DEPLOYMENTS)}" in done.stderr


def test_the_same_claims_come_out_as_they_do_natively(measured):
    done, folder = measured
    with (folder / "verdicts.csv").open() as file:
        verdicts = {
            tuple(row[key] for key in ("scenario", "deployment", "connections")): row
            for row in csv.DictReader(file)
        }
    assert len(verdicts) == 2 * 2 * len(DEPLOYMENTS)
    other = {cell: row["reason"] for cell, row in verdicts.items() if row["validity"] != row["expected"]}
    assert other == {}
    assert done.returncode == 0


def test_every_worker_of_every_replica_is_met(measured):
    _, folder = measured
    with (folder / "shares.csv").open() as file:
        met = {(row["deployment"], row["worker"]) for row in csv.DictReader(file) if int(row["requests"])}
    with (folder / "tokens.csv").open() as file:
        rows = {row["deployment"]: row for row in csv.DictReader(file)}
    for name, row in rows.items():
        workers = [worker for deployment, worker in met if deployment == name]
        assert len(workers) == int(row["workers"]) * int(row["replicas"])
        assert {worker.split("/")[0] for worker in workers} == {f"r{n}" for n in range(int(row["replicas"]))}


def test_a_stack_of_another_version_is_one_line(stack):
    changed = stack.root / "lab" / "app.py"
    before = changed.read_text()
    changed.write_text(before + "\n# newer\n")
    try:
        done = stack.run(".venv/bin/kernel-lab", "run", "--attach", "compose", "--quick")
    finally:
        changed.write_text(before)
    assert done.returncode == 64
    assert "the compose stack runs another version of the lab (lab/app.py differ" in done.stderr
    assert len(done.stderr.strip().splitlines()) == 1


def test_a_deployment_the_stack_lacks_is_one_line(stack):
    done = stack.run(".venv/bin/kernel-lab", "run", "--attach", "compose", "--deployment", "memory-8")
    assert done.returncode == 64
    assert "--deployment memory-8: the compose stack has memory-4, " in done.stderr


def test_without_a_python_the_stack_measures_itself(stack):
    done = stack.run(
        "make",
        "scenarios",
        "PYTHON=",
        "QUICK=1",
        "ARGS=--deployment redis --scenario tokens --connections fresh",
    )
    assert done.returncode == 0, done.stderr
    with (stack.root / "results" / "latest" / "tokens.csv").open() as file:
        [row] = csv.DictReader(file)
    assert (row["workers"], row["replicas"], row["validity"]) == ("2", "2", "valid")


def kill(stack):
    stack.must("docker", "kill", f"{stack.project}-replicas-2")


def crash(stack):
    # what ends of itself is started again by the engine
    stack.must("docker", "exec", f"{stack.project}-replicas-2", "bash", "-c", "kill -TERM 1")


def pause(stack):
    stack.must("docker", "pause", f"{stack.project}-replicas-2")
    time.sleep(8)  # longer than the balancer waits for an answer
    stack.must("docker", "unpause", f"{stack.project}-replicas-2")


def grow(stack):
    stack.must("docker", "compose", "up", "--detach", "--no-recreate", "--scale", "replicas=4")


def shrink(stack):
    stack.must("docker", "compose", "up", "--detach", "--no-recreate", "--scale", "replicas=2")


@pytest.fixture
def whole(stack):
    """Three replicas again, whatever became of them."""
    yield
    # one that was paused counts as unhealthy until it is asked again, half a minute later
    stack.must("docker", "compose", "up", "--detach", "--no-recreate", "--scale", "replicas=3")
    stack.must("docker", "compose", "restart", "--timeout", "1", "replicas")
    stack.must("docker", "compose", "up", "--wait", "--scale", "replicas=3")


@pytest.mark.parametrize(
    ("fault", "seen"),
    [(kill, "kill"), (crash, "die"), (pause, "pause"), (grow, "create"), (shrink, "destroy")],
    ids=["kill", "crash", "pause", "grow", "shrink"],
)
@pytest.mark.usefixtures("whole")
def test_a_run_outlives_what_happens_to_its_containers_and_says_what_it_saw(stack, tmp_path, fault, seen):
    out = tmp_path / "run"
    history = out / "cells" / "revocation" / "replicas-round_robin" / "history.jsonl"
    with subprocess.Popen(
        [
            *(".venv/bin/kernel-lab", "run", "--attach", "compose", "--quick", "--deployment", "replicas"),
            *("--scenario", "revocation", "--connections", "round_robin", "--out", str(out)),
        ],
        cwd=stack.root,
        env=stack.stack_env,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
    ) as run:
        while run.poll() is None and (not history.exists() or history.read_bytes().count(b"\n") < 20):
            time.sleep(0.05)
        fault(stack)
        _, said = run.communicate(timeout=900)
    assert run.returncode in {0, 1, 2}, said
    assert "while replicas was measured: " in said
    assert f" {seen}" in said
    assert_sound(read_history(history))
    judged = stack.run(".venv/bin/kernel-lab", "check", str(out), "--json")
    assert judged.returncode in {0, 1, 2}, judged.stderr


def assert_sound(operations):
    """One client has one call in flight, and none after one whose end is unknown."""
    of_client = {}
    for operation in sorted(operations, key=lambda operation: operation.call_ns):
        of_client.setdefault(operation.client, []).append(operation)
    for calls in of_client.values():
        for earlier, later in pairwise(calls):
            assert earlier.outcome is not Outcome.INFO
            assert earlier.return_ns <= later.call_ns


@pytest.mark.usefixtures("whole")
def test_the_balancer_meets_a_replica_that_was_added(stack):
    grow(stack)
    url = f"http://{LOOPBACK}:{stack.first_port + 1}"
    met = asyncio.run(meet(url, expected=8, within_s=120))
    assert {worker.split("/")[0] for worker in met} == {"r0", "r1", "r2", "r3"}


def test_an_end_leaves_nothing(stack):
    stack.must("make", "down")
    assert stack.listed("ps", "--all") == []
    assert stack.listed("network ls") == []
    assert stack.listed("volume ls") == []
