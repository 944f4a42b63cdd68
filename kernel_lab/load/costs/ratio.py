"""Paired ratios, and the conclusions that they allow.

Two deployments are measured side by side in every round, and the ratio of a round is one observation. A drift of
the machine affects both deployments of a round equally, so it cancels. Ratios are taken as logarithms: twice as
fast and half as fast are equally far from equal. Other disturbances come in episodes: another program has the
machine for a few seconds, and a round or two lie far off. So the ratio is Hodges' and Lehmann's, the median of
the means of all pairs of rounds, with the interval of Wilcoxon's signed ranks. That interval needs noise that is
symmetric, and nothing else. Fewer than `RANKED` rounds have no 95 % interval by ranks, so the ratio is then the
mean with Student's interval. The A/A control measures one deployment against itself in the same way. It says how
far from 1 a ratio lies by noise alone.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from kernel_lab.intervals import of_a_mean, signed_ranks

RANKED = 6
"""Rounds from which on signed ranks give 95 %; of five, 2 of 32 ways to sign them lie outside of all."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Ratio:
    """A ratio with its 95 % interval, and the number of rounds that it comes from."""

    value: float
    low: float
    high: float
    rounds: int

    @property
    def half_width(self) -> float:
        """Half the interval, relative to the ratio: 0.1 is ± 10 %."""
        return (self.high - self.low) / (2 * self.value)


def paired(ours: Sequence[float | None], theirs: Sequence[float | None]) -> Ratio | None:
    """``ours / theirs``, round by round; None with fewer than two rounds in which both counted.

    Args:
        ours: One figure a round, None where the round does not count.
        theirs: The same rounds of what it is compared with.
    """
    logs = [math.log(a / b) for a, b in zip(ours, theirs, strict=True) if a and b]
    if len(logs) < 2:
        return None
    if len(logs) < RANKED:
        middle, reach = of_a_mean(logs)
        low, high = middle - reach, middle + reach
    else:
        low, middle, high = signed_ranks(logs)
    return Ratio(value=math.exp(middle), low=math.exp(low), high=math.exp(high), rounds=len(logs))


def noise(control: Ratio | None) -> float | None:
    """The distance of the A/A control's interval from 1, as a factor of 1 or more; None without a control."""
    if control is None:
        return None
    return max(control.high, 1 / control.low)


def differs(ratio: Ratio, band: float | None) -> bool:
    """Whether a difference was measured: the interval leaves 1 out, the ratio lies outside of the noise."""
    if ratio.low <= 1 <= ratio.high:
        return False
    return band is None or not 1 / band <= ratio.value <= band


def paired_difference(
    ours: Sequence[float | None], theirs: Sequence[float | None]
) -> tuple[float, float] | None:
    """``ours - theirs``, round by round: the mean, and how far its 95 % interval reaches to both sides."""
    differences = [a - b for a, b in zip(ours, theirs, strict=True) if a is not None and b is not None]
    if len(differences) < 2:
        return None
    return of_a_mean(differences)
