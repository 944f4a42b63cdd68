"""Measures: the counts and durations of one cell. Each is declared with its meaning, and is read by that declaration.

A checker returns numbers by name. A scenario declares each of these names once, as a `Quantity`. Code that
reads a number (for a sentence, a chart or a table) asks for the quantity and not for a string. So the type checker
finds a misspelt name, and a number that no scenario declared raises `UndeclaredMeasure`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

from kernel_lab.intervals import none_of, wilson
from kernel_lab.judge.verdict import Measure


class Kind(StrEnum):
    """The kind of number that a quantity is. It decides how the number is written."""

    COUNT = "count"
    RATE = "rate"
    """A share between 0 and 1, of the quantity named in `Quantity.of`."""
    LAG = "lag"
    """A duration in milliseconds."""
    MULTIPLE = "multiple"
    """A ratio to an allowed amount: 1 is exactly the allowed amount."""
    SETTING = "setting"
    """A number that the cell was configured with, and that was not measured."""


class Column(StrEnum):
    """The place of a quantity in the scenario's CSV."""

    MAIN = "main"
    """The column stands between the leading columns and ``validity``."""
    AFTER = "after"
    """The column stands after ``reason``, so that readers which count columns from the left keep working."""
    NONE = "none"
    """The quantity has no column. It is in ``verdict.json`` only."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Quantity:
    """One number of a cell: its name in the verdict and the CSV, and what it means."""

    name: str
    title: str
    """A few words that can stand above a column of figures."""
    meaning: str
    """One sentence for results/README.md."""
    kind: Kind
    unit: str = ""
    """The name of the things that are counted (``invokes``), or the unit of a duration (``ms``)."""
    of: Quantity | None = None
    """The quantity that this number is a part of: the denominator of a rate, or the total of a count."""
    column: Column = Column.MAIN
    always: bool = True
    """Whether the checker returns it for every history that it can judge. Its value may still be None."""


class NotObserved(LookupError):  # noqa: N818 - it names a thing
    """A quantity that this cell did not observe."""


class UndeclaredMeasure(LookupError):  # noqa: N818 - it names a thing
    """A quantity that the scenario does not declare: a mistake in the scenario."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Observed:
    """The numbers of one judged cell, and what the cell was run with."""

    values: Mapping[str, Measure]
    declared: frozenset[str]
    """The names of the scenario's quantities."""
    parameters: Mapping[str, Any] = field(default_factory=dict)
    """The parameters of the cell, as in ``cell.json``."""
    connections: str = ""
    """The connection policy."""

    def find(self, quantity: Quantity) -> float | None:
        """Return the number, or None where it was not observed.

        Raises:
            UndeclaredMeasure: The scenario does not declare the quantity.
        """
        if quantity.name not in self.declared:
            raise UndeclaredMeasure(f"the scenario does not declare the measure {quantity.name!r}")
        value = self.values.get(quantity.name)
        return float(value) if isinstance(value, int | float) else None

    def number(self, quantity: Quantity) -> float:
        """Return the number.

        Raises:
            NotObserved: This cell did not observe it.
        """
        value = self.find(quantity)
        if value is None:
            raise NotObserved(quantity.name)
        return value

    def count(self, quantity: Quantity) -> int:
        """Return the number as an integer.

        Raises:
            NotObserved: This cell did not observe it.
        """
        return round(self.number(quantity))

    def share(self, rate: Quantity) -> Share | None:
        """Return the two counts behind a rate; None if its denominator is 0 or was not observed."""
        value, of = self.find(rate), self.find(rate.of) if rate.of else None
        return Share(round(value * of), round(of)) if value is not None and of else None

    def percent(self, quantity: Quantity) -> str:
        """Return a rate in per cent, or ``?`` where it was not observed."""
        value = self.find(quantity)
        return "?" if value is None else percent(value)

    def parameter(self, name: str) -> float | None:
        """Return a number from the parameters in ``cell.json``; None where it is not set."""
        value = self.parameters.get(name)
        return float(value) if isinstance(value, int | float) else None

    @property
    def over(self) -> str:
        """The connection policy in words: ``round robin``."""
        return self.connections.replace("_", " ")


@dataclass(frozen=True, slots=True)
class Share:
    """A number of hits out of a number of trials, with the 95 % interval of the underlying rate.

    The interval takes the trials to be independent. Where no hit was seen, the rate is not known to be zero:
    the upper end is ``1 - 0.05 ** (1 / n)``, because a higher rate would have shown a hit in 95 of 100 runs.
    """

    hits: int
    of: int

    @property
    def value(self) -> float:
        """The share as a number between 0 and 1."""
        return self.hits / self.of

    @property
    def interval(self) -> tuple[float, float]:
        """The 95 % interval: Wilson's interval, or from 0 to the one-sided bound where no hit was seen."""
        return wilson(self.hits, self.of) if self.hits else (0.0, none_of(self.of))

    @property
    def counted(self) -> str:
        """The share as text: ``144 of 192; 95 %: 68 to 81 %``, or ``0 of 200; 95 %: at most 1.5 %``."""
        low, high = self.interval
        if not self.hits:
            return f"0 of {self.of}; 95 %: at most {percent(high)}"
        return f"{self.hits} of {self.of}; 95 %: {100 * low:.0f} to {100 * high:.0f} %"

    def __str__(self) -> str:
        """``75 % (144 of 192; 95 %: 68 to 81 %)``; ``0 of 200 (95 %: at most 1.5 %)``."""
        if not self.hits:
            return f"0 of {self.of} (95 %: at most {percent(self.interval[1])})"
        return f"{percent(self.value)} ({self.counted})"


def percent(share: float | None) -> str:
    """Return the share in whole per cents, with one decimal below ten; ``?`` where it was not observed."""
    if share is None:
        return "?"
    figure = 100 * share
    return f"{figure:.0f} %" if figure >= 9.95 or figure == int(figure) else f"{figure:.1f} %"


def duration(lag_ms: float) -> str:
    """A duration as a person says it: ``515 ms``, ``1.8 s``."""
    return f"{lag_ms / 1000:.1f} s" if lag_ms >= 950 else f"{lag_ms:.0f} ms"
