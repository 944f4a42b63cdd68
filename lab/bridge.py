"""Run upstream's synchronous code so that a wait inside it does not hold the event loop.

Upstream's store seams are plain methods: ``is_revoked(token_id)`` returns an answer. A store that is a
network round trip away would hold the worker's event loop for that trip. `bridged` runs a call in a greenlet,
which is a stack of its own. When a store inside must wait it calls `wait`, which leaves that stack as it is
and gives the event loop something to await. The loop serves other requests and comes back with the answer.
Upstream's code does not notice. SQLAlchemy's asyncio support works in the same way.

Every `wait` is therefore a point at which other requests run. ``docs/decisions/0017-bridge.md`` lists the
places in upstream where this could matter, and says why nothing breaks.

One call is one *scope*. A store may start work and `owe` its end. The call returns to its caller only after all owed
work is done. If a part of it failed, the call raises the error.
"""

from __future__ import annotations

import contextvars
import threading
from collections.abc import Awaitable, Callable, Generator
from typing import Any, TypeVar, cast

from greenlet import getcurrent, greenlet

T = TypeVar("T")

_KEPT = 256
"""The number of stacks that are kept for the next calls. A new stack costs about 20 µs, because it maps memory of its
own."""
_DONE = object()


class NotBridged(RuntimeError):  # noqa: N818 - it names a state
    """`wait` was called outside of `bridged`, where no event loop can take over the wait."""


class _Stack(greenlet):
    """A greenlet with its call stack, on which one call after another runs."""

    def __init__(self) -> None:
        super().__init__(self._serve)
        self.call: Callable[[], Any] | None = None
        self.value: Any = None
        self.failure: BaseException | None = None
        self.leave: Callable[[Any], Any]
        self.owed: list[Callable[[], object]] = []

    def _serve(self) -> None:
        while self.call is not None:
            try:
                self.value = self._one(self.call)
            except BaseException as error:  # noqa: BLE001 - it belongs to the call's caller
                self.failure = error
            self.leave(_DONE)

    def _one(self, call: Callable[[], Any]) -> Any:
        try:
            return call()
        finally:
            if self.owed:
                settle()

    def outcome(self) -> Any:
        """Return the result of the finished call, or raise its error."""
        value, failure = self.value, self.failure
        self.call = self.value = self.failure = None
        if failure is not None:
            raise failure
        return value


class _Idle(threading.local):
    """The stacks of a thread that no call is using."""

    def __init__(self) -> None:
        self.stacks: list[_Stack] = []


_idle = _Idle()


def is_bridged() -> bool:
    """Return whether the running code may call `wait`."""
    return type(getcurrent()) is _Stack


def wait(awaitable: Awaitable[T]) -> T:
    """Return the result of `awaitable`, while the event loop serves other requests. An error of `awaitable` is raised.

    Raises:
        NotBridged: The caller does not run inside `bridged`.
    """
    stack = getcurrent()
    if type(stack) is not _Stack:
        raise NotBridged("a store was asked to wait outside of lab.bridge.bridged")
    leave = stack.leave
    # pass what the awaitable yields to the event loop, and pass the loop's answer back to the awaitable
    steps = awaitable.__await__()
    try:
        step = next(steps)
        while True:
            try:
                answer = leave(step)
            except BaseException as error:  # noqa: BLE001 - a cancellation above all: it is the awaitable's
                step = steps.throw(error)
            else:
                step = next(steps) if answer is None else steps.send(answer)
    except StopIteration as end:
        return cast("T", end.value)


def owe(end: Callable[[], object]) -> None:
    """Call `end` before this scope ends. Each `end` is called once, in order, also if the call raised an error.

    Raises:
        NotBridged: The caller does not run inside `bridged`.
    """
    stack = getcurrent()
    if type(stack) is not _Stack:
        raise NotBridged("a store owed something outside of lab.bridge.bridged")
    stack.owed.append(end)


def settle() -> None:
    """Call now every `end` that the running scope owes. After all were called, the first failure is raised."""
    stack = getcurrent()
    if type(stack) is not _Stack or not stack.owed:
        return
    owed, stack.owed = stack.owed, []
    first: BaseException | None = None
    for end in owed:
        try:
            end()
        except BaseException as error:  # noqa: BLE001 - it is raised when the rest was done
            first = first or error
    if first is not None:
        raise first


class _Bridged(Awaitable[T]):
    """An awaitable that runs the call; see `bridged`."""

    __slots__ = ("_call",)

    def __init__(self, call: Callable[[], T]) -> None:
        self._call = call

    def __await__(self) -> Generator[Any, Any, T]:
        here = getcurrent()
        if type(here) is _Stack:
            return self._call()
        idle = _idle.stacks
        stack = idle.pop() if idle else _Stack()
        stack.parent = here
        stack.leave = here.switch
        stack.call = self._call
        # a greenlet has context variables of its own
        stack.gr_context = contextvars.copy_context()
        step = stack.switch()
        while step is not _DONE:
            try:
                answer = yield step
            except BaseException as error:  # noqa: BLE001 - it belongs to whoever waits in there
                step = stack.throw(error)
            else:
                step = stack.switch(answer)
        try:
            return cast("T", stack.outcome())
        finally:
            if len(idle) < _KEPT:
                idle.append(stack)


def bridged(call: Callable[..., T], *arguments: Any, **named: Any) -> Awaitable[T]:
    """Return an awaitable that calls ``call(*arguments, **named)``. The call may use `wait`.

    Inside another `bridged` call it runs on that call's stack and is part of its scope.
    """
    return _Bridged(lambda: call(*arguments, **named))


def bridged_await(start: Callable[..., Awaitable[T]], *arguments: Any, **named: Any) -> Awaitable[T]:
    """Return the result of the awaitable that `start` makes. Its synchronous parts may use `wait`."""
    return _Bridged(lambda: wait(start(*arguments, **named)))
