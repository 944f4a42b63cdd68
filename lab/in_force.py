"""The promises of a worker: the reply to ``GET /worker``."""

from __future__ import annotations

import weaver_kernel
from typing_extensions import TypedDict

from lab.policy import asked_limits
from lab.settings import Settings
from lab.state.url import redacted
from lab.worker import WorkerName


class RateLimit(TypedDict):
    """At most `limit` grants in any `window_s` seconds, per principal and capability."""

    limit: int
    window_s: float


class WorkerReply(TypedDict):
    """The name of the worker, and the promises of its deployment.

    A run needs both for a service that it did not start.
    """

    worker: str
    replica: str
    pid: int
    boot: str
    kernel_version: str
    state: str
    rate_limits: dict[str, RateLimit]
    """The limits that the deployment is asked to keep. Each worker divides them by `split_limit` and applies the
    result."""
    split_limit: int
    token_ttl_s: float | None
    token_ttls: dict[str, int]
    handle_ttl_s: float | None
    handle_cap: int | None
    trace_cap: int | None
    """Null if the kernel comes from another factory and does not state it."""
    budget_total: int | None
    chained_audit: bool | None
    """Null in a worker that forwards to another process, if its settings do not state it."""
    warnings: list[str]
    """Facts about the stores that an operator should know, for example that a store forgets when it is restarted."""


def describe(settings: Settings, name: WorkerName, *, chained_audit: bool | None) -> WorkerReply:
    """Return the reply to ``GET /worker``."""
    return WorkerReply(
        worker=str(name),
        replica=name.replica,
        pid=name.pid,
        boot=name.boot,
        kernel_version=weaver_kernel.__version__,
        state=redacted(settings.state),
        rate_limits={
            safety.value: RateLimit(limit=limit, window_s=window_s)
            for safety, (limit, window_s) in asked_limits(settings).items()
        },
        split_limit=settings.split_limit,
        token_ttl_s=settings.token_ttl_s,
        token_ttls=dict(settings.token_ttls),
        handle_ttl_s=settings.handle_ttl_s,
        handle_cap=settings.handle_cap,
        trace_cap=settings.trace_cap,
        budget_total=settings.budget_total,
        chained_audit=chained_audit,
        warnings=[],
    )
