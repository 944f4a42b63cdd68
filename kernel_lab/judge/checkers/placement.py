"""Placement: find an instant for every effect inside its ``[call, return]``, with at most L of them in any window.

Effects are taken in the order of their instants: position 0 is the earliest. A position cannot lie before the
position before it, nor before the position ``limit`` places earlier plus ``apart_ns``.

This is the problem of scheduling equal jobs on ``limit`` machines, where each job is released at its call and must
start no later than its return (Simons 1983; Simons and Warmuth 1989). Taking the released job with the earliest
return is not enough. With limit 1 and 10 ns apart, ``[0, 20]`` and ``[1, 2]`` can be placed at 11 and 1. But a search
that starts the first at 0 comes too late for the second. So a wrong choice is taken back, and the position is barred
until a better choice can be made.

**Why it is exact.** Let ``e(k)`` be the instant that the algorithm gives to position k, and ``t(k)`` that of
any legal placement. Then ``e(k) <= t(k)`` as long as every barrier holds for every legal placement: the
rules above bind both, and the algorithm waits only when all released effects have been placed. Suppose the released
effect ``j`` with the earliest return comes too late: ``return(j) < e(k)``.

- If all effects that were placed before returned no later than ``j``, then k + 1 effects have to lie at or before
  ``return(j) < e(k) <= t(k)``, where there is room for k. So there is no legal placement.
- Otherwise let m be the latest position whose effect returned later than ``j``. The effects after m, and ``j``,
  returned earlier than it, so none of them was released at ``e(m)``. Let ``b`` be the earliest call among
  these k - m effects. If ``t(m) < b``, they would all stand behind position m, and the last of them would be at k or
  later, at ``t(k) >= e(k) > return(j)``: too late. So ``b`` is a barrier for position m in every legal
  placement. It is later than ``e(m)``, so the search ends.

**How long it takes.** A history of real clients takes a few steps for each effect. A history that was made to
defeat the search makes it go back again and again, up to about n times over n positions. So each step is
taken from the cell's budget of work (`kernel_lab.judge.work`), and the search is cut off when that is spent.

A worked example, with limit 1 and 10 ns apart, A = ``[0, 20]`` and B = ``[1, 2]``:

1. Position 0: only A has been called. A starts at 0.
2. Position 1 starts at 0 + 10 = 10 at the earliest. Only B is left, and it had returned at 2: too late.
3. Look back for an effect that returned later than B: A, at position 0. The earliest call among B and the effects
   after position 0 is 1. So position 0 gets the barrier 1, and the search goes back to it.
4. Position 0, at 1: both have been called, and B returns first. B starts at 1.
5. Position 1 starts at 1 + 10 = 11: A at 11, and 11 <= 20. There is a legal placement.
"""

from __future__ import annotations

from collections.abc import Sequence
from heapq import heappop, heappush
from operator import sub

from kernel_lab.judge.history import FOREVER
from kernel_lab.judge.work import spend


def unplaceable(
    calls: Sequence[int], returns: Sequence[int], *, limit: int, apart_ns: int
) -> list[int] | None:
    """Return operations that certainly have no legal placement, or None if there is one for all.

    Args:
        calls: When each was called.
        returns: When each returned.
        limit: How many may lie less than `apart_ns` from each other.
        apart_ns: The length of the window; see `limit`.

    Returns:
        Indexes into `calls`. The operations that they name have no legal placement by themselves.

    Raises:
        CutOff: The cell's budget of work is spent.
    """
    if in_order_of_calls(calls, returns, limit, apart_ns):
        return None
    return searched(calls, returns, limit=limit, apart_ns=apart_ns)


def searched(calls: Sequence[int], returns: Sequence[int], *, limit: int, apart_ns: int) -> list[int] | None:
    """The same as `unplaceable`, for effects of which it is known that they do not fit in the order of their calls."""
    # numbered in the order of their returns, so that the earliest return is the smallest number
    named = sorted(range(len(calls)), key=returns.__getitem__)
    due = [returns[i] for i in named]
    call = [calls[i] for i in named]
    arrivals = sorted(range(len(named)), key=call.__getitem__)
    # how far back an effect can have started that returned later
    longest = max(map(sub, due, call), default=0)
    start: list[int] = []  # for each position
    placed: list[int] = []  # the effect at each position
    barrier: dict[int, int] = {}
    ready: list[int] = []  # effects that are released and not yet placed
    # effects that were released before the search went back, and must not be released a second time
    early: list[tuple[int, int]] = []
    coming, arrived, count = [*(call[i] for i in arrivals), FOREVER], 0, len(named)
    now, k, moved = -FOREVER, 0, 0
    doing = f"the search for a legal placement of {count:,} effects"
    spend(4 * count, doing)  # each effect is released once, placed once, and taken from two heaps
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
                    moved += 2
                while ready and call[ready[0]] > now:
                    heappush(early, (call[ready[0]], heappop(ready)))
                    moved += 2
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
        # the steps of looking back, of releasing and placing the effects again, and of moving them between the heaps
        spend(11 * (k - max(m, 0)) + 2 * moved, doing)
        moved = 0
        if m < 0:
            return [named[j] for j in arrivals[:arrived]]
        barrier[m] = min(call[other] for other in (job, *placed[m + 1 :]))
        for other in (job, *placed[m:]):
            heappush(ready, other)
        del placed[m:], start[m:]
        now = start[-1] if start else -FOREVER
        k = m
    return None


def in_order_of_calls(calls: Sequence[int], returns: Sequence[int], limit: int, apart_ns: int) -> bool:
    """Return whether the effects fit in the order of their calls, each as early as possible.

    In most legal histories they do, and then no search is needed.
    """
    starts: list[int] = []
    for k, (call, due) in enumerate(sorted(zip(calls, returns, strict=True))):
        start = call
        if k >= limit and starts[k - limit] + apart_ns > call:
            start = starts[k - limit] + apart_ns
            if start > due:
                return False
        starts.append(start)
    return True
