"""``memory://``: upstream's own stores, unchanged. Every process has its own. This is the baseline."""

from __future__ import annotations

from typing import TYPE_CHECKING

from weaver_kernel import BudgetManager, HandleStore
from weaver_kernel.rate_limit import RateLimiter
from weaver_kernel.stores import InMemoryRevocationStore

from lab.older import traces_in_memory
from lab.state.seam import State, StateOptions

if TYPE_CHECKING:
    from lab.state.url import StateURL


def open_url(url: StateURL, options: StateOptions) -> State:
    """Open upstream's stores with its defaults, and with the life, the caps and the pool that `options` names."""
    if url.rest:
        url.wrong(f"nothing may follow '://', there is {url.rest!r}")
    url.allow()
    return State(
        revocations=InMemoryRevocationStore(),
        limiter=RateLimiter(),
        handles=HandleStore(options.handle_ttl_s, max_entries=options.handle_cap),
        traces=traces_in_memory(options.trace_cap),
        budget=None
        if options.budget_total is None
        else BudgetManager(options.budget_total, default_request=options.budget_request),
    )
