"""Three hosts for real: up from a clean clone, measured, partitioned, rolled, down, and nothing left."""

import csv
import json
import os
import subprocess
from dataclasses import dataclass
from pathlib import Path

import psutil
import pytest

from kernel_lab.deployments.containers.hosts import read_hosts

pytestmark = [
    pytest.mark.skipif("LAB_TEST_SWARM" not in os.environ, reason="make test-swarm runs these"),
    pytest.mark.timeout(1800),
]

ROOT = Path(__file__).resolve().parents[2]
MEASURED = ("hosts-memory", "hosts-redis")
COMMAND_S = 900


def output(*command):
    """What a command prints; nothing where there is no such command, or it fails."""
    try:
        return subprocess.run(command, capture_output=True, text=True, check=False).stdout
    except FileNotFoundError:
        return ""


def leftovers():
    """What hosts and engines leave on a machine: each kind by its name."""
    state = Path(os.environ.get("CONTAINER_ENGINE_DIR", "/var/tmp/container-engine"))  # noqa: S108 - where the tool keeps it
    nodes = Path(os.environ.get("CONTAINER_NODES_DIR", "/var/tmp/container-nodes"))  # noqa: S108
    engines = ("dockerd", "containerd", "containerd-shim", "containerd-shim-runc-v2", "docker-proxy")
    processes = {
        f"{one.info['name']} {one.pid}"
        for one in psutil.process_iter(["name"])
        if one.info["name"] in engines or one.info["name"].startswith("containerd-shim")
    }
    links = {link["ifname"] for link in json.loads(output("ip", "-json", "link") or "[]")}
    rules = {line for line in output("iptables-save").splitlines() if "cnodes" in line}
    return {
        "engine": processes,
        "namespace": {path.name for path in Path("/run/netns").glob("*")},
        "link": links,
        "rule": rules,
        "volume": {path.name for path in (state / "data" / "volumes").glob("*") if path.is_dir()},
        "host": {path.name for path in nodes.glob("[0-9]*")},
        "mount": {
            line.split()[1] for line in Path("/proc/mounts").read_text().splitlines() if str(nodes) in line
        },
    }


@dataclass(frozen=True)
class Clone:
    """A clean clone beside the tool that brings hosts up, as the checkout is."""

    root: Path

    def run(self, *command):
        env = {name: value for name, value in os.environ.items() if not name.startswith(("LAB_", "WEAVER_"))}
        return subprocess.run(
            command, cwd=self.root, env=env | {"LAB_TAG": "test"}, capture_output=True, text=True,
            timeout=COMMAND_S, check=False,
        )  # fmt: skip

    def must(self, *command):
        done = self.run(*command)
        assert done.returncode == 0, done.stdout[-4000:] + done.stderr[-4000:]
        return done.stdout + done.stderr

    def docker(self, *words):
        """A command to the manager's engine."""
        return self.must("docker", "--host", read_hosts(self.root / ".hosts.toml").manager, *words)


@pytest.fixture(scope="module")
def before():
    return leftovers()


@pytest.fixture(scope="module")
def clone(tmp_path_factory, before):
    place = tmp_path_factory.mktemp("clean")
    root = place / "kernel-lab"
    subprocess.run(["git", "clone", "--quiet", "--depth", "1", f"file://{ROOT}", str(root)], check=True)
    (place / "shared").symlink_to(Path(os.environ["LAB_TEST_SWARM"]).parent)
    # the same locked environment: what is installed is tested elsewhere, and takes a minute
    clone = Clone(root)
    clone.must("make", "setup")
    return clone


@pytest.fixture(scope="module")
def swarm(clone):
    try:
        yield clone if clone.must("make", "up-swarm") else None
    finally:
        clone.run("make", "down-swarm")


def test_three_hosts_serve(swarm):
    """Each host is an engine of its own, and each deployment has a task on each."""
    assert len(swarm.docker("node", "ls", "--quiet").split()) == 3
    for name in MEASURED:
        nodes = swarm.docker("service", "ps", "--format", "{{.Node}}", f"kernel-lab_{name}").split()
        ids = swarm.docker(
            "service", "ps", "--quiet", "--filter", "desired-state=running", f"kernel-lab_{name}"
        )
        tasks = json.loads(swarm.docker("inspect", "--type", "task", *ids.split()))
        assert len({task["NodeID"] for task in tasks}) == 3, nodes


@pytest.fixture(scope="module")
def measured(swarm):
    """A run of `make scenarios`: the nine claims."""
    named = " ".join(f"--deployment {name}" for name in MEASURED)
    done = swarm.run("make", "scenarios", "QUICK=1", f"ARGS={named} --out results/measured")
    with (swarm.root / "results" / "measured" / "verdicts.csv").open() as file:
        return done, list(csv.DictReader(file))


def test_make_scenarios_finds_the_swarm(measured):
    done, _ = measured
    assert f"a swarm of 3 hosts is up: measured there are {', '.join(MEASURED)}" in done.stderr
    for name in MEASURED:
        assert f"{name}: 6 workers answer from 3 hosts" in done.stderr


def test_every_claim_comes_out_as_expected(measured):
    done, rows = measured
    judged = [row for row in rows if row["validity"] != "skipped"]
    assert [
        (row["scenario"], row["deployment"], row["reason"])
        for row in judged
        if row["validity"] != row["expected"]
    ] == []
    assert done.returncode == 0, done.stderr


def test_state_in_each_worker_breaks_and_a_shared_store_holds(measured):
    _, rows = measured
    of = {(row["scenario"], row["deployment"], row["connections"]): row["validity"] for row in rows}
    for claim in ("rate_limit", "revocation", "handles", "traces"):
        assert of[claim, "hosts-memory", "round_robin"] == "invalid"
        for policy in ("round_robin", "fresh", "keep_alive"):
            assert of[claim, "hosts-redis", policy] == "valid"


@pytest.fixture(scope="module")
def disturbed(swarm):
    """A run around a real partition and the engine's own rolling update: the effect of each on each claim."""
    done = swarm.run(
        *(".venv/bin/kernel-lab", "run", "--attach", "swarm", "--deployment", "hosts-redis"),
        *("--fault", "cut_host", "--fault", "rolling_update"),
        *("--scenario", "tokens", "--scenario", "rate_limit", "--scenario", "revocation"),
        *("--out", "results/disturbed"),
    )
    assert done.returncode == 0, done.stderr
    with (swarm.root / "results" / "disturbed" / "faults.csv").open() as file:
        return {(row["fault"], row["claim"]): row for row in csv.DictReader(file)}


def test_a_host_that_is_cut_off_costs_requests_and_no_guarantee(disturbed):
    for claim in ("tokens", "rate_limit", "revocation"):
        row = disturbed["cut_host", claim]
        assert row["landed"].startswith(
            "host 3 with 1 of the tasks was reached before it was cut off, and not"
        )
        assert row["validity"] == "valid", row
        assert int(row["failed_requests"])


def test_a_rolling_update_replaces_every_task_and_breaks_nothing(disturbed):
    for claim in ("tokens", "rate_limit", "revocation"):
        row = disturbed["rolling_update", claim]
        assert row["landed"] == "3 of 3 tasks were replaced, and 3 run"
        assert row["validity"] == "valid", row


def test_the_end_leaves_nothing(clone, before, request):
    """No engine, namespace, bridge or volume that was not there before."""
    assert clone.root.joinpath(".hosts.toml").exists(), "nothing was up"
    clone.must("make", "down-swarm")
    assert {kind: found - before[kind] for kind, found in leftovers().items() if found - before[kind]} == {}
    assert not clone.root.joinpath(".hosts.toml").exists()
