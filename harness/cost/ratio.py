"""Paired ratios, and what may be said of them.

Two deployments are measured side by side in every round; the ratio of a round is one observation, and what
drifts on the machine from round to round divides out of it. Ratios are averaged as logarithms (twice as fast
and half as fast are equally far from equal), with Student's interval. The same measurement of one deployment
against itself, the A/A control, says how far from 1 a ratio lies by noise alone.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import mean, stdev

_T_975 = (
    12.706, 4.303, 3.182, 2.776, 2.571, 2.447, 2.365, 2.306, 2.262, 2.228,
    2.201, 2.179, 2.160, 2.145, 2.131, 2.120, 2.110, 2.101, 2.093, 2.086,
    2.080, 2.074, 2.069, 2.064, 2.060, 2.056, 2.052, 2.048, 2.045, 2.042,
)  # fmt: skip
"""Student's t at 97.5 % for 1 to 30 degrees of freedom; the last serves for more, and is too wide there."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Ratio:
    """A ratio with its 95 % interval, of so many rounds."""

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
    middle, reach = mean(logs), _reach(logs)
    return Ratio(
        value=math.exp(middle),
        low=math.exp(middle - reach),
        high=math.exp(middle + reach),
        rounds=len(logs),
    )


def noise(control: Ratio | None) -> float | None:
    """How far from 1 the A/A control's interval reaches, as a factor of 1 or more; None without one."""
    if control is None:
        return None
    return max(control.high, 1 / control.low)


def differs(ratio: Ratio, band: float | None) -> bool:
    """Whether a difference was measured: the interval leaves 1 out, the ratio lies outside of the noise."""
    if ratio.low <= 1 <= ratio.high:
        return False
    return band is None or not 1 / band <= ratio.value <= band


def percentile(ordered: Sequence[float], share: float) -> float | None:
    """The nearest-rank percentile of an ordered sample: a value that was observed; None of nothing."""
    if not ordered:
        return None
    return ordered[max(0, math.ceil(share * len(ordered)) - 1)]


def paired_difference(
    ours: Sequence[float | None], theirs: Sequence[float | None]
) -> tuple[float, float] | None:
    """``ours - theirs``, round by round: the mean, and how far its 95 % interval reaches to both sides."""
    differences = [a - b for a, b in zip(ours, theirs, strict=True) if a is not None and b is not None]
    if len(differences) < 2:
        return None
    return mean(differences), _reach(differences)


def _reach(observations: Sequence[float]) -> float:
    """Half of Student's 95 % interval of a mean."""
    freedom = min(len(observations) - 1, len(_T_975))
    return _T_975[freedom - 1] * stdev(observations) / math.sqrt(len(observations))
