"""Synchronous code that waits without holding the event loop."""

import asyncio
import contextvars
import gc
from collections.abc import AsyncIterator
from typing import Any

import pytest

from lab.bridge import NotBridged, bridged, bridged_await, is_bridged, owe, settle, wait


def later(value: Any, pause_s: float = 0.0) -> Any:
    async def answer() -> Any:
        await asyncio.sleep(pause_s)
        if isinstance(value, BaseException):
            raise value
        return value

    return wait(answer())


async def test_others_run_while_one_waits() -> None:
    order: list[str] = []

    def slow() -> None:
        order.append("asked")
        later(None, 0.02)
        order.append("answered")

    async def other() -> None:
        order.append("other")

    await asyncio.gather(bridged(slow), other())
    assert order == ["asked", "other", "answered"]


async def test_answers_and_errors_reach_their_own_caller() -> None:
    async def one(i: int) -> Any:
        try:
            return await bridged(later, i if i % 3 else ValueError(str(i)), (i * 7 % 5) / 1000)
        except ValueError as error:
            return f"error {error}"

    assert await asyncio.gather(*map(one, range(200))) == [i if i % 3 else f"error {i}" for i in range(200)]


async def test_a_coroutine_is_driven_inside_and_its_synchronous_parts_may_wait() -> None:
    async def upstream() -> list[Any]:
        async with asyncio.timeout(5):
            await asyncio.sleep(0)
            return [later(1), is_bridged(), await asyncio.sleep(0, "two"), later(3)]

    assert await bridged_await(upstream) == [1, True, "two", 3]
    assert not is_bridged()


async def test_a_time_limit_inside_and_one_outside_both_hold() -> None:
    async def inside() -> None:
        async with asyncio.timeout(0.01):  # noqa: ASYNC100 - it waits inside
            later(None, 5)

    with pytest.raises(TimeoutError):
        await bridged_await(inside)
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.01):
            await bridged(later, None, 5)
    assert await bridged(later, "the stack is whole") == "the stack is whole"


async def test_a_cancelled_call_unwinds_and_may_still_wait() -> None:
    seen: list[Any] = []

    def call() -> None:
        try:
            later(None, 5)
        except asyncio.CancelledError:
            seen.append(later("a trace of the failure"))
            raise

    task = asyncio.ensure_future(_task(bridged(call)))
    await asyncio.sleep(0.01)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert seen == ["a trace of the failure"]


async def _task(awaitable: Any) -> Any:
    return await awaitable


async def test_context_variables_are_the_callers_and_changes_stay_inside() -> None:
    variable = contextvars.ContextVar("variable", default=0)
    variable.set(1)

    def call() -> tuple[int, int]:
        before = variable.get()
        later(None)
        variable.set(2)
        later(None)
        return before, variable.get()

    assert await bridged(call) == (1, 2)
    assert variable.get() == 1


async def test_what_is_owed_is_done_before_the_caller_goes_on() -> None:
    done: list[str] = []

    def call(*, fails: bool) -> str:
        owe(lambda: done.append(later("first")))
        owe(lambda: done.append(later("second")))
        if fails:
            raise KeyError("failed")
        return "returned"

    assert await bridged(call, fails=False) == "returned"
    assert done == ["first", "second"]
    done.clear()
    with pytest.raises(KeyError):
        await bridged(call, fails=True)
    assert done == ["first", "second"]


async def test_what_is_owed_and_fails_is_raised_after_the_rest_was_done() -> None:
    done: list[str] = []

    def call() -> str:
        owe(lambda: later(OSError("first")))
        owe(lambda: later(OSError("second")))
        owe(lambda: done.append("third"))
        return "never seen"

    with pytest.raises(OSError, match="first"):
        await bridged(call)
    assert done == ["third"]


async def test_nothing_is_owed_twice_and_nothing_is_left_to_the_next_call() -> None:
    done: list[int] = []

    def call() -> None:
        owe(lambda: done.append(1))
        settle()
        assert done == [1]

    await bridged(call)
    await bridged(lambda: None)
    assert done == [1]


async def test_a_bridged_call_inside_another_is_part_of_it() -> None:
    async def inner() -> Any:
        return await bridged(later, "inner")

    async def outer() -> list[Any]:
        return [later("outer"), await inner(), later("again")]

    assert await bridged_await(outer) == ["outer", "inner", "again"]


async def test_a_generator_is_driven_a_step_at_a_time() -> None:
    async def frames() -> AsyncIterator[int]:
        try:
            for i in range(3):
                yield later(i)
        finally:
            later(None)
            ended.append(True)

    ended: list[bool] = []
    stream = frames()
    assert await bridged_await(stream.__anext__) == 0
    assert await bridged_await(stream.__anext__) == 1
    await bridged_await(stream.aclose)  # type: ignore[attr-defined]
    assert ended == [True]


async def test_a_call_that_is_dropped_leaves_no_stack_that_answers_for_another() -> None:
    for _ in range(20):
        steps = bridged(later, None, 5).__await__()
        next(steps)
        steps.close()
    gc.collect()
    assert await asyncio.gather(*[bridged(later, i) for i in range(50)]) == list(range(50))


async def test_waiting_without_a_bridge_is_refused() -> None:
    sleeping = asyncio.sleep(0)
    with pytest.raises(NotBridged):
        wait(sleeping)
    await sleeping
    with pytest.raises(NotBridged):
        owe(list)
