"""The parts of weaver-kernel 0.12 that the lab's app uses and that 0.11.0 does not have.

While a deployment is moved from one version to the next, the app serves on both. Each name here is upstream's own
where the version has it, so nothing changes on 0.12, the version under test. The fault ``mixed_version`` runs one
replica on 0.11.0.
"""

from __future__ import annotations

import inspect
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any, cast

import weaver_kernel
from weaver_kernel import TraceStore
from weaver_kernel.stores import InMemoryRevocationStore

if TYPE_CHECKING:
    from collections.abc import Iterable

    from weaver_kernel import ActionTrace, Kernel, RevocationStoreProtocol

if TYPE_CHECKING or hasattr(weaver_kernel, "TraceQuery"):
    from weaver_kernel import HandleTooLarge, TraceQuery, query_traces
else:
    HandleTooLarge = weaver_kernel.FirewallError  # 0.11.0 takes a handle of any size

    @dataclass(slots=True)
    class TraceQuery:
        """The fields of upstream's query that the app fills."""

        principal_id: str | None = None
        capability_id: str | None = None
        event_type: str | None = None
        limit: int | None = None
        offset: int = 0

    def query_traces(traces: Iterable[ActionTrace], query: TraceQuery) -> list[ActionTrace]:
        """Filter, order and cut traces as upstream does since 0.12. 0.11.0 traces invokes alone."""
        found = [
            trace
            for trace in traces
            if query.principal_id in (None, trace.principal_id)
            and query.capability_id in (None, trace.capability_id)
            and query.event_type in (None, "invoke")
        ]
        found.sort(key=lambda trace: (trace.invoked_at, trace.action_id))
        return found[query.offset :][: query.limit]


__all__ = ["HandleTooLarge", "TraceQuery", "queried", "query_traces", "traces_in_memory", "tracking"]

EXPIRES = "expires_at"
UNTRACED: dict[str, Any] = {"event_type": "invoke", "reason_code": None}
"""The fields that 0.11.0 does not export; whatever it traces is an invoke."""


def queried(kernel: Kernel, query: TraceQuery) -> list[ActionTrace]:
    """The kernel's traces that match a query."""
    if hasattr(kernel, "query_traces"):
        return kernel.query_traces(query)
    return query_traces(kernel.list_traces(), query)


def traces_in_memory(cap: int) -> TraceStore:
    """Upstream's trace store in memory. That of 0.11.0 has no cap."""
    if "max_entries" in inspect.signature(TraceStore).parameters:
        return TraceStore(max_entries=cap)
    return TraceStore()


def tracking(store: RevocationStoreProtocol, longest_s: float) -> RevocationStoreProtocol:
    """A revocation store as this version's token provider calls it.

    0.11.0 does not say when a token expires. A store that must know takes the longest life that a token can have, so
    it forgets no token before its end.
    """
    if _takes_expiry(InMemoryRevocationStore) or not _takes_expiry(store):
        return store
    return cast("RevocationStoreProtocol", _Untimed(store, longest_s))


def _takes_expiry(store: object) -> bool:
    return EXPIRES in inspect.signature(store.track).parameters  # type: ignore[attr-defined]


class _Untimed:
    """A revocation store whose caller does not say when a token expires."""

    def __init__(self, store: RevocationStoreProtocol, longest_s: float) -> None:
        self._store = store
        self._longest = timedelta(seconds=longest_s)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._store, name)

    def track(self, principal_id: str, token_id: str) -> None:
        """Remember a token of the longest life."""
        self._store.track(principal_id, token_id, datetime.now(tz=UTC) + self._longest)
