"""The declarations of a scenario: its headline, its words, its charts and its predictions.

Everything that the page, the docs and the load tables need of a claim stands in these values, in the
scenario's own file. Nothing under ``kernel_lab`` knows a scenario by its name.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from kernel_lab.deployments.deployment import Deployment
from kernel_lab.judge.history import AnyOperation
from kernel_lab.judge.staleness import Since
from kernel_lab.judge.verdict import Measure
from kernel_lab.run.measures import Column, Kind, Observed, Quantity, Share
from kernel_lab.run.prediction import interval


@dataclass(frozen=True, slots=True, kw_only=True)
class Proportion:
    """A headline that is a share: the calls that went wrong, out of the calls that could have gone wrong."""

    hits: Quantity
    of: Quantity
    words: str
    """The things that are counted, in words that can follow a number: ``expansions missed``."""
    rate: Quantity | None = None
    """The same share as one number: runs recorded before `hits` was counted have only this."""

    def share(self, observed: Observed) -> Share | None:
        """The share of a cell; None where no call was counted."""
        of, hits = observed.find(self.of), observed.find(self.hits)
        if hits is None and self.rate is not None and of:
            rate = observed.find(self.rate)
            hits = None if rate is None else rate * of
        return Share(round(hits), round(of)) if of and hits is not None else None

    @property
    def quantities(self) -> tuple[Quantity, ...]:
        """The quantities of this headline that the scenario must declare."""
        return (self.hits, self.of, *([self.rate] if self.rate else []))


@dataclass(frozen=True, slots=True, kw_only=True)
class Multiple:
    """A headline that is a multiple of an allowed amount: 1 is exactly the allowed amount."""

    factor: Quantity
    words: str
    """The amount that is multiplied, in words that can follow a number: ``grants in one window, over the limit``."""
    counted: Quantity | None = None
    """The number of calls that succeeded in the whole cell, and the number of all calls. A probe can predict this
    figure."""
    tried: Quantity | None = None
    denied: Quantity | None = None
    """Calls that were refused without need. They are shown where the factor is within bounds and this number is not
    0."""

    @property
    def quantities(self) -> tuple[Quantity, ...]:
        """The quantities of this headline that the scenario must declare."""
        return tuple(one for one in (self.factor, self.counted, self.tried, self.denied) if one is not None)


Headline = Proportion | Multiple


@dataclass(frozen=True, slots=True, kw_only=True)
class Lag:
    """The time for which the old answer was still given after a change: a bracket of two measured ends."""

    lower_p50: Quantity
    lower_max: Quantity
    """The old answer was seen for at least this long."""
    upper_p50: Quantity
    upper_max: Quantity
    """The old answer was seen to have ended by this time."""
    open: Quantity
    """The number of changes, out of `of`, whose old answer was still given when the lab stopped looking."""
    of: Quantity
    width: Quantity
    """The width of the bracket, for the cells whose end was seen."""
    life: Callable[[Observed], float | None]
    """A function that gets the cell. It returns the seconds after which the old answer certainly ends, or None if the
    old answer may last for ever."""

    @property
    def quantities(self) -> tuple[Quantity, ...]:
        """The quantities of this lag that the scenario must declare."""
        return (
            self.lower_p50,
            self.lower_max,
            self.upper_p50,
            self.upper_max,
            self.open,
            self.of,
            self.width,
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Forecast:
    """The measurement that a routing probe predicts for a cell."""

    value: float


Predict = Callable[[Sequence[AnyOperation], Deployment, dict[str, Any]], Forecast | None]
"""A function that gets ``(the probe's operations, deployment, parameters)`` and returns a forecast, or None where the
probe predicts nothing."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Predicted:
    """A measure that the cell's routing probe predicts."""

    quantity: Quantity
    """The column that holds the prediction."""
    of: Quantity
    """The measure that is predicted."""
    by: Predict

    @property
    def low(self) -> Quantity:
        """The column with the lower end of the interval in which the measured value should lie."""
        return self._end("low", "lower")

    @property
    def high(self) -> Quantity:
        """The column with the upper end of that interval."""
        return self._end("high", "upper")

    @property
    def error(self) -> Quantity:
        """The column with the distance between the measurement and the prediction."""
        return Quantity(
            name=f"{self.of.name}_error", title=f"{self.of.title}, error of the prediction", kind=self.of.kind,
            unit=self.of.unit, of=self.of.of, column=Column.AFTER, always=False,
            meaning=f"`{self.of.name}` less `{self.quantity.name}`: positive where more was measured.",
        )  # fmt: skip

    @property
    def inside(self) -> Quantity:
        """The column that says whether the measured value lies inside of the interval."""
        return Quantity(
            name=f"{self.of.name}_inside", title=f"{self.of.title}, inside of the prediction",
            kind=Kind.COUNT, unit="1 or 0", column=Column.AFTER, always=False,
            meaning=f"1 where `{self.of.name}` lies inside of the interval of the prediction, else 0.",
        )  # fmt: skip

    @property
    def compared(self) -> tuple[Quantity, ...]:
        """The columns that compare the prediction with the measurement."""
        return self.low, self.high, self.error, self.inside

    def compare(self, seen: Observed) -> dict[str, Measure]:
        """Compare the prediction of one cell with its measurement, column by column.

        The result is empty if either is missing.

        A count is compared as a share of the calls that it is counted out of.
        """
        told, measured = seen.find(self.quantity), seen.find(self.of)
        trials = seen.find(self.of.of) if self.of.of else None
        if told is None or measured is None or not trials:
            return {}
        whole = trials if self.of.kind is Kind.COUNT else 1.0
        low, high = (whole * end for end in interval(min(1.0, told / whole), trials))
        # a CSV holds six digits of each number
        return {
            self.low.name: low,
            self.high.name: high,
            self.error.name: measured - told,
            self.inside.name: int(low - 1e-5 * whole <= measured <= high + 1e-5 * whole),
        }

    def _end(self, short: str, which: str) -> Quantity:
        return Quantity(
            name=f"{self.quantity.name}_{short}", title=f"{self.quantity.title}, {which} end", kind=self.of.kind,
            unit=self.of.unit, of=self.of.of, column=Column.AFTER, always=False,
            meaning=f"The {which} end of the 95 % interval in which the probe says that `{self.of.name}` should lie.",
        )  # fmt: skip


def prediction_of(measured: Quantity, *, meaning: str = "") -> Quantity:
    """The quantity that predicts another one: ``predicted_<name>``, of the same kind and unit."""
    return Quantity(
        name=f"predicted_{measured.name}",
        title=f"{measured.title}, predicted",
        meaning=meaning or f"What the routing probe predicts for `{measured.name}`.",
        kind=measured.kind,
        unit=measured.unit,
        of=measured.of,
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class Tile:
    """A figure of the first screen, with the words around it."""

    before: str
    """Words that stand before the figure: ``a limit multiplies``."""
    figure: str
    after: str = ""
    said: str
    """One or two sentences that stand below the figure."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Front:
    """The claim's column in the first table of the README."""

    title: str
    said: Callable[[Observed], str]


@dataclass(frozen=True, slots=True, kw_only=True)
class Component:
    """One kind of the kernel's state, as a row of docs/consistency-model.md.

    The scenario declares the words of the row. The figures beside them always come from a run.
    """

    name: str
    default: str
    """The place where upstream keeps this state."""
    seen: str
    """The effect that a caller notices with N workers on M hosts."""
    bound: str
    """The largest possible violation, such as × N."""
    away: str
    """The answer that a caller gets while a shared store cannot be reached (docs/state.md)."""
    repair: str
    """The change that makes the claim hold, and the changes that only limit the damage."""
    on: str = "memory-4"
    """The deployment whose N workers show the effect."""
    hosts: str = "replicas"
    """The deployment whose M hosts show the effect; empty where there is none."""
    order: int = 50
    """The row's place in the table; the lowest number comes first."""


@dataclass(frozen=True, slots=True, kw_only=True)
class AgainstWorkers:
    """A chart of the headline against the number of workers."""

    title: str
    axis: str
    caption: str
    picture: str = ""
    """The name of the chart's file under docs/pictures, where a text shows it."""
    alone: Callable[[Sequence[AnyOperation], Mapping[str, Any]], float] | None = None
    """For a `Multiple`: a function that counts what one worker alone would have admitted of the same calls. The chart
    draws this amount as 1."""


@dataclass(frozen=True, slots=True, kw_only=True)
class OverTime:
    """A chart of how many workers still give the old answer, against the time since the change."""

    title: str
    x: str
    y: str
    caption: str
    """The text below the chart. It may contain ``{life_s}``, the longest time that is watched, in seconds."""
    end: str
    """The event at the end of that time, as a verb: ``expires``."""
    watched: Callable[[Mapping[str, Any]], Iterable[float]]
    """A function that gets the cell's parameters and returns the lengths of the watched lives, in seconds."""
    since: Callable[[Sequence[AnyOperation], Mapping[str, Any]], list[Since]]
    """A function that gets the history and the parameters, and returns each answer since the change."""
    picture: str = ""
    """The name of the chart's file under docs/pictures, where a text shows it."""
