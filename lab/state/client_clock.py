"""A state that is wrong on purpose: its limiter takes the time from the worker that asks, and not from the server.

``client-clock+redis://`` is ``redis://`` with one difference in its limiter: each admission has the wall clock of
the worker that asked for it. A widespread recipe, a sorted set whose scores are ``time.time()``, works like this. As
long as all clocks agree, the limiter is right. A worker whose clock is ahead by more than the window removes every
admission of the others, and admits the whole limit once more. To the other workers its admissions lie in the future, so
these workers deny for longer than the window.
"""

from __future__ import annotations

import time
import uuid
from collections.abc import Callable
from dataclasses import replace

from lab.state import redis
from lab.state.limiter import SharedLimiter
from lab.state.redis.link import Script, Server
from lab.state.seam import State, StateOptions
from lab.state.url import StateURL, parse

_US = 1_000_000


class ClientClockLimiter(SharedLimiter):
    """A window log on a server, by the clocks of the workers that ask."""

    def __init__(self, server: Server, namespace: str, clock: Callable[[], float] = time.time) -> None:
        self._server = server
        self._prefix = f"{namespace}:client-clock:"
        self._clock = clock
        self._acquire = Script("limiter.client_clock")

    def acquire(self, key: str, limit: int, window_seconds: float) -> bool:
        """See `SharedLimiter.acquire`. The answer is right only as long as all clocks agree."""
        times = (round(window_seconds * _US), round(self._clock() * _US))
        return bool(self._server.run(self._acquire, (self._prefix + key,), limit, *times, uuid.uuid4().hex))

    def peek(self, key: str, limit: int, window_seconds: float) -> bool:
        """See `SharedLimiter.peek`. The answer is right only as long as all clocks agree."""
        since = round((self._clock() - window_seconds) * _US)
        counting = int(
            self._server.call(self._prefix + key, "ZCOUNT", self._prefix + key, f"({since}", "+inf")
        )
        return not counting or counting < limit


def open_url(url: StateURL, options: StateOptions) -> State:
    """Open the state that is wrong on purpose."""
    plain = parse(url.text.removeprefix("client-clock+"))
    server = redis.server_of(plain, options)
    rest = redis.open_url(plain, options)
    limiter = ClientClockLimiter(server, redis.namespace_of(plain))
    return replace(rest, limiter=limiter, closers=(*rest.closers, server.close))
