"""Searches for a counter-example that work for any subject: interleavings, threads, sizes."""

# ruff: noqa: BLE001 - whatever is raised by the subject is the finding

from __future__ import annotations

import contextlib
import itertools
import sqlite3
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from typing import Any

Run = Callable[[], Any]


def at_every_statement(connection: sqlite3.Connection, first: Run, second: Run) -> Iterator[str]:
    """Run `second` before each statement of `first` in turn. Yield the place where it ran, once both have returned.

    The caller makes both anew for each round, so one round is one interleaving.
    """
    for position in itertools.count(1):
        seen = itertools.count(1)
        done: list[str] = []

        def meanwhile(statement: str, *, at: int = position, seen: Any = seen, done: Any = done) -> None:
            if next(seen) == at:
                with contextlib.suppress(sqlite3.OperationalError):  # a lock kept it out: it did not happen
                    second()
                    done.append(statement)

        connection.set_trace_callback(meanwhile)
        try:
            first()
        except sqlite3.OperationalError:
            done.clear()
        finally:
            connection.set_trace_callback(None)
        if next(seen) <= position:
            return
        if done:
            yield f"before statement {position} ({done[0].split('(')[0].strip()})"


def at_every_line(function: Any, first: Run, second: Run) -> Iterator[str]:
    """Run `second` in another thread at each line of `function` in turn while `first` runs."""
    code = function.__code__
    lines = sorted({line for *_, line in code.co_lines() if line is not None})
    for line in lines:
        failed: list[BaseException] = []

        def other(failed: list[BaseException] = failed) -> None:
            try:
                second()
            except Exception as raised:
                failed.append(raised)

        ran: list[threading.Thread] = []

        def tracer(
            frame: Any, event: str, _: Any, *, at: int = line, ran: Any = ran, other: Any = other
        ) -> Any:
            if frame.f_code is code and event == "line" and frame.f_lineno == at and not ran:
                ran.append(threading.Thread(target=other))
                ran[0].start()
                ran[0].join(timeout=0.2)  # a lock makes the other wait for us
            return tracer if frame.f_code is code else None

        error = ""
        sys.settrace(tracer)
        try:
            first()
        except Exception as raised:
            error = f", which raised {type(raised).__name__}"
        finally:
            sys.settrace(None)
        for thread in ran:
            thread.join()
        if ran:
            told = f", the other raised {type(failed[0]).__name__}" if failed else ""
            yield f"at line {line - code.co_firstlineno} of {function.__qualname__}{error}{told}"


def grows_faster_than_its_size(
    call: Callable[[str], Any],
    alphabet: Sequence[str],
    start: int,
    *,
    clock: Callable[[], float] = time.process_time,
) -> str | None:
    """A text whose time grows faster than its size to the power of 1.6, over three doublings."""
    for unit in alphabet:
        times = []
        for power in range(4):
            text = unit * (start * 2**power // len(unit))
            best = min(_timed(call, text, clock) for _ in range(3))
            times.append(best)
        if times[-1] > 0.05 and times[-1] > 8**1.6 * times[0]:  # below 50 ms the clock and the machine decide
            took = ", ".join(f"{one * 1000:.0f} ms" for one in times)
            return (
                f"{unit!r} repeated to {start}, {2 * start}, {4 * start} and {8 * start} characters: {took}"
            )
    return None


def _timed(call: Callable[[str], Any], text: str, clock: Callable[[], float]) -> float:
    began = clock()
    call(text)
    return clock() - began
