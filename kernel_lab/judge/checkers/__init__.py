"""Pure checkers, one per claim: ``check(history, cell) -> Verdict``; no clock, no I/O, no log.

A checker is a module: its docstring is the claim, what is legal, why no legal history is accused, and what
it cannot see. ``judge`` reads the history once or twice and adds up what it found; ``finding.conclude``
makes the verdict of it. Checkers are total: they have a verdict on every well-formed history.
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
