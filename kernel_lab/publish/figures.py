"""Figures: what a reader quotes of a cell, taken from what the cell's scenario declares.

A share comes with its count and its 95 % interval (`kernel_lab.run.measures.Share`). A cell whose scenario is
not installed has no figures.
"""

from __future__ import annotations

from collections.abc import Iterable

from kernel_lab.judge.verdict import Validity
from kernel_lab.run.declaration import Multiple, Proportion
from kernel_lab.run.measures import Share, duration, percent
from kernel_lab.run.saved import SavedCell
from kernel_lab.run.scenario import COUNT_OF_ANOMALIES


def share(cell: SavedCell) -> Share | None:
    """The share that is the cell's headline; None where it has another headline, or nothing was counted."""
    seen, declared = cell.observed, cell.declared
    if seen is None or declared is None or not isinstance(declared.headline, Proportion):
        return None
    return declared.headline.share(seen)


def multiple(cell: SavedCell) -> Multiple | None:
    """The cell's headline, if that is a multiple of an allowed amount."""
    headline = cell.declared.headline if cell.declared else None
    return headline if isinstance(headline, Multiple) else None


def counted(cell: SavedCell) -> str:
    """Return the name of the things that the cell's headline counts; empty where it has no headline."""
    return cell.declared.headline.words if cell.declared and cell.declared.headline else ""


def predicted(cell: SavedCell) -> float | None:
    """Return the prediction from the cell's routing probe; None where there is none."""
    seen, declared = cell.observed, cell.declared
    if seen is None or declared is None or declared.predicted is None:
        return None
    return seen.find(declared.predicted.quantity)


def times(cell: SavedCell) -> float | None:
    """Return how many times the limit or the budget a cell used: 1 is exactly the allowed amount."""
    seen, headline = cell.observed, multiple(cell)
    return seen.find(headline.factor) if seen and headline else None


def short(cell: SavedCell) -> str:
    """The figure that fits into a small box; empty where the cell was not judged."""
    if cell.validity in (Validity.SKIPPED, Validity.UNKNOWN):
        return ""
    over = times(cell)
    if over is not None:
        wrong = _denied(cell)
        return f"{wrong:g} denied" if over <= 1 and wrong else f"× {over:.1f}"
    part = share(cell)
    if part is not None and not part.hits and cell.validity is Validity.VALID:
        return f"0 of {part.of}, ≤ {percent(part.interval[1])}"
    if part is None or not part.hits:
        return _anomalies(cell)
    return lasting(cell) or out_of(part)


def out_of(part: Share) -> str:
    """``79 % of 188``: a share never stands without what it is a share of."""
    return f"{percent(part.value)} of {part.of}"


def _anomalies(cell: SavedCell) -> str:
    """Return ``40 anomalies`` for a broken cell without a usable share.

    A cell that holds and counted no tests says so.
    """
    found = cell.measures.get(COUNT_OF_ANOMALIES)
    if found:
        return f"{found} anomal{'y' if found == 1 else 'ies'}"
    countable = cell.declared is not None and cell.declared.headline is not None
    return "tests not counted" if countable and cell.validity is Validity.VALID else ""


def lasting(cell: SavedCell) -> str:
    """Return when the old answer ended after the change; empty for a claim without a lag.

    ``by 280 ms``: it had ended everywhere by then. ``77 % of 188, no end``: its end was not seen while the lab looked.
    """
    seen, lag, part = cell.observed, cell.declared.lag if cell.declared else None, share(cell)
    if seen is None or lag is None or part is None:
        return ""
    latest_ms = seen.find(lag.upper_max)
    if seen.find(lag.open) or latest_ms is None:
        return f"{out_of(part)}, no end"
    return f"by {duration(latest_ms)}"


def too_few(cell: SavedCell) -> bool:
    """Whether a claim that holds had so few tests that a failure rate above `LITTLE` is still plausible."""
    part = share(cell)
    return (
        cell.validity is Validity.VALID and part is not None and not part.hits and part.interval[1] > LITTLE
    )


LITTLE = 0.1
"""If a failure rate above this is still plausible, a cell that holds has had too few tests."""


def severity(cell: SavedCell) -> tuple[int, float]:
    """The order of several cells from the best to the worst: the verdict first, then the figure."""
    rank = (Validity.SKIPPED, Validity.VALID, Validity.UNKNOWN, Validity.INVALID).index(cell.validity)
    part, over = share(cell), times(cell)
    return rank, part.value if part else over or 0.0


def worst(cells: Iterable[SavedCell]) -> SavedCell | None:
    """The most severe cell, or None if there are no cells."""
    return max(cells, key=severity, default=None)


def _denied(cell: SavedCell) -> float | None:
    seen, headline = cell.observed, multiple(cell)
    return seen.find(headline.denied) if seen and headline and headline.denied else None
