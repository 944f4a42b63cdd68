"""The promises of a kernel that is not the lab's, read from the kernel object.

The lab's settings say nothing about a kernel that another factory builds. Where upstream's own parts are used, they
have the values in force as attributes. Another class may have the same attributes. A value that no part has is None,
and a run does not judge by it.
"""

from __future__ import annotations

import inspect
from typing import Any

from weaver_kernel import Kernel

from lab.kernel import KernelView


def told_by(kernel: Kernel) -> dict[str, Any]:
    """Return the limits, lives, caps and budget of a kernel, by the names of ``GET /worker``; None if it has none."""
    view = KernelView.of(kernel)
    return {
        "rate_limits": _limits(view.policy),
        "split_limit": 1,
        "token_ttl_s": _token_life(view.tokens),
        "token_ttls": {},
        "handle_ttl_s": _number(view.handles, "_default_ttl", "default_ttl_seconds"),
        "handle_cap": _number(view.handles, "_max_entries", "max_entries"),
        "trace_cap": _number(view.traces, "_max_entries", "max_entries"),
        "budget_total": _number(kernel.budget, "total", "total_budget"),
    }


def _limits(policy: object) -> dict[str, Any]:
    """Return the limits of upstream's policy engine, or of an engine that wraps or extends it."""
    for engine in (policy, getattr(policy, "inner", None), getattr(policy, "_inner", None)):
        limits = getattr(engine, "_rate_limits", None)
        if isinstance(limits, dict):
            return {
                getattr(safety, "value", str(safety)): {"limit": int(limit), "window_s": float(window_s)}
                for safety, (limit, window_s) in limits.items()
            }
    return {}


def _token_life(tokens: object) -> float | None:
    """Return how long a token lives if the caller asks for no lifetime: the default of the provider's ``issue``."""
    issue = getattr(tokens, "issue", None)
    if issue is None:
        return None
    known = inspect.signature(issue).parameters.get("ttl_seconds")
    life = known.default if known is not None else None
    return float(life) if isinstance(life, int | float) and not isinstance(life, bool) else None


def _number(part: object, *names: str) -> Any:
    """Return the value of the first of these attributes that holds a number."""
    for name in names:
        value = getattr(part, name, None)
        if isinstance(value, int | float) and not isinstance(value, bool):
            return value
    return None
