"""kernel-lab gate measures what the guarantees need and no more, on real servers."""

import csv
import sys
from pathlib import Path

import pytest

from kernel_lab.bad_input import BadInput
from kernel_lab.gate.guarantees import read_guarantees
from kernel_lab.gate.running import plan_work

ROOT = Path(__file__).resolve().parents[2]


def cells_of(run):
    with (run / "verdicts.csv").open(newline="") as file:
        return {(row["scenario"], row["deployment"], row["connections"]) for row in csv.DictReader(file)}


def test_only_the_cells_that_are_named_are_planned(declare):
    path = declare("""
[[guarantee]]
claim = "tokens"
deployment = "memory-2"
connections = "fresh"
[[guarantee]]
claim = "budget"
deployment = "redis"
connections = "round_robin"
[[guarantee]]
claim = "revocation"
deployment = "redis"
""")
    work = plan_work(read_guarantees(path), path, quick=False, seed=1, out=None)
    assert {(cell.scenario.name, cell.deployment.name, cell.policy.value) for cell in work.lab.cells} == {
        ("tokens", "memory-2", "fresh"), ("budget", "redis", "round_robin"), ("revocation", "redis", "round_robin"),
        ("revocation", "redis", "fresh"), ("revocation", "redis", "keep_alive"),
    }  # fmt: skip
    # a stack that no cell needs is not started
    assert [batch.stack for batch in work.lab.batches] == ["memory-2", "redis", "redis-own-round_robin"]


APP = """
[[guarantee]]
claim = "handles"
app = "app.toml"
workers = 2
connections = "round_robin"
"""


@pytest.mark.live
@pytest.mark.timeout(180)
def test_a_store_of_each_workers_own_breaks_the_gate_with_its_counter_example(
    command_line, declare, tmp_path
):
    path = declare("""
[[guarantee]]
claim = "revocation"
deployment = "memory-2"
connections = "round_robin"
[[guarantee]]
claim = "tokens"
deployment = "memory-2"
connections = "round_robin"
""")
    run = tmp_path / "run"
    done = command_line("gate", "--guarantees", path, "--quick", "--out", run)
    assert done.returncode == 1, done.stdout + done.stderr
    assert cells_of(run) == {
        ("revocation", "memory-2", "round_robin"), ("tokens", "memory-2", "round_robin"),
    }  # fmt: skip
    assert "✗ revocation on memory-2, round_robin: invalid" in done.stdout
    assert "✓ tokens on memory-2, round_robin: valid" in done.stdout
    assert "revoke" in done.stdout
    # what it left is judged the same again
    assert command_line("gate", "--guarantees", path, "--quick", "--run", run).returncode == 1


@pytest.mark.live
@pytest.mark.timeout(180)
def test_the_gate_of_a_service_that_is_not_the_labs(command_line, declare, tmp_path):
    tiny = ROOT / "tests" / "apps"
    command = (
        f"{sys.executable} -m gunicorn tiny:app --workers {{workers}} --bind 127.0.0.1:{{port}} "
        "--worker-class gthread --threads 4 --keep-alive 20 --no-control-socket"
    )
    declare(
        f'name = "tiny"\n[start]\ncommand = "{command}"\nworkers = [1, 4]\ncwd = "{tiny}"\n'
        '[caller]\nheader = "X-User"\n[handles]\nput = { request = "POST /things", id = { json = "/id" } }\n'
        'get = { request = "GET /things/{id}", refused = { status = 404 } }\n',
        "app.toml",
    )
    path = declare(APP)
    run = tmp_path / "run"
    done = command_line("gate", "--guarantees", path, "--quick", "--out", run)
    assert done.returncode == 1, done.stdout + done.stderr
    assert cells_of(run) == {("handles", "tiny-2", "round_robin")}
    assert "✗ handles on app.toml, round_robin: invalid" in done.stdout
    assert "app tiny" in done.stdout


@pytest.mark.live
@pytest.mark.slow
@pytest.mark.timeout(180)
def test_a_guarantee_around_a_fault_is_measured_on_a_stack_that_suffers_it(command_line, declare, tmp_path):
    path = declare("""
[[guarantee]]
claim = "revocation"
deployment = "single"
fault = "reload"
""")
    run = tmp_path / "run"
    done = command_line("gate", "--guarantees", path, "--quick", "--out", run)
    assert done.returncode == 1, done.stdout + done.stderr
    assert "✗ revocation on single, with reload: invalid over fresh" in done.stdout
    assert (run / "faults.csv").exists()


@pytest.mark.parametrize(("table", "said"), [
    ('claim = "stats"\ndeployment = "redis"\nfault = "reload"', "stats cannot be asked around a fault"),
    ('claim = "tokens"\ndeployment = "single"\nfault = "kill_store"', "it has no store server"),
    ('claim = "tokens"\ndeployment = "redis"\nfault = "reload"\nconnections = "keep_alive"', "has a fresh connection"),
])  # fmt: skip
def test_what_a_fault_does_not_go_with_is_said_before_anything_is_measured(declare, table, said):
    path = declare(f"[[guarantee]]\n{table}\n")
    with pytest.raises(BadInput, match=said):
        plan_work(read_guarantees(path), path, quick=True, seed=1, out=None)
