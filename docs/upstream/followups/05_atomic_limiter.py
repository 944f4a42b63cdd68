"""A shared limiter cannot be plugged in, and check-then-record would over-admit if it could.

Exits 0 while weaver-kernel behaves as described, 1 once it no longer does.
"""

from __future__ import annotations

import inspect
import sys

from weaver_kernel import Capability, DefaultPolicyEngine, PolicyDenied, Principal, SafetyClass
from weaver_kernel.models import CapabilityRequest
from weaver_kernel.rate_limit import RateLimiter

LIMIT = 5
WINDOW_S = 60.0
ALICE = Principal(principal_id="alice")
CAPABILITY = Capability(
    capability_id="tickets.list", name="List", description="List", safety_class=SafetyClass.READ
)
REQUEST = CapabilityRequest(capability_id="tickets.list", goal="list tickets")


def still() -> float:
    """A clock that stands still: every grant falls into one window."""
    return 0.0


def admitted(engine: DefaultPolicyEngine, attempts: int) -> int:
    count = 0
    for _ in range(attempts):
        try:
            engine.evaluate(REQUEST, CAPABILITY, ALICE, justification="")
        except PolicyDenied:
            continue
        count += 1
    return count


def main() -> int:
    limits = {SafetyClass.READ: (LIMIT, WINDOW_S)}
    workers = [DefaultPolicyEngine(rate_limits=limits, clock=still) for _ in range(4)]
    in_all = sum(admitted(worker, LIMIT + 1) for worker in workers)

    # one limiter that two workers see, as a client of a shared store would be: each asks, then each records
    shared = RateLimiter(clock=still)
    for _ in range(LIMIT - 1):
        shared.record("alice:tickets.list")
    asked = [shared.check("alice:tickets.list", LIMIT, WINDOW_S) for _ in "AB"]
    for allowed in asked:
        if allowed:
            shared.record("alice:tickets.list")

    parameters = inspect.signature(DefaultPolicyEngine).parameters
    claims = {
        f"4 workers admit 4 times the limit: {in_all}": in_all == 4 * LIMIT,
        "no constructor takes a limiter": not any("limiter" in name for name in parameters),
        "two workers that check before either records are both admitted": asked == [True, True],
        "no single call both checks and records": not hasattr(RateLimiter, "acquire"),
    }
    for claim, holds in claims.items():
        print(f"{'as described' if holds else 'NO LONGER   '}  {claim}")
    return 0 if all(claims.values()) else 1


if __name__ == "__main__":
    sys.exit(main())
