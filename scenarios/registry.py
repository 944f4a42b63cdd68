"""The registry: every scenario, every deployment, and the settings under which the lab measures them."""

from __future__ import annotations

from pathlib import Path

from harness.deployment import Deployment, read_deployments
from harness.scenario import Scenario
from scenarios import budget, capabilities, handles, rate_limit, revocation, stats, streams, tokens, traces

ROOT = Path(__file__).resolve().parent.parent
"""The checkout: where ``lab/`` and ``results/`` are."""

SCENARIOS: dict[str, Scenario] = {
    scenario.name: scenario
    for scenario in (
        tokens.SCENARIO,
        rate_limit.SCENARIO,
        revocation.SCENARIO,
        handles.SCENARIO,
        traces.SCENARIO,
        capabilities.SCENARIO,
        stats.SCENARIO,
        budget.SCENARIO,
        streams.SCENARIO,
    )
}

QUICK_DEPLOYMENTS = ("single", "memory-4", "redis", "sidecar")


def deployments() -> dict[str, Deployment]:
    """Every deployment of ``lab/deployments.toml``, by name."""
    return read_deployments(ROOT / "lab" / "deployments.toml")


def settings(*, quick: bool) -> dict[str, str]:
    """Settings of the workers that are measured.

    One stack serves every scenario: a small limit on WRITE, so that a person can read a counter-example of
    L + 1 grants, and so that it divides by four workers; a READ that never limits; tokens of short life for
    one capability.
    """
    window_s = 1.2 if quick else 2.0
    return {
        "LAB_RATE_LIMITS": f"READ=1000000/60,WRITE=4/{window_s},DESTRUCTIVE=4/{window_s}",
        "LAB_TOKEN_TTLS": "billing.peek_invoice=2",
    }
