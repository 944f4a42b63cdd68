"""Count how many operations were under way at the same time."""

from __future__ import annotations

from collections.abc import Iterable
from heapq import heappop, heappush


def most_at_once(spans: Iterable[tuple[int, int]], *, enough: int | None = None) -> int:
    """The most spans ``(first, last)`` that share one instant; counted no further than `enough`."""
    ends: list[int] = []
    most = 0
    for first, last in sorted(spans):
        while ends and ends[0] < first:
            heappop(ends)
        heappush(ends, last)
        most = max(most, len(ends))
        if most == enough:
            break
    return most
