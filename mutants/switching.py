"""A kernel that is interrupted at every store call, in an order drawn from the trial's seed.

Where a store is a round trip away, `lab.bridge` lets other requests run while it waits. Here the stores are in
this process, and each call of a store waits on the simulated clock twice: before its effect and after it. So
other requests run on both sides of every store call, and how far they come is random. With `Trial.waits` the
handlers run inside the bridge, as they do in front of Redis.

`UNSAFE` holds stores that rely on not being interrupted. Without the switches each of them is right.
"""

from __future__ import annotations

import asyncio
import inspect
import random
import sys
import uuid
from collections.abc import Callable, Mapping
from dataclasses import replace
from functools import partial
from typing import Any
from unittest.mock import patch

from weaver_kernel import Handle, HandleNotFound, Kernel
from weaver_kernel.rate_limit import RateLimiter

import lab.kernel
from lab.bridge import is_bridged, wait
from lab.settings import Settings
from lab.state import KINDS, State, StateOptions, open_state
from lab.state.limiter import SharedLimiter

SWITCHES_PER_S = 2000.0
"""A switch lasts half a millisecond on average, half of what a call takes on its way."""


class Chance:
    """How long each switch lasts; the trial's seed decides, through the ids that it draws too."""

    def __init__(self) -> None:
        self._rng = random.Random(uuid.uuid4().int)
        self.switches = 0

    def lasts_s(self) -> float:
        """The next switch's length."""
        self.switches += 1
        return self._rng.expovariate(SWITCHES_PER_S)

    def switch(self) -> None:
        """Let other requests run, where the caller runs inside the bridge."""
        if is_bridged():
            wait(asyncio.sleep(self.lasts_s()))


class Interrupted:
    """A store whose calls let others run before their effect and after it."""

    def __init__(self, store: Any, chance: Chance) -> None:
        self._store = store
        self._chance = chance

    def __getattr__(self, name: str) -> Any:
        value, chance = getattr(self._store, name), self._chance
        if not callable(value):
            return value
        if inspect.iscoroutinefunction(value):

            async def awaited(*arguments: Any, **named: Any) -> Any:
                await asyncio.sleep(chance.lasts_s())
                try:
                    return await value(*arguments, **named)
                finally:
                    await asyncio.sleep(chance.lasts_s())

            return awaited

        def called(*arguments: Any, **named: Any) -> Any:
            chance.switch()
            try:
                return value(*arguments, **named)
            finally:
                chance.switch()

        return called


class InterruptedLimiter(SharedLimiter):
    """A limiter whose one step lies between two switches."""

    def __init__(self, limiter: SharedLimiter, chance: Chance) -> None:
        self._limiter = Interrupted(limiter, chance)

    def acquire(self, key: str, limit: int, window_seconds: float) -> bool:
        """See `SharedLimiter.acquire`."""
        return bool(self._limiter.acquire(key, limit, window_seconds))

    def peek(self, key: str, limit: int, window_seconds: float) -> bool:
        """See `SharedLimiter.peek`."""
        return bool(self._limiter.peek(key, limit, window_seconds))


class InMemory(SharedLimiter):
    """Upstream's limiter as one step: nothing runs between its check and its record."""

    def __init__(self, limiter: RateLimiter) -> None:
        self._limiter = limiter

    def acquire(self, key: str, limit: int, window_seconds: float) -> bool:
        """See `SharedLimiter.acquire`."""
        if not self._limiter.check(key, limit, window_seconds):
            return False
        self._limiter.record(key)
        return True

    def peek(self, key: str, limit: int, window_seconds: float) -> bool:
        """See `SharedLimiter.peek`."""
        return self._limiter.check(key, limit, window_seconds)


class ReadsThenCounts(InMemory):
    """Unsafe: it reads the window, lets others run, and counts."""

    def __init__(self, limiter: RateLimiter, chance: Chance) -> None:
        super().__init__(limiter)
        self._chance = chance

    def acquire(self, key: str, limit: int, window_seconds: float) -> bool:
        """Not one step."""
        free = self.peek(key, limit, window_seconds)
        self._chance.switch()
        return free and super().acquire(key, sys.maxsize, window_seconds)


class _Unsafe:
    """A store around another one; what is not overridden is the other one's."""

    def __init__(self, store: Any, chance: Chance) -> None:
        self._store = store
        self._chance = chance

    def __getattr__(self, name: str) -> Any:
        return getattr(self._store, name)


