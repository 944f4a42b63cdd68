"""The live replicas at each time, and the worker that a balancer gives a call to.

A worker is named ``replica/number``, and a replica ``r<slot>.<generation>``. A replica that was replaced comes back
under another name, because it has lost its state.
"""

from __future__ import annotations

import hashlib
import heapq
import itertools
from bisect import bisect_right
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from enum import StrEnum
from random import Random


class Balance(StrEnum):
    """The ways in which calls are spread over the live workers."""

    FAIR = "fair"
    """Every live worker in turn."""
    RANDOM = "random"
    LEAST = "least-connections"
    """The worker with the fewest calls under way; of equal ones, the one that was asked longest ago."""
    HASH = "hash"
    """A key stays with one replica (rendezvous hashing); within it, any worker."""
    SHARES = "shares"
    """A random worker, with the share that is given."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Phase:
    """A time in which the same replicas are live."""

    begin_s: float
    replicas: tuple[str, ...]


def phases(replicas: int, seconds: float, *, scaled_to: int | None, rolling: bool) -> tuple[Phase, ...]:
    """Return the live replicas of each phase. Scaling and rolling updates happen in the middle third of the time.

    Args:
        replicas: The number of live replicas at the beginning.
        seconds: The length of the simulated time.
        scaled_to: The number of live replicas in the middle third, if it changes.
        rolling: Whether one replica after another is replaced, with one surge replica meanwhile.
    """
    usual = tuple(f"r{slot}.0" for slot in range(replicas))
    begin, end = seconds / 3, 2 * seconds / 3
    if scaled_to is not None:
        # the longest-lived stay, as with a Deployment of Kubernetes
        middle = usual[:scaled_to] + tuple(f"r{slot}.0" for slot in range(replicas, scaled_to))
        back = usual[:scaled_to] + tuple(f"r{slot}.1" for slot in range(scaled_to, replicas))
        return tuple(
            Phase(begin_s=at, replicas=live)
            for at, live in ((0.0, usual), (begin, middle), (end, back[:replicas]))
        )
    found = [Phase(begin_s=0.0, replicas=usual)]
    if rolling:
        step = (end - begin) / replicas
        for number in range(replicas):
            made = tuple(f"r{slot}.1" for slot in range(number + 1))
            found.append(Phase(begin_s=begin + number * step, replicas=made + usual[number:]))
        found.append(Phase(begin_s=end, replicas=tuple(f"r{slot}.1" for slot in range(replicas))))
    return tuple(found)


Route = Callable[[float, int], str]
"""``(instant in seconds, key)`` to the worker that answers. Instants never decrease."""


def router(
    fleet: Sequence[Phase],
    workers: int,
    balance: Balance,
    *,
    rng: Random,
    shares: Sequence[float] = (),
    call_s: float = 0.005,
) -> Route:
    """Return the function by which a balancer spreads calls over the fleet.

    Args:
        fleet: The phases of the fleet.
        workers: The number of workers of each replica.
        balance: The policy.
        rng: The source of randomness.
        shares: The share of each worker, for `Balance.SHARES`.
        call_s: How long a call lasts, for `Balance.LEAST`.
    """
    begins = [phase.begin_s for phase in fleet]
    named = [[f"{one}/{n}" for one in phase.replicas for n in range(workers)] for phase in fleet]
    turn = itertools.count()

    def at(now: float) -> int:
        return bisect_right(begins, now) - 1

    if balance is Balance.FAIR:
        return lambda now, _: (live := named[at(now)])[next(turn) % len(live)]
    if balance is Balance.RANDOM:
        return lambda now, _: rng.choice(named[at(now)])
    if balance is Balance.SHARES:
        reach = list(itertools.accumulate(shares))
        return lambda _, __: named[0][min(bisect_right(reach, rng.random() * reach[-1]), len(reach) - 1)]
    if balance is Balance.HASH:
        homes: dict[tuple[int, int], str] = {}

        def hashed(now: float, key: int) -> str:
            place = at(now), key
            if place not in homes:
                homes[place] = max(fleet[place[0]].replicas, key=lambda one: _weight(one, key))
            return f"{homes[place]}/{rng.randrange(workers)}"

        return hashed
    return _least(named, at, call_s)


def _weight(replica: str, key: int) -> bytes:
    return hashlib.blake2b(f"{replica} {key}".encode(), digest_size=8).digest()


def _least(named: Sequence[Sequence[str]], at: Callable[[float], int], call_s: float) -> Route:
    """The worker with the fewest calls under way. A queue for each number of them; stale entries are skipped."""
    under_way: dict[str, int] = {}
    newest: dict[str, int] = {}
    ends: deque[tuple[float, str]] = deque()
    order = itertools.count()
    queue: list[tuple[int, int, str]] = []
    phase = -1
    live: set[str] = set()

    def put(worker: str) -> None:
        newest[worker] = next(order)
        heapq.heappush(queue, (under_way[worker], newest[worker], worker))

    def least(now: float, _: int) -> str:
        nonlocal phase, live
        while ends and ends[0][0] <= now:
            worker = ends.popleft()[1]
            under_way[worker] -= 1
            put(worker)
        if at(now) != phase:
            phase = at(now)
            live = set(named[phase])
            for worker in named[phase]:
                if under_way.setdefault(worker, 0) == 0:
                    put(worker)
        while True:
            _calls, number, worker = heapq.heappop(queue)
            if worker in live and number == newest[worker]:
                break
        under_way[worker] += 1
        put(worker)
        ends.append((now + call_s, worker))
        return worker

    return least
