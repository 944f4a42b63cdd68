"""The numbers of ``cell.json`` that a checker uses."""

from __future__ import annotations

import math

from kernel_lab.judge.checkers.finding import Unjudgeable
from kernel_lab.judge.verdict import Cell


def number(cell: Cell, name: str, *, least: float = 0) -> float | None:
    """Return a parameter; None where it is not set or sets no bound.

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
"""The largest tolerance that is accepted. A larger one would excuse every answer, and clocks that differ more are
wrong."""


def tolerance_ns(cell: Cell, *, below_ns: int | None = None) -> int:
    """Return how much the clocks of a deployment may differ from ours, in whole nanoseconds; 0 where it is not stated.

    Raises:
        Unjudgeable: It is more than `MOST_TOLERANCE_MS`. Or it is not less than `below_ns`, so that it would excuse
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
    """Return a parameter that the claim cannot be judged without.

    Raises:
        Unjudgeable: It is missing, is no number, or is less than `least`.
    """
    value = number(cell, name, least=least)
    if value is None:
        raise Unjudgeable(
            f"cell.json: parameters.{name} is missing; without it {cell.scenario} cannot be judged"
        )
    return value


def nanoseconds(value: float, unit_ns: int) -> int:
    """Return a duration in whole nanoseconds. The duration is given in a unit of `unit_ns` nanoseconds."""
    return round(value * unit_ns)


CLOCKS_DIFFER = 1000
"""The deployment's clock and ours may measure a lifetime differently, by one part in `CLOCKS_DIFFER`.

A clock that is corrected over a network may run up to 500 parts in a million too fast or too slow during the
correction.
"""
