"""Every interval, bound and rank statistic that the lab computes itself, at 95 % unless said otherwise.

`docs/decisions/0024-statistics.md` says why they are not scipy's. `tests/test_intervals.py` compares each with scipy's.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from statistics import NormalDist, mean, median, stdev

CONFIDENCE = 0.95

_T_975 = (
    12.7062, 4.3027, 3.1824, 2.7764, 2.5706, 2.4469, 2.3646, 2.3060, 2.2622, 2.2281,
    2.2010, 2.1788, 2.1604, 2.1448, 2.1314, 2.1199, 2.1098, 2.1009, 2.0930, 2.0860,
    2.0796, 2.0739, 2.0687, 2.0639, 2.0595, 2.0555, 2.0518, 2.0484, 2.0452, 2.0423,
)  # fmt: skip
"""Student's t at 97.5 % for 1 to 30 degrees of freedom; the last serves for more, and is too wide there."""


def wilson(successes: float, trials: float, *, confidence: float = CONFIDENCE) -> tuple[float, float]:
    """Wilson's interval of a proportion; `(0, 1)` of no trials.

    Zero successes still have an upper bound: 0 of 200 is at most 1.9 %. Counts may be fractions, where
    several calls count as one.
    """
    if trials == 0:
        return 0.0, 1.0
    z = NormalDist().inv_cdf(0.5 + confidence / 2)
    share = successes / trials
    centre = share + z * z / (2 * trials)
    spread = z * ((share * (1 - share) + z * z / (4 * trials)) / trials) ** 0.5
    scale = 1 + z * z / trials
    return max(0.0, (centre - spread) / scale), min(1.0, (centre + spread) / scale)


def none_of(trials: int) -> float:
    """The highest rate that is plausible after no hit in `trials`: a higher one shows a hit in 95 of 100 runs."""
    return float(1 - (1 - CONFIDENCE) ** (1 / trials))


def covered(n: int) -> float:
    """The share of all values that lies at or below the largest of `n`, with 95 % confidence."""
    return 1 - none_of(n)


def rank_above(n: int, share: float) -> int | None:
    """The smallest rank of `n` whose value bounds the percentile from above with 95 % confidence, if any does."""
    below = 0.0
    for rank in range(1, n + 1):
        # the chance that exactly rank - 1 of n fall below the percentile
        below += math.comb(n, rank - 1) * share ** (rank - 1) * (1 - share) ** (n - rank + 1)
        if below >= CONFIDENCE:
            return rank
    return None


def percentile(ordered: Sequence[float], share: float) -> float | None:
    """The nearest-rank percentile of an ordered sample: a value that was observed; None of nothing."""
    if not ordered:
        return None
    return ordered[max(0, math.ceil(share * len(ordered)) - 1)]


def of_a_mean(observations: Sequence[float]) -> tuple[float, float]:
    """The mean of two observations or more, and half of its Student's interval."""
    freedom = min(len(observations) - 1, len(_T_975))
    return mean(observations), _T_975[freedom - 1] * stdev(observations) / math.sqrt(len(observations))


def signed_ranks(observations: Sequence[float]) -> tuple[float, float, float]:
    """Hodges' and Lehmann's estimate between the ends of its interval, by Wilcoxon's signed ranks.

    Needs six observations: of five, 2 of 32 ways to sign them lie outside of all.

    Returns:
        Low end, estimate, high end.
    """
    n = len(observations)
    means = sorted((a + b) / 2 for index, a in enumerate(observations) for b in observations[index:])
    # how many of the 2^n ways to give the ranks 1 to n a sign come to each sum of the positive ones
    ways = [1] + [0] * len(means)
    for rank in range(1, n + 1):
        for total in range(len(means), rank - 1, -1):
            ways[total] += ways[total - rank]
    outside, left_out = ways[0], 0
    while outside / 2**n <= (1 - CONFIDENCE) / 2:
        left_out += 1
        outside += ways[left_out]
    return means[left_out - 1], median(means), means[len(means) - left_out]


def standard_error(hits: tuple[int, int], of: tuple[int, int], *, design: float = 1) -> float:
    """The standard error of the difference of two proportions, pooled; `design` trials count as one."""
    pooled = sum(hits) / sum(of)
    return float((pooled * (1 - pooled) * design * (1 / of[0] + 1 / of[1])) ** 0.5)
