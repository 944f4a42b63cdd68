"""Figures: what a reader quotes of a cell, and how sure one can be of it.

A share comes with how many it was counted over and Wilson's 95 % interval. Where nothing was counted at all,
what was observed is a bound and not a zero: had the share been ``1 - 0.05 ** (1 / n)``, ``n`` trials would
have shown at least one in 95 of 100 runs. Both take the trials to be independent.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from statistics import median
from typing import Any

from kernel_lab.judge.verdict import Measure, Validity
from kernel_lab.run.prediction import wilson
from kernel_lab.run.saved import SavedCell


@dataclass(frozen=True, slots=True)
class Share:
    """So many of so many."""

    hits: int
    of: int

    @property
    def value(self) -> float:
        """Between 0 and 1."""
        return self.hits / self.of

    @property
    def interval(self) -> tuple[float, float]:
        """95 %: Wilson's; of none at all, from 0 to the one-sided bound."""
        return wilson(self.hits, self.of) if self.hits else (0.0, 1 - 0.05 ** (1 / self.of))

    def __str__(self) -> str:
        """``75 % (144 of 192; 95 %: 68 to 81 %)``; ``0 of 200 (95 %: at most 1.5 %)``."""
        low, high = self.interval
        if not self.hits:
            return f"0 of {self.of} (95 %: at most {percent(high)})"
        return (
            f"{percent(self.value)} ({self.hits} of {self.of}; 95 %: {100 * low:.0f} to {100 * high:.0f} %)"
        )


_SHARES = {
    "tokens": ("rejected", "verifications", "verifications refused"),
    "revocation": ("leaked_invokes", "invokes_after", "invokes accepted after the revoke"),
    "handles": ("misses", "expansions", "expansions missed"),
    "traces": ("lost", "explains", "explanations missing"),
    "capabilities": ("not_found", "uses", "uses that found nothing"),
    "stats": ("undercounts", "reports", "reports that told too little"),
    "streams": ("leaked_tokens", "tokens", "revoked tokens that began another stream"),
}
"""Per scenario: the measures that make its share, and what is counted."""
_PREDICTED = {
    "tokens": "predicted_rejected_rate",
    "revocation": "predicted_leak_rate",
    "handles": "predicted_miss_rate",
    "traces": "predicted_lost_rate",
}
_TIMES = {"rate_limit": "factor", "budget": "factor"}
"""Per scenario: the measure that says how often over."""


def percent(share: float) -> str:
    """Whole per cents, and a decimal below ten, as a person says it."""
    figure = 100 * share
    return f"{figure:.0f} %" if figure >= 9.95 or figure == int(figure) else f"{figure:.1f} %"


def share(cell: SavedCell) -> Share | None:
    """The share a cell is about; None where it has none, or nothing was counted."""
    m = _measures(cell)
    hits, of, _ = _SHARES.get(cell.scenario, ("", "", ""))
    counted, total = m.get(hits), m.get(of)
    return Share(int(counted), int(total)) if counted is not None and total else None


def counted(scenario: str) -> str:
    """What a scenario's share counts, in words."""
    return _SHARES[scenario][2]


def predicted(cell: SavedCell) -> float | None:
    """The share that the cell's routing probe predicted."""
    return number(cell, _PREDICTED.get(cell.scenario, ""))


def times(cell: SavedCell) -> float | None:
    """How often over the limit or the budget a cell went: 1 is just it."""
    return number(cell, _TIMES.get(cell.scenario, ""))


def short(cell: SavedCell) -> str:
    """The figure that fits into a small box; empty where the cell was not judged."""
    if cell.validity in (Validity.SKIPPED, Validity.UNKNOWN):
        return ""
    over = times(cell)
    if over is not None:
        wrong = cell.measures.get("wrongful_denials")
        return f"{wrong} denied" if over <= 1 and wrong else f"× {over:.1f}"
    part = share(cell)
    if part is None:
        found = cell.measures.get("anomalies")
        return f"{found} ×" if found else ""
    if not part.hits:
        return f"0 of {part.of}" if cell.validity is Validity.VALID else ""
    if cell.scenario == "revocation":
        return lasting_at_least(cell) or percent(part.value)
    return percent(part.value)


def lasting_at_least(cell: SavedCell) -> str:
    """How long a revoked token was seen accepted after its revoke: ``1.8 s``."""
    lag_ms = number(cell, "lag_lower_ms_max")
    if not lag_ms:
        return ""
    return f"{lag_ms / 1000:.1f} s" if lag_ms >= 950 else f"{lag_ms:.0f} ms"


def severity(cell: SavedCell) -> tuple[int, float]:
    """For the worst of several: the verdict first, then the figure."""
    rank = (Validity.SKIPPED, Validity.VALID, Validity.UNKNOWN, Validity.INVALID).index(cell.validity)
    part, over = share(cell), times(cell)
    return rank, part.value if part else over or 0.0


def worst(cells: Iterable[SavedCell]) -> SavedCell | None:
    """The cell of which one would speak first; None of none."""
    return max(cells, key=severity, default=None)


@dataclass(frozen=True, slots=True)
class PredictionError:
    """How far predictions lay from measurements: the median and the worst of so many cells."""

    cells: int
    median: float
    worst: float

    @classmethod
    def of(cls, errors: list[float]) -> PredictionError | None:
        """None of none."""
        return cls(len(errors), median(errors), max(errors)) if errors else None


def share_errors(cells: Iterable[SavedCell]) -> PredictionError | None:
    """In percentage points. Cells that measured and predicted nothing, or everything, do not count."""
    errors = []
    for cell in cells:
        part, told = share(cell), predicted(cell)
        if part and told is not None and (part.value, told) not in ((0.0, 0.0), (1.0, 1.0)):
            errors.append(100 * abs(part.value - told))
    return PredictionError.of(errors)


def count_errors(cells: Iterable[SavedCell]) -> PredictionError | None:
    """Of the admitted grants, relative. Cells whose every window was full predict themselves: left out."""
    errors = []
    for cell in cells:
        told, seen, over = (number(cell, name) for name in ("predicted_admitted", "admitted", "factor"))
        if told and seen is not None and over is not None and 1 < over < cell.processes:
            errors.append(abs(seen - told) / told)
    return PredictionError.of(errors)


def number(cell: SavedCell, measure: str) -> float | None:
    """A measure that is a number; None where it was not observed."""
    value = cell.measures.get(measure)
    return float(value) if isinstance(value, int | float) else None


def _measures(cell: SavedCell) -> Mapping[str, Any]:
    """With the count that a rate was made of."""
    m: dict[str, Measure] = dict(cell.measures)
    rate, after = m.get("leak_rate"), m.get("invokes_after")
    if isinstance(rate, int | float) and isinstance(after, int):
        m["leaked_invokes"] = round(rate * after)
    return m
