"""Ratios: what they are, how sure, and when they say nothing."""

import math
import random
from statistics import mean, stdev

import pytest
from scipy import stats

from kernel_lab.load.costs.ratio import Ratio, differs, noise, paired, paired_difference


def ratio(value: float, low: float, high: float) -> Ratio:
    return Ratio(value=value, low=low, high=high, rounds=5)


@pytest.mark.parametrize("rounds", [2, 3, 5])
def test_of_a_few_rounds_the_interval_is_students_on_logarithms(rounds):
    rng = random.Random(rounds)
    ours = [rng.uniform(80, 120) for _ in range(rounds)]
    theirs = [rng.uniform(80, 120) for _ in range(rounds)]
    logs = [math.log(a / b) for a, b in zip(ours, theirs, strict=True)]
    low, high = stats.t.interval(0.95, rounds - 1, mean(logs), stdev(logs) / math.sqrt(rounds))
    found = paired(ours, theirs)
    assert found is not None
    assert found.low == pytest.approx(math.exp(low), rel=1e-3)
    assert found.high == pytest.approx(math.exp(high), rel=1e-3)


@pytest.mark.parametrize("rounds", [6, 8, 14, 20, 31])
def test_of_more_rounds_no_ratio_inside_the_interval_is_rejected_by_signed_ranks(rounds):
    rng = random.Random(rounds)
    ours = [math.exp(rng.gauss(0.1, 0.2)) for _ in range(rounds)]
    found = paired(ours, [1.0] * rounds)
    assert found is not None

    def p(ratio):
        return stats.wilcoxon([math.log(a / ratio) for a in ours], method="exact").pvalue

    assert p(found.low * 1.001) > 0.05
    assert p(found.high * 0.999) > 0.05
    assert p(found.low * 0.999) <= 0.05
    assert p(found.high * 1.001) <= 0.05
    assert found.low <= found.value <= found.high


def test_an_episode_moves_the_ratio_little():
    even = [0.97, 0.98, 0.99, 1.0, 1.01, 1.02, 1.03, 0.995, 1.005, 1.015]
    found, spoilt = paired(even, [1.0] * 10), paired([*even[:9], 0.3], [1.0] * 10)
    assert found is not None
    assert spoilt is not None
    assert spoilt.value == pytest.approx(found.value, rel=0.01)
    assert mean([*even[:9], 0.3]) < 0.95


def test_past_the_table_students_interval_is_rather_too_wide():
    observations = [float(1 + n % 3) for n in range(60)]
    found = paired_difference(observations, [0.0] * 60)
    low, _ = stats.t.interval(0.95, 59, mean(observations), stdev(observations) / math.sqrt(60))
    assert found is not None
    assert found[0] - found[1] < low


def test_a_drift_that_both_meet_divides_out():
    found = paired([50.0, 100.0, 200.0], [100.0, 200.0, 400.0])
    assert found is not None
    assert (found.value, found.half_width) == (pytest.approx(0.5), pytest.approx(0.0))


def test_twice_and_half_as_fast_average_to_equal():
    found = paired([2.0, 1.0], [1.0, 2.0])
    assert found is not None
    assert found.value == pytest.approx(1.0)


@pytest.mark.parametrize("ours", [[1.0], [1.0, None, None], [None, None, None]])
def test_fewer_than_two_rounds_that_count_give_no_ratio(ours):
    assert paired(ours, [1.0] * len(ours)) is None


def test_a_round_counts_only_where_both_sides_do():
    found = paired([1.0, None, 3.0, 4.0], [1.0, 2.0, None, 2.0])
    assert found is not None
    assert found.rounds == 2


@pytest.mark.parametrize(
    ("control", "band"), [(ratio(1.0, 0.9, 1.05), 1 / 0.9), (ratio(1.1, 1.02, 1.2), 1.2), (None, None)]
)
def test_noise_is_as_far_as_the_control_reaches(control, band):
    assert noise(control) == (None if band is None else pytest.approx(band))


@pytest.mark.parametrize(
    ("measured", "band", "said"),
    [
        (ratio(0.8, 0.75, 0.85), 1.1, True),
        (ratio(0.95, 0.93, 0.97), 1.1, False),  # certain, and no further from 1 than the control
        (ratio(0.8, 0.6, 1.05), 1.1, False),  # far, and not certain
        (ratio(0.95, 0.93, 0.97), None, True),
        (ratio(1.3, 1.2, 1.4), 1.1, True),
    ],
)
def test_a_difference_is_certain_and_outside_of_the_noise(measured, band, said):
    assert differs(measured, band) is said


def test_a_difference_of_latencies_has_students_interval_too():
    ours, theirs = [5.0, 7.0, 6.0], [1.0, 2.0, 1.5]
    differences = [4.0, 5.0, 4.5]
    low, _ = stats.t.interval(0.95, 2, mean(differences), stdev(differences) / math.sqrt(3))
    found = paired_difference(ours, theirs)
    assert found is not None
    middle, reach = found
    assert (middle, middle - reach) == (pytest.approx(4.5), pytest.approx(low, rel=1e-3))
