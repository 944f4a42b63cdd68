"""States whose every call is made inside `lab.bridge.bridged`, on an event loop in a thread of its own.

``bridged+redis://…`` is ``redis://…`` used in this way: what holds for a state must hold there, too.
"""

import asyncio
import inspect
import os
import threading
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import lab.state
from lab.bridge import bridged, bridged_await
from lab.state import KINDS, State, StateOptions

PREFIX = "bridged+"


class Looping:
    """An event loop that runs in a thread of its own."""

    def __init__(self) -> None:
        self.pid = os.getpid()
        self.loop = asyncio.new_event_loop()
        threading.Thread(target=self.loop.run_forever, name="test-loop", daemon=True).start()

    def run(self, start: Callable[[], Any]) -> Any:
        """The result of what `start` makes, which is awaited on the loop."""

        async def await_it() -> Any:
            return await start()

        return asyncio.run_coroutine_threadsafe(await_it(), self.loop).result(60)


_looping: Looping | None = None


def looping() -> Looping:
    """This process's loop."""
    global _looping  # noqa: PLW0603 - one a process
    if _looping is None or _looping.pid != os.getpid():
        _looping = Looping()
    return _looping


class Through:
    """A store whose methods and properties are used inside the bridge."""

    def __init__(self, store: Any) -> None:
        self.__dict__["_store"] = store

    def __setattr__(self, name: str, value: Any) -> None:
        setattr(self._store, name, value)

    def __getattr__(self, name: str) -> Any:
        store = self._store
        value = looping().run(lambda: bridged(getattr, store, name))
        if not callable(value):
            return value
        if inspect.iscoroutinefunction(value):

            async def awaited(*arguments: Any, **named: Any) -> Any:
                async def inside() -> Any:
                    return await bridged_await(value, *arguments, **named)

                future = asyncio.run_coroutine_threadsafe(inside(), looping().loop)
                return await asyncio.wrap_future(future)

            return awaited
        return lambda *arguments, **named: looping().run(lambda: bridged(value, *arguments, **named))


def open_state(url: str, options: StateOptions = StateOptions()) -> State:  # noqa: B008 - it is frozen
    """`lab.state.open_state`, or such a state."""
    if not url.startswith(PREFIX):
        return lab.state.open_state(url, options)
    state = lab.state.open_state(url.removeprefix(PREFIX), options)
    stores = {kind: Through(getattr(state, kind)) for kind in KINDS if getattr(state, kind) is not None}

    def close() -> None:
        state.close()
        looping().run(lambda: asyncio.sleep(0.01))  # the loop closes what belongs to it

    return replace(state, **stores, closers=(close,))
