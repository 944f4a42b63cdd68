"""Pure checkers, one per claim: ``check(history, cell) -> Verdict``, without a clock, without I/O and without a log.

A checker is a module. Its docstring states the claim, the legal histories, why no legal history is accused, and
what the checker cannot see. ``judge`` reads the history once or twice and collects findings; ``finding.conclude``
makes the verdict from them. A checker has a verdict for every well-formed history.
"""

from kernel_lab.judge.checkers import (
    budget,
    capabilities,
    handles,
    rate_limit,
    revocation,
    stats,
    streams,
    tokens,
    traces,
)
from kernel_lab.judge.checkers.finding import Checker

__all__ = ["CHECKERS", "Checker"]

CHECKERS: dict[str, Checker] = {
    checker.CLAIM: checker
    for checker in (tokens, rate_limit, revocation, handles, traces, budget, capabilities, stats, streams)
}
"""The checkers by claim. The name of a claim is also the name of its scenario."""
