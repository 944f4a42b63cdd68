"""What may be promised of a sample of durations, whatever their distribution.

Nothing is assumed but that the revocations are independent and all of one kind. The share of all revocations
that the largest of n exceeds is at most ``1 - 0.05 ** (1 / n)``, said with 95 % confidence: had it been more,
n of n below it would happen once in 20 times or less. In the same way the j-th smallest of n is an upper bound
of the 99th percentile, where at least j of n fall below a percentile that high with a chance of 95 % or more.

    n = 300: the largest covers at least 99.0 % of all revocations. n = 200: 98.5 %.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from math import comb

CONFIDENCE = 0.95


@dataclass(frozen=True, slots=True, kw_only=True)
class Spread:
    """The percentiles of a sample, and what its largest value covers."""

    count: int
    p50: float
    p99: float
    largest: float
    covers: float
    """The share of all revocations that are at most `largest`, said with 95 % confidence."""
    p99_high: float | None
    """What the 99th percentile is at most, said with 95 % confidence; None where the sample is too small."""


def spread(sample: Sequence[float]) -> Spread | None:
    """Describe a sample; None of nothing. A value may be infinite: a revocation whose end nobody saw."""
    if not sample:
        return None
    ordered = sorted(sample)
    n = len(ordered)
    high = rank_above(n, 0.99)
    return Spread(
        count=n,
        p50=_nearest(ordered, 0.5),
        p99=_nearest(ordered, 0.99),
        largest=ordered[-1],
        covers=covered(n),
        p99_high=None if high is None else ordered[high - 1],
    )


def covered(n: int) -> float:
    """The share of all that lies at or below the largest of `n`, said with 95 % confidence."""
    return float((1 - CONFIDENCE) ** (1 / n))


def rank_above(n: int, share: float) -> int | None:
    """The smallest rank of `n` whose value bounds the percentile from above with 95 % confidence, if any does."""
    below = 0.0
    for rank in range(1, n + 1):
        # the chance that exactly rank - 1 of n fall below the percentile
        below += comb(n, rank - 1) * share ** (rank - 1) * (1 - share) ** (n - rank + 1)
        if below >= CONFIDENCE:
            return rank
    return None


def _nearest(ordered: Sequence[float], share: float) -> float:
    return ordered[max(0, math.ceil(share * len(ordered)) - 1)]
