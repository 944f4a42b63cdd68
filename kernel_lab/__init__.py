"""The instrument: it runs deployments, sends traffic, injects faults, records histories and judges them.

It knows HTTP and processes. It never imports ``lab``, so it measures any deployment with the same routes. It
never imports ``scenarios``: it finds the claims through an entry-point group.

Scripts use a small interface::

    import kernel_lab

    run = kernel_lab.measure(deployments=["memory-4"], scenarios=["revocation"], out="results/mine")
    for cell in run.cells:
        print(cell.label, cell.validity)

    kernel_lab.check("results/mine")  # judge it again, without a server
    kernel_lab.read_run("results/mine")  # read what was measured

An adapter for a service of your own imports `App`, `Http`, `Reply` and `Unclear` from here (docs/any-app.md).
Each name is imported when it is first used, so that `kernel_lab.guard` costs an app nothing else.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from kernel_lab.apps.adapter import App
    from kernel_lab.apps.http import Http, Reply, Unclear
    from kernel_lab.bad_input import BadInput
    from kernel_lab.judge.verdict import Anomaly, Cell, Validity, Verdict
    from kernel_lab.run.saved import SavedCell, SavedRun, read_run
    from kernel_lab.run.scenario import Scenario, Session, Target
    from kernel_lab.scripting import Judged, check, measure

__all__ = [
    "Anomaly", "App", "BadInput", "Cell", "Http", "Judged", "Reply", "SavedCell", "SavedRun", "Scenario",
    "Session", "Target", "Unclear", "Validity", "Verdict", "check", "measure", "read_run",
]  # fmt: skip

_WHERE = {
    "kernel_lab.apps.adapter": ("App",),
    "kernel_lab.apps.http": ("Http", "Reply", "Unclear"),
    "kernel_lab.bad_input": ("BadInput",),
    "kernel_lab.judge.verdict": ("Anomaly", "Cell", "Validity", "Verdict"),
    "kernel_lab.run.saved": ("SavedCell", "SavedRun", "read_run"),
    "kernel_lab.run.scenario": ("Scenario", "Session", "Target"),
    "kernel_lab.scripting": ("Judged", "check", "measure"),
}


def __getattr__(name: str) -> object:
    for module, names in _WHERE.items():
        if name in names:
            return getattr(import_module(module), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
