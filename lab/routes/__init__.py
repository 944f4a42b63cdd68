"""The HTTP routes of the lab, one module for each noun."""

from __future__ import annotations

from starlette.routing import BaseRoute

from lab.routes import (
    budget,
    capabilities,
    grants,
    handles,
    invocations,
    revocations,
    stats,
    traces,
    worker,
)

# Routes are tried in this order: the two that carry the load come first.
_NOUNS = (grants, invocations, handles, traces, revocations, budget, stats, capabilities, worker)

ROUTES: tuple[BaseRoute, ...] = tuple(route for noun in _NOUNS for route in noun.router.routes)
