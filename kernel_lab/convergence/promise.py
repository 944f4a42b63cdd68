"""Compute the promise that a sample of durations supports, whatever their distribution.

The only assumption is that the revocations are independent and all of one kind. Let p be the share of all
revocations that take longer than the largest of n. With 95 % confidence p is at most ``1 - 0.05 ** (1 / n)``:
with a larger share, all n samples would miss it once in 20 times or less. In the same way the j-th smallest of
n is an upper bound of the 99th percentile, if with a chance of 95 % or more fewer than j of n values fall below
that percentile.

    n = 300: the largest covers at least 99.0 % of all revocations. n = 200: 98.5 %.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from kernel_lab.intervals import covered, percentile, rank_above


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
    """The upper bound of the 99th percentile with 95 % confidence; None where the sample is too small."""


def spread(sample: Sequence[float]) -> Spread | None:
    """Describe a sample; None of nothing. A value may be infinite: a revocation whose end nobody saw."""
    if not sample:
        return None
    ordered = sorted(sample)
    n = len(ordered)
    high = rank_above(n, 0.99)
    return Spread(
        count=n,
        p50=_at(ordered, 0.5),
        p99=_at(ordered, 0.99),
        largest=ordered[-1],
        covers=covered(n),
        p99_high=None if high is None else ordered[high - 1],
    )


def _at(ordered: Sequence[float], share: float) -> float:
    found = percentile(ordered, share)
    assert found is not None  # noqa: S101 - the sample is not empty
    return found
