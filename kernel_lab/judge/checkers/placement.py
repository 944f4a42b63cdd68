"""Placement: can every effect lie inside its ``[call, return]``, no more than L of them in any window?

Effects are taken in the order of their instants: position 0 is the earliest. A position cannot lie before the
one before it, nor before the one ``limit`` positions earlier plus ``apart_ns``.

That is scheduling equal jobs on ``limit`` machines, each released at its call and to be started no later than
its return (Simons 1983; Simons and Warmuth 1989). Taking the released job with the earliest return is not
enough: with limit 1 and 10 ns apart, ``[0, 20]`` and ``[1, 2]`` can be had as 1 and 11, but who starts the
first at 0 comes too late for the second. So a wrong choice is taken back, and the position is barred until a
better one can be made.

**Why it is exact.** Let ``e(k)`` be the instant that the algorithm gives to position k, ``t(k)`` that of
any legal placement. Then ``e(k) <= t(k)`` as long as every barrier holds for every legal placement: the
rules above bind both, and where nothing is released all that is released has been placed. Say the released
effect ``j`` with the earliest return comes too late: ``return(j) < e(k)``.

- If all that was placed before returned no later than ``j``, k + 1 effects have to lie at or before
  ``return(j) < e(k) <= t(k)``, where there is room for k: there is no legal placement.
- Else let m be the latest position whose effect returned later than ``j``. What stands after m, and ``j``,
  returned earlier than it, so none of it was released at ``e(m)``; let ``b`` be the earliest call among
  these k - m effects. Were ``t(m) < b``, they would all stand behind position m, the last of them at k or
  later, at ``t(k) >= e(k) > return(j)``: too late. So ``b`` is a barrier for position m in every legal
  placement. It is later than ``e(m)``, so the search ends; a history made to defeat it could keep it busy
  for long all the same, so it is cut off after a fixed amount of work.
"""

from __future__ import annotations

from collections.abc import Sequence
from heapq import heappop, heappush
from operator import sub

from kernel_lab.judge.history import FOREVER

WORK, WORK_EACH = 2_000_000, 10
"""How often effects may be taken back, in all and for each of them, before the search is given up."""


class CutOff(Exception):  # noqa: N818 - it names what happened
    """The search took too long: whether there is a legal placement is unknown."""


def unplaceable(
    calls: Sequence[int], returns: Sequence[int], *, limit: int, apart_ns: int
) -> list[int] | None:
    """The operations looked at until it was certain that they have no legal placement; None if they have one.

    Args:
        calls: When each was called.
        returns: When each returned.
        limit: How many may lie less than `apart_ns` from each other.
        apart_ns: See `limit`.

    Returns:
        Indexes into `calls`; they alone have no legal placement either.

    Raises:
        CutOff: After going back too often.
    """
    if _first_come(calls, returns, limit, apart_ns):
        return None
    # numbered in the order of their returns, so that the earliest return is the smallest number
    named = sorted(range(len(calls)), key=returns.__getitem__)
    due = [returns[i] for i in named]
    call = [calls[i] for i in named]
    arrivals = sorted(range(len(named)), key=call.__getitem__)
    # how far back an effect that returned later can have started
    longest = max(map(sub, due, call), default=0)
    start: list[int] = []  # of each position
    placed: list[int] = []  # at each position
    barrier: dict[int, int] = {}
    ready: list[int] = []  # released, not placed
    early: list[tuple[int, int]] = []  # released once, before the search went back
    coming, arrived, count = [*(call[i] for i in arrivals), FOREVER], 0, len(named)
    now, k, work = -FOREVER, 0, 0
    while k < count:
        if k >= limit and start[k - limit] + apart_ns > now:
            now = start[k - limit] + apart_ns
        if barrier and barrier.get(k, now) > now:
            now = barrier[k]
        while True:
            while coming[arrived] <= now:
                heappush(ready, arrivals[arrived])
                arrived += 1
            if barrier:
                while early and early[0][0] <= now:
                    heappush(ready, heappop(early)[1])
                while ready and call[ready[0]] > now:
                    heappush(early, (call[ready[0]], heappop(ready)))
            if ready:
                break
            now = min(coming[arrived], early[0][0]) if early else coming[arrived]
        job = heappop(ready)
        if now <= due[job]:
            start.append(now)
            placed.append(job)
            k += 1
            continue
        m = k - 1
        while m >= 0 and due[placed[m]] <= due[job]:
            m = m - 1 if start[m] + longest > due[job] else -1
        if m < 0:
            return [named[j] for j in arrivals[:arrived]]
        barrier[m] = min(call[other] for other in (job, *placed[m + 1 :]))
        for other in (job, *placed[m:]):
            heappush(ready, other)
        del placed[m:], start[m:]
        now = start[-1] if start else -FOREVER
        work += k - m
        if work > WORK + WORK_EACH * count:
            raise CutOff(f"the search for a legal placement of {count} effects was given up")
        k = m
    return None


def _first_come(calls: Sequence[int], returns: Sequence[int], limit: int, apart_ns: int) -> bool:
    """Whether each can be placed as early as may be in the order of calls, as in most legal histories."""
    starts: list[int] = []
    for k, (call, due) in enumerate(sorted(zip(calls, returns, strict=True))):
        start = call
        if k >= limit and starts[k - limit] + apart_ns > call:
            start = starts[k - limit] + apart_ns
            if start > due:
                return False
        starts.append(start)
    return True
