"""The guarantees of a deployment of any size, from a simulated routing and the model that predicts measured cells.

Attempts and pairs of calls arrive at random instants and are routed by the balance. Each kind of state lives where the
deployment says (`Deployment.home`), as in `kernel_lab.run.prediction`, whose windows are walked along the routing.
Nothing is measured.
"""

from __future__ import annotations

import math
from collections import defaultdict, deque
from collections.abc import Sequence
from dataclasses import dataclass
from random import Random

from kernel_lab.deployments.deployment import Deployment, Kind
from kernel_lab.run.measures import Share
from kernel_lab.run.prediction import admitted_at
from kernel_lab.scale.fleet import Balance, phases, router

PAIRS = 4000
"""The number of simulated pairs: a change, and a later call that may or may not see it."""
WINDOWS = 3
"""The simulated windows: one before the fleet changes, one meanwhile, and one afterwards."""
MOST = 1_000_000
"""The largest number of attempts that is simulated. More would take longer than ten seconds."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Asked:
    """The deployment to simulate, and its traffic."""

    deployment: Deployment
    limit: int
    window_s: float
    rate: float
    """Attempts per second, of all keys together."""
    keys: int = 1
    """The number of principals that make the attempts. Each has a limit of its own."""
    balance: Balance = Balance.FAIR
    shares: tuple[float, ...] = ()
    scaled_to: int | None = None
    rolling: bool = False
    life_s: float = 3600.0
    """The life of a token and of a handle."""
    call_s: float = 0.005
    seed: int = 1

    @property
    def seconds(self) -> float:
        """The length of the simulated time."""
        return WINDOWS * self.window_s

    @property
    def most_replicas(self) -> int:
        """The largest number of replicas that are live at once."""
        return max(self.deployment.replicas + self.rolling, self.scaled_to or 0)


@dataclass(frozen=True, slots=True, kw_only=True)
class Told:
    """The result of a simulation."""

    attempts: int
    admitted: int
    worst_window: int
    """The most grants that one key had in one window."""
    bound: int | None
    """The most admissions of one key in one window under any routing; None where the fleet changes."""
    leaks: Share
    misses: Share
    lost_traces: Share
    homes: int
    """The number of places that a revocation must reach."""


def simulate(asked: Asked) -> Told:
    """Route everything, and count."""
    rng = Random(asked.seed)
    one = asked.deployment
    fleet = phases(one.replicas, asked.seconds, scaled_to=asked.scaled_to, rolling=asked.rolling)
    route = router(fleet, one.workers, asked.balance, rng=rng, shares=asked.shares, call_s=asked.call_s)
    calls = sorted([*_attempts(asked, rng), *_pairs(asked, rng)])
    windows: dict[int, list[tuple[int, str]]] = defaultdict(list)
    first: dict[int, str] = {}
    apart: dict[Kind, int] = dict.fromkeys(("revocations", "handles", "traces"), 0)
    for at_s, pair, key in calls:
        worker = route(at_s, key)
        if pair < 0:
            windows[key].append((int(at_s * 1e9), one.home("limiter", worker)))
        elif pair not in first:
            first[pair] = worker
        else:
            for kind in apart:
                apart[kind] += one.home(kind, first[pair]) != one.home(kind, worker)
    limit = max(1, asked.limit // int(one.env.get("LAB_SPLIT_LIMIT", "1")))
    granted = [admitted_at(routing, limit=limit, window_s=asked.window_s) for routing in windows.values()]
    return Told(
        attempts=sum(map(len, windows.values())),
        admitted=sum(map(len, granted)),
        worst_window=max((_worst(times, asked.window_s) for times in granted), default=0),
        bound=None if len(fleet) > 1 and one.homes("limiter") > 1 else limit * one.homes_of_one("limiter"),
        leaks=Share(apart["revocations"], PAIRS),
        misses=Share(apart["handles"], PAIRS),
        lost_traces=Share(apart["traces"], PAIRS),
        homes=one.homes("revocations"),
    )


def converges_ms(asked: Asked) -> float | None:
    """The longest time that a worker accepts after an acknowledged revoke; None where only expiry ends it."""
    one = asked.deployment
    if one.homes("revocations") > 1:
        return None
    return float(one.stale.get("max_stale_ms", 0))


def by_repeating(homes: int) -> float:
    """The mean number of calls of a revoke until each place was met, under random routing."""
    return homes * sum(1 / n for n in range(1, homes + 1))


def _attempts(asked: Asked, rng: Random) -> list[tuple[float, int, int]]:
    """Poisson arrivals, each of some key."""
    found = []
    at_s = rng.expovariate(asked.rate)
    while at_s < asked.seconds:
        found.append((at_s, -1, rng.randrange(asked.keys)))
        at_s += rng.expovariate(asked.rate)
    return found


def _pairs(asked: Asked, rng: Random) -> list[tuple[float, int, int]]:
    """A change at any time, and a later call at any time of what is left of its life and of the simulation."""
    found = []
    for pair in range(PAIRS):
        key, begin = rng.randrange(asked.keys), rng.uniform(0, asked.seconds)
        later = rng.uniform(begin, min(begin + asked.life_s, asked.seconds))
        found += [(begin, pair, key), (math.nextafter(later, math.inf), pair, key)]
    return found


def _worst(times_ns: Sequence[int], window_s: float) -> int:
    """The most of `times_ns` that lie in one window."""
    window: deque[int] = deque()
    most = 0
    for at_ns in times_ns:
        while window and window[0] <= at_ns - window_s * 1e9:
            window.popleft()
        window.append(at_ns)
        most = max(most, len(window))
    return most


@dataclass(frozen=True, slots=True, kw_only=True)
class StoreLoad:
    """Round trips to the shared store each second, by what makes them."""

    grants: float
    invokes: float
    expansions: float
    revocations: float
    heartbeats: float
    """Questions of the caches whether they still hear of revocations."""
    news: float
    """Messages to the caches, one for each revocation and process."""

    @property
    def total(self) -> float:
        """All of them."""
        return self.grants + self.invokes + self.expansions + self.revocations + self.heartbeats + self.news


def store_load(asked: Asked, told: Told, *, revokes_per_s: float) -> StoreLoad:
    """Return the load of the store per second, where every grant is followed by one invoke and one expansion.

    Round trips as `docs/state.md` states them: a grant makes one for the limit and one to track the token (together
    one, in one trip), an invoke one for the check and one for handle and trace, an expansion and a revocation one.
    """
    one = asked.deployment
    stored = bool(one.store) or one.state.startswith(("sqlite:", "stock+"))
    shares = set(one.shares) | set(one.shares_on_host) if stored and not one.forwards else set()
    processes = one.workers * asked.most_replicas
    stale_s = one.stale.get("max_stale_ms", 0) / 1e3
    grants = told.admitted / asked.seconds
    parts = ("limiter" in shares) + ("revocations" in shares)
    one_trip = "one_trip" in one.env.get("LAB_KERNEL", "") and parts == 2
    tracking = "revocations" in shares and not one_trip
    check = "revocations" in shares and not stale_s
    kept = bool(shares & {"handles", "traces"})
    return StoreLoad(
        grants=asked.rate * ("limiter" in shares) + grants * tracking,
        invokes=grants * (check + kept),
        expansions=grants * ("handles" in shares),
        revocations=revokes_per_s * ("revocations" in shares),
        heartbeats=processes * 4 / stale_s if stale_s else 0.0,
        news=processes * revokes_per_s if stale_s else 0.0,
    )
