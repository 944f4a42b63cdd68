"""What a sample may promise, beside a simulation of many samples."""

import math
import random

from kernel_lab.convergence.promise import spread
from kernel_lab.intervals import covered, rank_above


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
