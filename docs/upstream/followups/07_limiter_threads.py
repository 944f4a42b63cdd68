"""RateLimiter in threads: an admission is lost, and a bare KeyError reaches the host.

Exits 0 while weaver-kernel behaves as described, 1 once it no longer does.

Two threads are one schedule each, so one trial is enough. The first is set by the public `clock=`; the second,
which no public seam reaches, by a trace function that runs the other thread between two lines of `check`.
"""

from __future__ import annotations

import inspect
import sys
import threading
from collections.abc import Callable
from types import FrameType
from typing import Any

from weaver_kernel.rate_limit import RateLimiter

LIMIT = 2
WINDOW_S = 60.0
KEY = "alice:tickets.list"


def in_thread(work: Callable[[], Any]) -> None:
    thread = threading.Thread(target=work)
    thread.start()
    thread.join(timeout=0.5)  # a limiter with a lock makes the other thread wait for this one


def lost_admission() -> int:
    """How many are admitted when another thread checks while this one records."""
    recording = False
    admitted = 0

    def clock() -> float:
        nonlocal recording
        if recording:
            recording = False
            in_thread(admit)
        return 0.0

    def admit() -> None:
        nonlocal admitted
        if limiter.check(KEY, LIMIT, WINDOW_S):
            admitted += 1
            limiter.record(KEY)

    limiter = RateLimiter(clock=clock)
    if limiter.check(KEY, LIMIT, WINDOW_S):
        admitted += 1
        recording = True
        limiter.record(KEY)
    for _ in range(LIMIT):
        admit()
    return admitted


def key_error() -> str:
    """What `check` raises when another thread drops the same empty window first."""
    limiter = RateLimiter(clock=lambda: 0.0)
    source, first = inspect.getsourcelines(RateLimiter.check)
    drop = first + next((n for n, line in enumerate(source) if "del self._windows" in line), -1)

    def between_lines(frame: FrameType, event: str, _: Any) -> Any:
        if frame.f_code is not RateLimiter.check.__code__:
            return None
        if event == "line" and frame.f_lineno == drop:
            in_thread(lambda: limiter.check(KEY, LIMIT, WINDOW_S))
        return between_lines

    sys.settrace(between_lines)
    try:
        limiter.check(KEY, LIMIT, WINDOW_S)
    except Exception as error:
        return type(error).__name__
    finally:
        sys.settrace(None)
    return "nothing"


def main() -> int:
    admitted, raised = lost_admission(), key_error()
    claims = {
        f"limit {LIMIT}: {admitted} admitted in one window": admitted == LIMIT + 1,
        f"check raises {raised}": raised == "KeyError",
    }
    for claim, holds in claims.items():
        print(f"{'as described' if holds else 'NO LONGER   '}  {claim}")
    return 0 if all(claims.values()) else 1


if __name__ == "__main__":
    sys.exit(main())
