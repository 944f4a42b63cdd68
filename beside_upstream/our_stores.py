"""A pytest plugin: wherever upstream would make a store of its own, it makes one of ours.

``LAB_UPSTREAM_STATE`` says where: ``sqlite`` or the URL of a Redis. Each store that is made is a fresh one.
"""

import itertools
import os
import tempfile
from collections.abc import Callable
from typing import Any

import weaver_kernel
from redis import Redis
from weaver_kernel import HandleStore, firewall, handles, kernel, policy, rate_limit, stores, tokens, trace
from weaver_kernel._secrets import resolve_hmac_secret
from weaver_kernel.firewall import budget_manager
from weaver_kernel.stores import memory

import lab.state.redis
import lab.state.sqlite  # noqa: F401 - before upstream's names are replaced: ours are made of them
from beside_upstream.servers import retold, tell
from lab.state import State, StateOptions, open_state

WHERE = os.environ["LAB_UPSTREAM_STATE"]
FOLDER = tempfile.mkdtemp(prefix="lab-upstream-")
_number = itertools.count()


def fresh(options: StateOptions = StateOptions()) -> State:  # noqa: B008 - it is frozen
    n = next(_number)
    url = f"sqlite:///{FOLDER}/{n}.db" if WHERE == "sqlite" else f"{WHERE}?namespace=n{os.getpid()}.{n}"
    return open_state(url, options)


def our_handles(
    default_ttl_seconds: int = 3600,
    *,
    max_entries: int = 10_000,
    max_total_bytes: int | None = None,
    max_entry_bytes: int | None = None,
) -> HandleStore:
    if max_total_bytes is not None or max_entry_bytes is not None:
        raise NotImplementedError("a shared store has no byte budget")
    return fresh(StateOptions(handle_ttl_s=default_ttl_seconds, handle_cap=max_entries)).handles


def our_traces(*, max_entries: int = 10_000) -> Any:
    return fresh(StateOptions(trace_cap=max_entries, secret=resolve_hmac_secret(None))).traces


def our_revocations() -> Any:
    return fresh().revocations


def our_limiter(clock: Callable[[], float] | None = None) -> Any:
    limiter: Any = fresh().limiter
    if clock is not None and WHERE == "sqlite":
        limiter._file._clock = clock
    elif clock is not None:
        limiter = ToldLimiter(limiter, clock)
    return limiter


class ToldLimiter:
    """A limiter on a Redis whose scripts are told the time by upstream's test."""

    def __init__(self, limiter: Any, clock: Callable[[], float]) -> None:
        self._limiter, self._clock = limiter, clock
        self._client = Redis.from_url(WHERE, protocol=2)
        retold(limiter._acquire)

    def check(self, key: str, limit: int, window_seconds: float) -> bool:
        # in a far future, or the server would expire the keys meanwhile
        tell(self._client, 4_000_000_000 + self._clock())
        admitted: bool = self._limiter.check(key, limit, window_seconds)
        return admitted

    def record(self, key: str) -> None:
        self._limiter.record(key)


def our_budget(
    total_budget: int = 100_000, *, token_counter: Any = None, default_request: int = 4_000
) -> Any:
    budget: Any = fresh(StateOptions(budget_total=1)).budget
    where = (budget._file,) if WHERE == "sqlite" else (budget._server, f"b{os.getpid()}.{next(_number)}")
    return type(budget)(*where, total_budget, token_counter=token_counter, default_request=default_request)


def replace(name: str, ours: Callable[..., Any], *modules: Any) -> None:
    for module in modules:
        assert hasattr(module, name), f"{module.__name__} has no {name}"
        setattr(module, name, ours)


replace("HandleStore", our_handles, weaver_kernel, handles, kernel)
replace("TraceStore", our_traces, weaver_kernel, trace, kernel)
replace("InMemoryRevocationStore", our_revocations, stores, memory, tokens)
replace("RateLimiter", our_limiter, rate_limit, policy)
replace("BudgetManager", our_budget, weaver_kernel, firewall, budget_manager)
