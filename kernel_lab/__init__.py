"""The instrument: deployments, traffic, faults, histories, checkers.

It knows HTTP and processes. It never imports ``lab``, so it measures any deployment that speaks the same
routes, and never imports ``scenarios``: what is asked is handed to it.

An adapter for a service of your own imports `App`, `Http`, `Reply` and `Unclear` from here (docs/any-app.md).
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from kernel_lab.apps.adapter import App
    from kernel_lab.apps.http import Http, Reply, Unclear

__all__ = ["App", "Http", "Reply", "Unclear"]

_PLACES = {"App": "adapter", "Http": "http", "Reply": "http", "Unclear": "http"}


def __getattr__(name: str) -> object:
    """What adapters import, once it is asked for: to judge a saved history takes no HTTP client."""
    if name not in _PLACES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.apps.{_PLACES[name]}"), name)
