"""What a sample may promise, beside scipy and beside a simulation of many samples."""

import math
import random

import pytest
from scipy.stats import beta, binom

from kernel_lab.convergence.promise import covered, rank_above, spread


@pytest.mark.parametrize("n", [1, 20, 200, 298, 299, 300, 1000])
def test_the_bounds_are_those_of_the_order_statistics(n):
    # the share below the j-th of n is distributed as Beta(j, n + 1 - j)
    assert covered(n) == pytest.approx(float(beta.ppf(0.05, n, 1)))
    high = rank_above(n, 0.99)
    if high is None:
        assert binom.cdf(n - 1, n, 0.99) < 0.95
    else:
        assert binom.cdf(high - 1, n, 0.99) >= 0.95 > binom.cdf(high - 2, n, 0.99)


def test_three_hundred_are_enough_for_a_99th_percentile_and_two_hundred_are_not():
    assert (rank_above(200, 0.99), rank_above(298, 0.99), rank_above(300, 0.99)) == (None, None, 300)
    assert round(covered(300), 3) == 0.990


def test_at_least_95_of_100_samples_keep_their_promise():
    rng = random.Random(18)
    kept = 0
    for _ in range(400):
        found = spread([rng.expovariate(1) for _ in range(300)])
        kept += 1 - math.exp(-found.largest) >= found.covers
    assert kept / 400 >= 0.92  # 95 % are expected


def test_a_revocation_without_an_end_is_the_largest():
    found = spread([1.0, 2.0, math.inf])
    assert (found.p50, found.largest) == (2.0, math.inf)
    assert spread([]) is None
