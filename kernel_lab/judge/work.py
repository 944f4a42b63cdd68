"""The budget of work that judging one cell may spend, counted in elementary steps.

Most of what a checker does takes time in proportion to the history, or n log n. A few parts can take more on
a history that somebody made for that purpose: the search for a placement, the comparison of listings, the
search for a smaller counter-example. They share one budget. Each tells here how many steps it takes: one for
a heap operation, for an operation that is looked at, or for anything else that costs about a microsecond of
Python or less. When the budget is spent, `CutOff` is raised: what was proven until then stays proven, and
the rest is unknown. So judging ends after a number of steps that depends on the size of the history alone.

    budget(1_000 operations)      5,040,000 steps, a few seconds
    budget(1,000,000 operations)  45,000,000 steps
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass

STEPS, STEPS_EACH = 5_000_000, 40
"""Steps that may be spent on any history, and on each of its operations besides."""


class CutOff(Exception):  # noqa: N818 - it names what happened
    """The budget of work is spent; the message says what was being done."""


@dataclass(slots=True)
class Work:
    """A budget, and what has been spent of it."""

    limit: int
    spent: int = 0

    @property
    def left(self) -> int:
        """Steps that may still be spent."""
        return max(0, self.limit - self.spent)


_current: ContextVar[Work | None] = ContextVar("work", default=None)


@contextmanager
def budget(operations: int) -> Iterator[Work]:
    """Open the budget for a history of `operations` operations; a budget that is already open stays open."""
    if (open_already := _current.get()) is not None:
        yield open_already
        return
    work = Work(STEPS + STEPS_EACH * operations)
    token = _current.set(work)
    try:
        yield work
    finally:
        _current.reset(token)


def spend(steps: int, doing: str) -> None:
    """Take steps from the open budget, if there is one.

    Raises:
        CutOff: The budget is spent. `doing` says what was not finished: "the search for a legal placement".
    """
    work = _current.get()
    if work is None:
        return
    work.spent += steps
    if work.spent > work.limit:
        raise CutOff(f"{doing} was given up after {work.limit:,} steps")
