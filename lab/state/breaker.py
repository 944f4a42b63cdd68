"""A breaker: after one call to a store that did not answer in time, it refuses the next calls at once."""

from __future__ import annotations

import threading
from collections.abc import Callable

from lab.state.seam import StateUnavailable

PROBE_EVERY_S = 0.1
"""Seconds between two probes. A service resumes about this much later than its store."""


class Breaker:
    """Closed: calls pass. Open: calls are refused at once, and a thread of the breaker probes the store.

    Blocking store calls are made on a worker's event loop. A store that does not answer would block the loop for a
    whole time-out at every call. With the breaker it blocks the loop once, and calls that need no store go on. The
    breaker closes when a probe gets an answer. The thread exists only while the breaker is open.

    A breaker belongs to one process: after a fork, make another.
    """

    def __init__(self, probe: Callable[[], object]) -> None:
        """Make a closed breaker.

        `probe` asks the store, in bounded time, and raises an error if that fails.
        """
        self._probe = probe
        self._lock = threading.Lock()
        self._reason: str | None = None
        self._ended = threading.Event()

    @property
    def open(self) -> bool:
        """Whether calls are refused at present."""
        return self._reason is not None

    def check(self) -> None:
        """Refuse the call if the breaker is open.

        Raises:
            StateUnavailable: The breaker is open. The message says which failure opened it.
        """
        if self._reason is not None:
            raise StateUnavailable(f"{self._reason}; not asked again yet")

    def trip(self, reason: str) -> None:
        """Open the breaker, and start to probe the store."""
        with self._lock:
            if self._reason is None and not self._ended.is_set():
                self._reason = reason
                threading.Thread(target=self._watch, name="lab-state-probe", daemon=True).start()

    def close(self) -> None:
        """End the thread, if there is one, after its current probe."""
        self._ended.set()

    def _watch(self) -> None:
        while not self._ended.is_set():
            try:
                self._probe()
            except Exception:  # noqa: BLE001 - whatever it was, a thread that ends here never asks again
                self._ended.wait(PROBE_EVERY_S)
            else:
                break
        self._reason = None
