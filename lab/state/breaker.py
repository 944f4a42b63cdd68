"""A breaker: after one call to a store that did not answer in time, the next are refused at once."""

from __future__ import annotations

import threading
from collections.abc import Callable

from lab.state.seam import StateUnavailable

PROBE_EVERY_S = 0.1
"""Pause between two probes. A service resumes about this much later than its store."""


class Breaker:
    """Closed: calls pass. Open: they are refused without asking, while a thread of its own asks.

    Blocking store calls are made on a worker's event loop. A store that does not answer would block the loop for a
    whole time-out at every call. With the breaker it does so once, and calls that need no store go on. It closes when a
    probe gets an answer. The thread exists while the breaker is open and no longer.

    It belongs to one process: after a fork, make another.
    """

    def __init__(self, probe: Callable[[], object]) -> None:
        """`probe` asks the store, in bounded time, and raises `StateUnavailable` if it fails."""
        self._probe = probe
        self._lock = threading.Lock()
        self._reason: str | None = None
        self._ended = threading.Event()

    @property
    def open(self) -> bool:
        """Whether calls are refused just now."""
        return self._reason is not None

    def check(self) -> None:
        """Refuse if open.

        Raises:
            StateUnavailable: With what opened it.
        """
        if self._reason is not None:
            raise StateUnavailable(f"{self._reason}; not asked again yet")

    def trip(self, reason: str) -> None:
        """Open, and start to probe."""
        with self._lock:
            if self._reason is None and not self._ended.is_set():
                self._reason = reason
                threading.Thread(target=self._watch, name="lab-state-probe", daemon=True).start()

    def close(self) -> None:
        """End the thread, if there is one, after the probe it is in."""
        self._ended.set()

    def _watch(self) -> None:
        while not self._ended.is_set():
            try:
                self._probe()
            except StateUnavailable:
                self._ended.wait(PROBE_EVERY_S)
            else:
                break
        self._reason = None
