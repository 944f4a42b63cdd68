"""The tables of docs/cost.md, from CSVs of two rows."""

from pathlib import Path

import pytest

from kernel_lab.load.costs.tables import TABLES
from kernel_lab.run.saved import SavedRun

COST = {
    "deployment": "redis", "mix": "grant-heavy", "step": "closed", "reading": "", "reason": "",
    "throughput_vs_memory": "0.5", "throughput_vs_memory_low": "0.45", "throughput_vs_memory_high": "0.55",
    "cpu_vs_memory": "1.9", "cpu_vs_memory_low": "1.8", "cpu_vs_memory_high": "2.0",
    "added_p99_ms": "", "offered_per_s": "", "noise_throughput": "1.04", "noise_cpu": "1.02",
    "generator_share": "0.31", "others_cores": "0.05", "stolen_cores": "0.01",
    "validity": "valid", "broken": "",
}  # fmt: skip
STEADY = COST | {
    "step": "rate", "added_p99_ms": "3.2", "added_p99_ms_low": "-0.4", "added_p99_ms_high": "6.8",
    "offered_per_s": "120", "generator_share": "0.35",
}  # fmt: skip
SKIPPED = {"deployment": "sticky", "mix": "", "step": "", "reading": "skipped", "reason": "no nginx"}
DISTANCE = {
    "deployment": "redis", "mix": "grant", "rtt_ms": "1", "ping_ms": "1.2", "store_calls_per_call": "2",
    "blocked_ms_per_call": "2.4", "ceiling_per_s": "1666.7", "achieved_per_s": "900",
    "throughput_vs_memory": "",
}  # fmt: skip


def run(**tables) -> SavedRun:
    return SavedRun(path=Path(), environment={}, cells=(), tables=tables)


def lines(name: str, saved: SavedRun) -> list[list[str]]:
    table = TABLES[name](saved).splitlines()
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in (table[0], *table[2:])]


@pytest.mark.parametrize("name", TABLES)
def test_a_run_without_load_says_so(name):
    head, row = lines(name, run())
    assert row == ["not measured in this run", *[""] * (len(head) - 1)]


def test_a_ratio_stands_with_its_interval_and_latency_with_its_own():
    _, redis, sticky = lines("cost", run(cost=(COST, STEADY, SKIPPED)))
    assert redis == [
        "redis", "–", "–", "× 0.50 (0.45–0.55)", "× 1.90 (1.80–2.00)",
        "no difference (-0.4 to +6.8 ms)", "nothing",
    ]  # fmt: skip
    assert (sticky[0], sticky[-1]) == ("sticky", "not run: no nginx")


@pytest.mark.parametrize(
    ("low", "high", "said"),
    [
        ("0.45", "0.55", "× 0.50 (0.45–0.55)"),
        ("0.45", "1.02", "no difference (0.45–1.02)"),  # the interval holds 1
        ("0.97", "0.99", "no difference (0.97–0.99)"),  # within the noise of 4 %
        ("0.95", "0.99", "× 0.50 (0.95–0.99)"),
    ],
)
def test_no_difference_is_no_number(low, high, said):
    row = COST | {"throughput_vs_memory_low": low, "throughput_vs_memory_high": high}
    _, redis = lines("cost", run(cost=(row, STEADY)))
    assert redis[3] == said


def test_beside_every_timing_stand_noise_generator_and_others():
    _, closed, steady = lines("cost-trust", run(cost=(COST, STEADY, SKIPPED)))
    assert closed == [
        "grant-heavy", "closed", "as fast as they answer", "± 4 %", "± 2 %", "31 % at most",
        "0.05 cores at most", "0.01 cores at most",
    ]  # fmt: skip
    assert steady[2] == "120/s"


def test_distance_stands_with_its_ceiling():
    _, row = lines("cost-distance", run(cost_distance=(DISTANCE,)))
    assert row == ["redis", "grant", "1 ms", "1.2 ms", "–", "–", "900/s", "2", "2.4 ms", "1,667/s", "–"]


@pytest.mark.parametrize(
    ("value", "high", "said"),
    [
        ("0.66", "0.72", "× 0.66 (0.60–0.72), reached"),
        ("0.60", "0.64", "missed"),
        ("0.64", "0.7", "within the interval"),
    ],
)
def test_an_aim_stands_beside_what_was_measured(value, high, said):
    measured = {
        "callers": "64",
        "throughput_vs_memory": value,
        "throughput_vs_memory_low": "0.60",
        "throughput_vs_memory_high": high,
    }
    _, grant, *_ = lines("cost-aims", run(cost_distance=(DISTANCE | measured,)))
    assert grant[:2] == ["grant", "`redis`"]
    assert grant[3].startswith("≥ 0.65: × ")
    assert grant[3].endswith(said)
    assert grant[4] == "≥ 0.50: not measured in this run"
