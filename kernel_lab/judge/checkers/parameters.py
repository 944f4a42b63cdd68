"""Parameters: the numbers of ``cell.json`` that a checker goes by."""

from __future__ import annotations

import math

from kernel_lab.judge.checkers.finding import Unjudgeable
from kernel_lab.judge.verdict import Cell


def number(cell: Cell, name: str, *, least: float = 0) -> float | None:
    """A parameter; None where it does not bind.

    Raises:
        Unjudgeable: It is not a number, or it is less than `least`.
    """
    value = cell.parameters.get(name)
    if value is None:
        return None
    if (
        isinstance(value, bool)
        or not isinstance(value, int | float)
        or not math.isfinite(value)
        or value < least
    ):
        raise Unjudgeable(
            f"cell.json: parameters.{name} is {value!r}; a number of {least:g} or more is needed"
        )
    return value


MOST_TOLERANCE_MS = 10_000
"""Clocks that differ by more are wrong, and a larger tolerance would excuse everything."""


def tolerance_ns(cell: Cell, *, below_ns: int | None = None) -> int:
    """How much the clocks of a deployment may differ from ours, in whole nanoseconds; 0 where nothing is said.

    Raises:
        Unjudgeable: It is more than `MOST_TOLERANCE_MS`, or not less than `below_ns`: then it would excuse
            every answer.
    """
    value = number(cell, "tolerance_ms") or 0
    if value > MOST_TOLERANCE_MS:
        raise Unjudgeable(
            f"cell.json: parameters.tolerance_ms is {value:g}; {MOST_TOLERANCE_MS:,} or less is needed"
        )
    if below_ns is not None and nanoseconds(value, 1_000_000) >= max(1, below_ns):
        raise Unjudgeable(
            f"cell.json: parameters.tolerance_ms is {value:g}; less than the window is needed, which it "
            "would excuse whole"
        )
    return nanoseconds(value, 1_000_000)


def needed(cell: Cell, name: str, *, least: float = 0) -> float:
    """A parameter without which there is nothing to judge by.

    Raises:
        Unjudgeable: It is missing, no number, or less than `least`.
    """
    value = number(cell, name, least=least)
    if value is None:
        raise Unjudgeable(
            f"cell.json: parameters.{name} is missing; without it {cell.scenario} cannot be judged"
        )
    return value


def nanoseconds(value: float, unit_ns: int) -> int:
    """A duration in whole nanoseconds, given in a unit of `unit_ns` nanoseconds."""
    return round(value * unit_ns)


CLOCKS_DIFFER = 1000
"""Two clocks may measure the same lifetime differently, by one part in `CLOCKS_DIFFER`: the deployment's and ours.

Clocks that are kept right over a network run up to 500 parts in a million fast or slow while they are
corrected.
"""
