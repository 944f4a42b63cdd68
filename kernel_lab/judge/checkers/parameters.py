"""Parameters: the numbers of ``cell.json`` that a checker goes by."""

from __future__ import annotations

import math

from kernel_lab.judge.checkers.finding import Unjudgeable
from kernel_lab.judge.verdict import Cell


def number(cell: Cell, name: str, *, least: float = 0) -> float | None:
    """A parameter; None where it does not bind.

    Raises:
        Unjudgeable: It is no number, or less than `least`.
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
    """A duration in a unit of `unit_ns`, in whole nanoseconds."""
    return round(value * unit_ns)


CLOCKS_DIFFER = 1000
"""A life that a deployment's clock measures may differ by one part in so many from what ours measures.

Clocks that are kept right over a network run up to 500 parts in a million fast or slow while they are
corrected.
"""