class ReadsThenRevokes(_Unsafe):
    """Unsafe: it reads the set of revoked tokens, lets others run, and writes the set back with one token added."""

    def __init__(self, store: Any, chance: Chance) -> None:
        super().__init__(store, chance)
        self._asked: set[str] = set()
        self._kept: frozenset[str] = frozenset()

    def revoke(self, token_id: str, *arguments: Any, **named: Any) -> Any:
        """Not one step."""
        kept = self._kept
        self._chance.switch()
        self._asked.add(token_id)
        self._kept = kept | {token_id}
        return self._store.revoke(token_id, *arguments, **named)

    def is_revoked(self, token_id: str) -> bool:
        """A revocation that another one has written over is lost."""
        lost = token_id in self._asked and token_id not in self._kept
        return not lost and bool(self._store.is_revoked(token_id))


class ChecksThenStores(_Unsafe):
    """Unsafe: it reads the set of handles, lets others run, and writes the set back with its own handle added."""

    def __init__(self, store: Any, chance: Chance) -> None:
        super().__init__(store, chance)
        self._there: frozenset[str] = frozenset()

    def store(self, *arguments: Any, **named: Any) -> Handle:
        """Not one step."""
        there = self._there
        self._chance.switch()
        handle: Handle = self._store.store(*arguments, **named)
        self._there = there | {handle.handle_id}
        return handle

    def expand(self, handle: Handle, *arguments: Any, **named: Any) -> Any:
        """Only of a handle that it knows."""
        if handle.handle_id not in self._there:
            raise HandleNotFound(f"no handle {handle.handle_id}")
        return self._store.expand(handle, *arguments, **named)


class ReadsThenRecords(_Unsafe):
    """Unsafe: it reads the list of actions, lets others run, and writes the list back with one more."""

    def __init__(self, store: Any, chance: Chance) -> None:
        super().__init__(store, chance)
        self._listed: tuple[str, ...] = ()

    def record(self, trace: Any) -> None:
        """Not one step."""
        listed = self._listed
        self._chance.switch()
        self._store.record(trace)
        self._listed = (*listed, trace.action_id)

    def get(self, action_id: str) -> Any:
        """Only an action that is listed."""
        return self._store.get(action_id if action_id in self._listed else "forgotten")


def interrupted(state: State) -> State:
    """The state with a switch on both sides of every store call."""
    return _switching(state, _interrupted)


def _interrupted(kind: str, store: Any, chance: Chance) -> Any:
    if kind == "limiter":
        return InterruptedLimiter(_one_step(store), chance)
    return Interrupted(store, chance)


def _one_step(limiter: Any) -> SharedLimiter:
    return InMemory(limiter) if isinstance(limiter, RateLimiter) else limiter


def _switching(state: State, change: Callable[[str, Any, Chance], Any]) -> State:
    chance = Chance()
    stores = {kind: store for kind in KINDS if (store := getattr(state, kind)) is not None}
    return replace(state, **{kind: change(kind, store, chance) for kind, store in stores.items()}, waits=True)


def _built(settings: Settings, change: Callable[[State], State]) -> Kernel:
    """The lab's own kernel over a changed state."""

    def opened(url: str, options: StateOptions) -> State:
        return change(open_state(url, options))

    with patch.object(lab.kernel, "open_state", opened):
        return lab.kernel.build_kernel(settings)


def build_kernel(settings: Settings) -> Kernel:
    """The lab's kernel, interrupted at every store call."""
    return _built(settings, interrupted)


UNSAFE: Mapping[str, Callable[[Any, Chance], Any]] = {
    "limiter": ReadsThenCounts,
    "revocations": ReadsThenRevokes,
    "handles": ChecksThenStores,
    "traces": ReadsThenRecords,
}
"""By the kind of state that they keep."""


def _build_unsafe(kind: str, settings: Settings) -> Kernel:
    """A kernel with one store exchanged for its unsafe variant, and the others as they are."""

    def change(its: str, store: Any, chance: Chance) -> Any:
        if its == kind:
            return UNSAFE[kind](store, chance)
        return _one_step(store) if its == "limiter" else store

    return _built(settings, lambda state: _switching(state, change))


build_unsafe_limiter = partial(_build_unsafe, "limiter")
build_unsafe_revocations = partial(_build_unsafe, "revocations")
build_unsafe_handles = partial(_build_unsafe, "handles")
build_unsafe_traces = partial(_build_unsafe, "traces")
