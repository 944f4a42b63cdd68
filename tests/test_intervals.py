"""Each interval, bound and rank statistic of our own is scipy's, over the range in which it is used."""

import math
import random

import numpy as np
import pytest
from scipy import stats

from kernel_lab.intervals import (
    covered,
    none_of,
    of_a_mean,
    percentile,
    rank_above,
    signed_ranks,
    standard_error,
    wilson,
)


@pytest.mark.parametrize("of", [1, 2, 7, 30, 200, 5000])
def test_wilsons_interval_is_scipys(of):
    for hits in {0, 1, of // 3, of // 2, of - 1, of}:
        known = stats.binomtest(hits, of).proportion_ci(0.95, method="wilson")
        assert wilson(hits, of) == pytest.approx((known.low, known.high), abs=1e-12)
    assert wilson(0, 0) == (0.0, 1.0)


@pytest.mark.parametrize("n", [1, 2, 20, 169, 200, 298, 299, 300, 1000])
def test_the_bounds_of_none_and_of_the_largest_are_those_of_the_order_statistics(n):
    known = stats.binomtest(0, n, alternative="less").proportion_ci(0.95, method="exact").high
    assert none_of(n) == pytest.approx(known)
    # the share below the j-th of n is distributed as Beta(j, n + 1 - j)
    assert covered(n) == pytest.approx(float(stats.beta.ppf(0.05, n, 1)))
    for share in (0.5, 0.9, 0.99):
        high = rank_above(n, share)
        if high is None:
            assert stats.binom.cdf(n - 1, n, share) < 0.95
        else:
            assert stats.binom.cdf(high - 1, n, share) >= 0.95 > stats.binom.cdf(high - 2, n, share)


@pytest.mark.parametrize("share", [0.01, 0.5, 0.9, 0.95, 0.99, 1.0])
@pytest.mark.parametrize("n", [1, 2, 4, 11, 100, 301])
def test_a_percentile_is_the_inverse_of_the_distribution_of_the_sample(n, share):
    sample = sorted(random.Random(n).random() for _ in range(n))
    assert percentile(sample, share) == np.quantile(sample, share, method="inverted_cdf")
    assert percentile([], share) is None


@pytest.mark.parametrize("n", range(2, 32))
def test_the_interval_of_a_mean_is_students(n):
    rng = random.Random(n)
    sample = [rng.gauss(3, 1) for _ in range(n)]
    low, high = stats.t.interval(0.95, n - 1, np.mean(sample), stats.sem(sample))
    middle, reach = of_a_mean(sample)
    assert (middle - reach, middle + reach) == pytest.approx((low, high), rel=1e-4, abs=1e-4)


@pytest.mark.parametrize("n", [6, 7, 14, 20])
def test_signed_ranks_reject_what_lies_outside_and_nothing_that_lies_inside(n):
    rng = random.Random(n)
    sample = [rng.gauss(0.1, 0.2) for _ in range(n)]
    low, middle, high = signed_ranks(sample)

    def p(shift):
        return stats.wilcoxon([one - shift for one in sample], method="exact").pvalue

    assert p(low + 1e-9) > 0.05
    assert p(high - 1e-9) > 0.05
    assert p(low - 1e-9) <= 0.05
    assert p(high + 1e-9) <= 0.05
    assert low <= middle <= high


@pytest.mark.parametrize(("hits", "of"), [((30, 45), (100, 120)), ((1, 9), (200, 50))])
def test_two_proportions_differ_as_the_chi_square_of_their_table_says(hits, of):
    table = [hits, [many - one for one, many in zip(hits, of, strict=True)]]
    known = stats.chi2_contingency(table, correction=False).statistic
    apart = hits[0] / of[0] - hits[1] / of[1]
    assert (apart / standard_error(hits, of)) ** 2 == pytest.approx(known)
    assert standard_error(hits, of, design=6) == pytest.approx(math.sqrt(6) * standard_error(hits, of))
