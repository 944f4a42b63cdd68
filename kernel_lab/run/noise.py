"""Measure how busy the machine was with other work during the run.

Verdicts stay right on a busy machine; measured times may not.
"""

from __future__ import annotations

import os
from dataclasses import dataclass, field
from typing import Any

import psutil

MOST_LOAD = 1.0
"""The highest load average per core, before the run began, at which measured times are still trusted."""
MOST_STEAL = 0.05
"""The highest share of the machine's time, given by a hypervisor to other machines, at which measured times are
still trusted."""


@dataclass(slots=True)
class Watch:
    """Watch the load of the machine from the start of a run.

    `facts` returns the observed load for ``environment.json``.
    """

    load_before: float = field(default_factory=lambda: os.getloadavg()[0])
    _times: Any = field(default_factory=psutil.cpu_times)

    def facts(self) -> dict[str, Any]:
        """Return the load before and after, and the stolen share. ``noisy`` is a sentence if one is too high."""
        times = psutil.cpu_times()
        spent = [float(now - then) for now, then in zip(times, self._times, strict=True)]
        stolen = getattr(times, "steal", 0.0) - getattr(self._times, "steal", 0.0)
        share = stolen / sum(spent) if sum(spent) > 0 else 0.0
        cores = os.cpu_count() or 1
        facts: dict[str, Any] = {
            "load_average_before": round(self.load_before, 2),
            "load_average_after": round(os.getloadavg()[0], 2),
            "steal": round(share, 4),
        }
        noisy = too_noisy(load_before=self.load_before, cores=cores, steal=share)
        return facts | ({"noisy": noisy} if noisy else {})


def too_noisy(*, load_before: float, cores: int, steal: float) -> str:
    """Return why times of this machine are not to be trusted; an empty text where they are."""
    reasons = []
    if load_before > MOST_LOAD * cores:
        reasons.append(f"a load of {load_before:.1f} on {cores} cores before the run began")
    if steal > MOST_STEAL:
        reasons.append(f"{100 * steal:.0f} % of its time stolen by other machines")
    if not reasons:
        return ""
    return (
        f"this machine was busy ({' and '.join(reasons)}): the verdicts stand, measured times may be too long"
    )
