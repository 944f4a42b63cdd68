"""A figure says how sure one can be of it."""

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import binomtest

from kernel_lab.publish import figures
from kernel_lab.run.measures import Share, percent


@pytest.mark.parametrize(
    ("hits", "of", "said"),
    [
        (144, 192, "75 % (144 of 192; 95 %: 68 to 81 %)"),
        (0, 200, "0 of 200 (95 %: at most 1.5 %)"),
        (0, 1, "0 of 1 (95 %: at most 95 %)"),
        (1, 1, "100 % (1 of 1; 95 %: 21 to 100 %)"),
        (1, 200, "0.5 % (1 of 200; 95 %: 0 to 3 %)"),
    ],
)
def test_a_share_is_said_with_its_count_and_its_interval(hits, of, said):
    assert str(Share(hits, of)) == said


@settings(deadline=None)
@given(st.integers(1, 5000))
def test_none_of_n_has_the_one_sided_exact_bound(of):
    high = binomtest(0, of, alternative="less").proportion_ci(0.95, method="exact").high
    assert Share(0, of).interval == (0.0, pytest.approx(high))


@settings(deadline=None)
@given(st.integers(1, 500).flatmap(lambda of: st.tuples(st.integers(1, of), st.just(of))))
def test_some_of_n_have_wilsons_interval(counted):
    hits, of = counted
    known = binomtest(hits, of).proportion_ci(0.95, method="wilson")
    assert Share(hits, of).interval == (pytest.approx(known.low), pytest.approx(known.high))


@pytest.mark.parametrize(
    ("share", "said"), [(0.0, "0 %"), (0.004, "0.4 %"), (0.0995, "10 %"), (0.05, "5 %"), (1.0, "100 %")]
)
def test_a_small_share_keeps_a_decimal(share, said):
    assert percent(share) == said


def test_each_claim_has_the_figure_that_one_quotes(run):
    said = {cell.name: figures.short(cell) for cell in run.cells}
    assert said["rate_limit-memory-2-round_robin"] == "× 2.0"
    assert said["rate_limit-memory-2-keep_alive"] == "× 1.0"
    assert said["handles-memory-2-round_robin"] == "50 % of 2"
    assert said["handles-single-round_robin"] == "0 of 2, ≤ 78 %"
    assert said["revocation-memory-2-round_robin"] == "by 625 ms"
    assert said["revocation-single-round_robin"] == "0 of 6, ≤ 39 %"


def test_a_lag_whose_end_was_not_seen_is_no_number_of_ours(run):
    (cell,) = run.of("revocation", "memory-2")
    never = msgspec.structs.replace(
        cell, measures={**cell.measures, "lag_open_tokens": 1, "lag_upper_ms_max": None}
    )
    assert figures.short(never) == "50 % of 12, no end"
    assert "never refused while we looked (515 ms); ends only when the token expires (3,600 s)" in (
        never.declared.finding(never.observed)
    )
    tile = never.declared.tile(never.observed)
    assert (tile.figure, tile.after) == ("50 %", "of invokes with a revoked token")


def test_a_box_without_a_share_says_why(run):
    (held,) = run.of("handles", "single")
    uncounted = msgspec.structs.replace(held, measures={"anomalies": 0})
    assert figures.short(uncounted) == "tests not counted"
    (broken,) = [one for one in run.of("handles", "memory-2") if one.connections == "round_robin"]
    other = msgspec.structs.replace(broken, measures={**broken.measures, "misses": 0, "anomalies": 1})
    assert figures.short(other) == "1 anomaly"


def test_a_claim_that_holds_in_a_few_tests_is_marked(run):
    (cell,) = run.of("handles", "single")
    assert figures.too_few(cell)
    more = msgspec.structs.replace(cell, measures={**cell.measures, "expansions": 29})
    assert not figures.too_few(more)
    (broken,) = [one for one in run.of("handles", "memory-2") if one.connections == "round_robin"]
    assert not figures.too_few(broken)


def test_what_was_not_judged_has_no_figure(run):
    assert {figures.short(c) for c in run.cells if c.validity in ("unknown", "skipped")} == {""}


def test_of_several_cells_the_broken_one_speaks(run):
    assert figures.worst(run.of("rate_limit", "memory-2")).connections == "round_robin"
    assert figures.worst([]) is None
