"""What a run over hosts says beside another run: its table, and the row of the page."""

import msgspec

from kernel_lab.publish import hosts
from kernel_lab.publish.docs import read, reference
from kernel_lab.run import registry


def row(deployment, scenario, connections, validity, figure=""):
    return {
        "deployment": deployment, "replicas": "3", "workers": "2", "routing": "round_robin", "scenario": scenario,
        "connections": connections, "quick": "quick", "validity": validity, "expected": "", "figure": figure,
        "reason": "",
    }  # fmt: skip


MEASURED = (
    row("hosts-memory", "rate_limit", "round_robin", "invalid", "× 5.2"),
    row("hosts-memory", "rate_limit", "keep_alive", "valid"),
    row("hosts-redis", "rate_limit", "round_robin", "valid", "× 1.0"),
    row("hosts-redis", "rate_limit", "fresh", "skipped"),
    row("hosts-redis", "stats", "round_robin", "unknown"),
)


def run_with(rows):
    run = read(reference())
    return msgspec.structs.replace(run, tables={**run.tables, "hosts": tuple(rows)})


def test_the_table_has_a_mark_for_each_policy_and_a_figure():
    said = hosts.table(run_with(MEASURED))
    assert "`hosts-memory` (3 × 2)" in said
    assert "| rate limit | ✗✓ × 5.2 | ✓– × 1.0 |" in said
    assert "| stats |  | ? |" in said


def test_one_host_stands_beside_several_and_what_was_not_measured_is_not_told():
    [limit] = [
        line for line in hosts.compared(run_with(MEASURED)).splitlines() if line.startswith("| rate limit")
    ]
    memory, on_hosts, redis, redis_on_hosts = limit.split(" | ")[1:]
    assert memory == "✗ × 4.0"
    assert (on_hosts, redis, redis_on_hosts) == (
        "✗ × 5.2",
        "✓ × 1.0",
        "✓ × 1.0 |",
    )
    assert hosts.compared(run_with(MEASURED)).count("not measured in this run") == 1


def test_a_run_without_hosts_says_so():
    assert "not measured in this run" in hosts.table(run_with(()))
    assert "not measured in this run" in hosts.compared(run_with(()))


def test_a_claim_that_one_policy_broke_does_not_hold_over_hosts():
    run, known = run_with(MEASURED), registry.deployments()
    said = "measured with 3 hosts × 2 workers (hosts-{}, quick run): {} of 1 claims hold"
    assert hosts.spans(run, known["memory-4"]) == said.format("memory", 0)
    # what is unknown or was skipped is not counted
    assert hosts.spans(run, known["redis"]) == said.format("redis", 1)


def test_what_was_not_measured_over_hosts_is_not_told():
    run, known = run_with(MEASURED), registry.deployments()
    for name in ("sqlite", "sidecar", "single", "redis-cached"):
        assert hosts.spans(run, known[name]) == ""


def test_a_run_without_a_swarm_is_bad_input(tmp_path, capsys):
    assert hosts.main([str(reference()), str(tmp_path / "out")]) == 64
    assert "has no deployment over hosts" in capsys.readouterr().err
    assert hosts.main(["one"]) == 64
    assert not (tmp_path / "out").exists()
