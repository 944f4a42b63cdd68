"""Predict a measurement from a routing probe.

The probe makes the same calls as the scenario, in the same order and with the same concurrency, between the scenario's
own calls. It uses other tokens and keys. Of the probe only the routing is used: which worker answered which call, and
when. A model of the kernel keeps each kind of state where the deployment keeps it (`Deployment.home`). The model is
asked the same calls on the same workers, and its answers are the prediction. Neither the measured calls nor the probe's
replies are used.

The model is asked call by call, because successive calls are correlated. On a shared socket two successive calls almost
never meet the same worker, so a product of the workers' shares would be wrong.
"""

from __future__ import annotations

from collections import Counter, defaultdict, deque
from collections.abc import Iterable

from kernel_lab.intervals import wilson
from kernel_lab.judge.history import AnyOperation


def admitted(routing: Iterable[tuple[int, str]], *, limit: int, window_s: float) -> int:
    """Return the number of attempts that sliding windows would admit: see `admitted_at`."""
    return len(admitted_at(routing, limit=limit, window_s=window_s))


def admitted_at(routing: Iterable[tuple[int, str]], *, limit: int, window_s: float) -> list[int]:
    """Return the instants of those attempts that sliding windows would admit, in their order.

    Args:
        routing: ``(instant_ns, home)`` of each attempt. The home is the place where its window is kept.
        limit: The number of admissions per window and home.
        window_s: The window, in seconds.
    """
    windows: dict[str, deque[int]] = defaultdict(deque)
    found = []
    for instant_ns, home in sorted(routing):
        window = windows[home]
        # upstream counts an admission while t > now - window
        while window and window[0] <= instant_ns - window_s * 1e9:
            window.popleft()
        if len(window) < limit:
            window.append(instant_ns)
            found.append(instant_ns)
    return found


def shares(operations: Iterable[AnyOperation]) -> dict[str, int]:
    """Return the number of calls that each worker answered, by the worker's name."""
    return dict(Counter(operation.worker for operation in operations if operation.worker is not None))


TOGETHER = 2
"""The number of calls that count as one in an interval: a probe's calls come in pairs that take the same route."""


def interval(share: float, trials: float) -> tuple[float, float]:
    """Return the interval in which a measured share of `trials` calls lies in 95 % of all runs, by a probe as large.

    The probe and the cell are two samples of one routing. So the difference between them has twice the variance of one
    sample.
    """
    counted = trials / (2 * TOGETHER)
    return wilson(share * counted, counted)
