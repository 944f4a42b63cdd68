"""What a guarantee costs is drawn with its noise, and never without distance."""

import re

import making
import msgspec
import pytest

from kernel_lab.load import distance as distances
from kernel_lab.load.costs import frontier as frontiers
from kernel_lab.load.costs import table
from kernel_lab.publish.charts.cost import added_latency, distance, frontier
from kernel_lab.publish.report.matrix import tables
from kernel_lab.publish.report.page import render
from kernel_lab.run.results import write_rows
from kernel_lab.run.saved import read_run


def ends(name, value, low, high):
    return {name: value, f"{name}_low": low, f"{name}_high": high}


OPTIONS = [
    {"deployment": "memory-4", "validity": "invalid", "broken": "handles traces"}
    | ends("throughput_vs_memory", 1, 1, 1) | ends("added_p99_ms", 0, 0, 0),
    {"deployment": "redis", "validity": "valid"}
    | ends("throughput_vs_memory", 0.8, 0.7, 0.9) | ends("added_p99_ms", 3, -1, 500),
    {"deployment": "sidecar", "validity": "valid", "dominated_by": "redis"}
    | ends("throughput_vs_memory", 0.4, 0.3, 0.5) | ends("added_p99_ms", 9, 8, 10),
]  # fmt: skip
NEAR_AND_FAR = [
    {"deployment": "redis", "mix": "invoke-200", "rtt_ms": rtt_ms, "blocked_ms_per_call": rtt_ms}
    | ends("throughput_vs_memory", ratio, ratio - 0.1, ratio + 0.1)
    for rtt_ms, ratio in ((0.0, 0.8), (1.0, 0.3))
]
AGAIN = {
    "deployment": "memory-4-again", "mix": "read-heavy", "step": "closed", "rounds_counted": 5,
    "generator_share": 0.25,
} | ends("throughput_vs_memory", 1.01, 0.97, 1.05)  # fmt: skip


@pytest.fixture(scope="module")
def costly(tmp_path_factory):
    """A run beside which a load run has put its figures."""
    folder = making.make_run(tmp_path_factory.mktemp("cost") / "run")
    write_rows(folder / "frontier.csv", frontiers.COLUMNS, OPTIONS)
    write_rows(folder / "cost_distance.csv", distances.COLUMNS, NEAR_AND_FAR)
    write_rows(folder / "cost.csv", table.COLUMNS, [AGAIN])
    return read_run(folder)


def test_the_frontier_has_what_keeps_most_on_top_and_what_is_dominated_pale(costly):
    picture = frontier(costly)
    order = re.findall(r'class="tick end">([a-z0-9-]+)<', picture.svg)
    assert order == ["redis", "sidecar", "memory-4"]
    assert (
        "sidecar: × 0.40 (× 0.30 to × 0.50); broke none of the claims under load; dominated by redis"
        in picture.svg
    )
    assert picture.svg.count("mark s0 pale") == 1
    assert "broke handles, traces" in picture.svg


def test_an_interval_that_is_far_too_wide_does_not_hide_the_others(costly):
    picture = added_latency(costly)
    ticks = [float(word) for word in re.findall(r'class="tick mid">(-?[\d.]+)<', picture.svg)]
    assert min(ticks) <= -1
    assert 18 <= max(ticks) < 30
    assert "redis: +3.0 ms (-1.0 ms to +500.0 ms)" in picture.svg


def test_distance_has_a_curve_for_each_store(costly):
    picture = distance(costly, "invoke-200")
    assert "redis, 1 ms: × 0.30 (0.20 to 0.40); a call blocks its worker for 1.00 ms" in picture.svg
    assert distance(costly, "another") is None


def test_no_loopback_ratio_is_drawn_without_its_curve_against_distance(costly):
    near = {name: rows for name, rows in costly.tables.items() if name != "cost_distance"}
    near_only = msgspec.structs.replace(costly, tables=near)
    assert frontier(near_only) is None
    assert added_latency(near_only) is None
    assert "× 0.80" not in render(near_only, making.subjects())


def cost_of(run, deployment):
    """What the matrix's footer says of a deployment's cost."""
    (matrix,) = tables(run, making.subjects().deployments, making.subjects().front)
    facts = {row.name: row.facts for row in matrix.facts}
    names = [name for name, _ in matrix.columns]
    return facts["throughput vs memory-4 (invokes of 200 rows)"][names.index(deployment)]


def test_a_page_beside_a_load_run_has_its_noise_and_its_headroom(costly):
    page = " ".join(render(costly, making.subjects()).split())
    assert "<dt>A/A ratio</dt><dd><b>× 1.01</b>" in page
    assert "memory-4 against itself, read-heavy; 95 %: 0.97 to 1.05, 5 rounds" in page
    assert "<dt>load generator</dt><dd><b>25 %</b>" in page
    assert "× 0.80 (0.70–0.90) at 0 ms, × 0.30 (0.20–0.40) at 1 ms" in cost_of(costly, "redis")
    assert cost_of(costly, "single") == "not measured"
