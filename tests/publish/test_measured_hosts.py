"""What a run over hosts says beside another run: its table, and the row of the page."""

import msgspec

from kernel_lab.publish import hosts
from kernel_lab.publish.docs import read, reference
from kernel_lab.run import registry


def row(deployment, scenario, connections, validity, figure="", run="1", expected=""):
    return {
        "run": run, "deployment": deployment, "replicas": "3", "workers": "2", "routing": "round_robin",
        "scenario": scenario, "connections": connections, "quick": "quick", "validity": validity,
        "expected": expected, "figure": figure, "reason": "",
    }  # fmt: skip


MEASURED = (
    row("hosts-memory", "rate_limit", "round_robin", "invalid", "× 5.2"),
    row("hosts-memory", "rate_limit", "keep_alive", "valid"),
    row("hosts-redis", "rate_limit", "round_robin", "valid", "× 1.0"),
    row("hosts-redis", "rate_limit", "fresh", "skipped"),
    row("hosts-redis", "stats", "round_robin", "unknown"),
)


def run_with(rows, faults=()):
    run = read(reference())
    return msgspec.structs.replace(
        run, tables={**run.tables, "hosts": tuple(rows), "hosts_faults": tuple(faults)}
    )


def fault_row(fault, claim, validity, run="1", failed="3", requests="100", away="1500"):
    return {
        "run": run, "deployment": "hosts-redis", "fault": fault, "claim": claim, "validity": validity,
        "failed_requests": failed, "requests": requests, "unavailable_ms": away,
    }  # fmt: skip


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


def test_other_runs_show_what_repeats_and_change_no_table_of_figures():
    again = [
        row("hosts-redis", "rate_limit", "round_robin", "valid", "× 1.0", run="2", expected="valid"),
        row("hosts-redis", "rate_limit", "keep_alive", "valid", run="2", expected="valid"),
        row("hosts-memory", "rate_limit", "round_robin", "valid", "× 9.9", run="2", expected="invalid"),
        row("hosts-memory", "rate_limit", "keep_alive", "valid", run="2"),
    ]
    run = run_with((*MEASURED, *again))
    assert hosts.table(run) == hosts.table(run_with(MEASURED))
    assert hosts.compared(run) == hosts.compared(run_with(MEASURED))
    told = hosts.repeated(run).splitlines()
    # round robin differs between the two runs, and keep alive does not
    assert "| `hosts-memory` | 2 | 1 of 2 | 0 of 4 |" in told
    # a cell that one run alone has repeats nothing
    assert "| `hosts-redis` | 2 | 1 of 2 | 2 of 3 |" in told


def test_a_fault_of_hosts_has_a_mark_for_each_run_and_what_it_cost():
    rows = [
        fault_row("cut_host", "tokens", "valid"),
        fault_row("cut_host", "tokens", "unknown", run="2", failed="", requests="", away=""),
        fault_row("cut_host", "revocation", "invalid", failed="5", away="500"),
        fault_row("drain_host", "tokens", "valid", away=""),
    ]
    told = hosts.suffered(run_with((), rows)).splitlines()
    assert "| `cut_host` | `hosts-redis` | ✓? | ✗ | 8 of 200 | 0.5 to 1.5 s |" in told
    assert "| `drain_host` | `hosts-redis` | ✓ |  | 3 of 100 |  |" in told


def test_a_run_without_hosts_says_so():
    assert "not measured in this run" in hosts.repeated(run_with(()))
    assert "not measured in this run" in hosts.suffered(run_with(()))
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
