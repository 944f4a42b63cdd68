"""cost.csv: what is compared with what, and what a reader is told."""

import dataclasses

import pytest

from kernel_lab.judge.operation import Outcome
from kernel_lab.load.costs.table import COLUMNS, figures, series
from kernel_lab.load.measure import Traffic
from kernel_lab.load.plan import Slot
from kernel_lab.load.walk import Sample


def sample(
    subject: str,
    number: int,
    per_s: float,
    *,
    cores: float = 1.0,
    busy: float = 0.3,
    rate_per_s: float = 0.0,
    latency_ms: float = 5.0,
    store: float | None = None,
) -> Sample:
    traffic = Traffic(measured_s=1.0, answered=int(per_s))
    traffic.outcomes[Outcome.OK] = int(per_s)
    traffic.latencies_ms["invoke"] = [latency_ms] * int(per_s)
    traffic.offered = int(rate_per_s)
    cores_used = {"workers": cores, "generator": busy} | ({} if store is None else {"store": store})
    return Sample(
        slot=Slot(name="", subject=subject, base_url="", mix="grant", rate_per_s=rate_per_s, round=number),
        traffic=traffic,
        cores_used=cores_used,
        memory=dict.fromkeys(cores_used, 50_000_000),
        generator_busy=busy,
        generator_queued=0.0,
        others_used=0.1,
        stolen=0.0,
        cores=4,
    )


def test_a_wait_that_no_round_measured_is_empty_and_not_zero():
    unmeasured = [dataclasses.replace(one, generator_queued=None) for one in rounds("redis", 500, 510)]
    assert row(unmeasured, "redis")["generator_queued"] is None
    assert row([*unmeasured, sample("redis", 2, 505)], "redis")["generator_queued"] == 0


def rounds(subject: str, *per_s: float, **more) -> list[Sample]:
    return [sample(subject, number, value, **more) for number, value in enumerate(per_s)]


MEMORY = rounds("memory-4", 1000, 1100, 900)
CONTROL = rounds("memory-4-again", 1010, 1089, 905)


def row(samples: list[Sample], subject: str, step: str = "closed") -> dict:
    return figures(series([*MEMORY, *CONTROL, *samples]), (subject, "grant", step))


def test_a_slower_deployment_is_told_as_a_ratio_with_its_interval():
    found = row(rounds("redis", 505, 549, 448), "redis")
    assert found["throughput_vs_memory"] == pytest.approx(0.5, abs=0.01)
    assert found["throughput_vs_memory_low"] < 0.5 < found["throughput_vs_memory_high"]
    assert found["reading"].startswith("throughput × 0.50 (")


def test_it_is_compared_with_the_mean_of_memory_and_its_control_and_these_with_each_other():
    samples = [*rounds("memory-4", 100, 100), *rounds("memory-4-again", 400, 400), *rounds("redis", 200, 200)]
    found = {
        name: figures(series(samples), (name, "grant", "closed")) for name in ("redis", "memory-4-again")
    }
    assert found["redis"]["throughput_vs_memory"] == pytest.approx(1)
    assert found["memory-4-again"]["throughput_vs_memory"] == pytest.approx(4)


def test_what_lies_within_the_noise_reads_no_difference_measured():
    found = row(rounds("preload", 1005, 1095, 903), "preload")
    assert found["reading"] == "throughput: no difference measured; CPU: no difference measured"


def test_the_reference_is_not_compared_with_itself():
    found = row([], "memory-4")
    assert found["reading"] == "the reference"
    assert "throughput_vs_memory" not in found


def test_a_round_in_which_the_generator_was_the_bottleneck_does_not_count():
    slow = [*rounds("redis", 500, 550, 450), sample("redis", 3, 10, busy=0.95)]
    memory = [sample("memory-4", 3, 1000)]
    found = row([*slow, *memory], "redis")
    assert (found["rounds"], found["rounds_counted"]) == (4, 3)
    assert found["throughput_vs_memory"] == pytest.approx(0.5, abs=0.01)


@pytest.mark.parametrize(
    ("busy", "servers", "others", "said"),
    [
        (0.9, 1.0, 0.0, True),  # it had no time to wait
        (0.8, 0.7, 0.0, False),  # a core and more are idle
        (0.8, 0.7, 2.5, True),  # nothing is idle, and it takes more than the servers
        (0.8, 1.5, 1.7, False),  # nothing is idle, and the servers take more
    ],
)
def test_the_generator_is_the_bottleneck_where_it_is_busy_or_outdoes_the_servers(busy, servers, others, said):
    found = dataclasses.replace(sample("redis", 0, 500, busy=busy, cores=servers), others_used=others)
    assert found.saturated is said


def test_at_a_constant_rate_the_generator_may_outdo_the_servers():
    found = sample("redis", 0, 20, busy=0.3, cores=0.2, rate_per_s=20.0)
    assert not dataclasses.replace(found, others_used=3.5).saturated
    assert dataclasses.replace(found, generator_busy=0.9).saturated


def test_a_row_of_such_rounds_alone_says_so():
    found = row(rounds("redis", 500, 550, 450, busy=0.95), "redis")
    assert found["reading"].startswith(
        "throughput does not count: the load generator was the bottleneck; CPU × "
    )
    assert "throughput_vs_memory" not in found
    assert found["cpu_vs_memory"] == pytest.approx(2.0, abs=0.1)
    assert found["achieved_per_s"] is None


def test_one_round_is_not_compared():
    assert row(rounds("redis", 500), "redis")["reading"].startswith("does not count: fewer than two rounds")


def test_cpu_is_that_of_all_servers_and_not_the_generators():
    found = row(rounds("redis", 500, 550, 450, cores=1.0, store=0.5), "redis")
    assert found["cpu_ms_per_call"] == pytest.approx(3.0, rel=0.1)
    assert found["store_cpu_ms_per_call"] == pytest.approx(1.0, rel=0.1)
    assert found["cpu_vs_memory"] == pytest.approx(3.0, abs=0.1)


def test_at_a_constant_rate_the_added_latency_is_told_instead_of_throughput():
    steady = {"rate_per_s": 100.0}
    memory = rounds("memory-4", 100, 100, 100, latency_ms=5.0, **steady)
    control = rounds("memory-4-again", 100, 100, 100, **steady)
    redis = rounds("redis", 100, 100, 100, latency_ms=7.0, cores=1.5, **steady)
    found = figures(series([*memory, *control, *redis]), ("redis", "grant", "rate"))
    assert found["added_p99_ms"] == pytest.approx(2.0)
    assert "throughput_vs_memory" not in found
    assert found["offered_per_s"] == pytest.approx(100.0)
    assert found["reading"] == "CPU × 1.50 (1.50 to 1.50)"


def test_every_figure_has_a_column():
    found = row(rounds("redis", 500, 550, 450, store=0.5), "redis")
    assert set(found) <= set(COLUMNS)
