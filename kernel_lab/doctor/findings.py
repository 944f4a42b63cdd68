"""A finding, and the sentences that say a number of processes in plain English."""

from __future__ import annotations

from dataclasses import dataclass

from kernel_lab.doctor.catalogue import RULES, Severity
from kernel_lab.doctor.facts import Count, Place


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """A conclusion from a line of a file."""

    id: str
    severity: Severity
    place: Place
    message: str
    fix: str
    evidence: tuple[str, ...]
    ignored: str | None = None
    """The reason of an ignore comment that names this finding."""


def finding(
    rule: str, place: Place, message: str, *, severity: Severity | None = None, fix: str | None = None
) -> Finding:
    """A finding of a rule, with the rule's severity, fix and evidence unless others are given."""
    known = RULES[rule]
    return Finding(
        id=rule,
        severity=severity or known.severity,
        place=place,
        message=message,
        fix=fix or known.fix,
        evidence=tuple(known.evidence),
    )


def processes(count: Count) -> str:
    """``4 processes``, ``1 process``, ``2 to 17 processes``."""
    return f"{count} process{'' if count.min == count.max == 1 else 'es'}"


def others(count: Count) -> str:
    """Return the number of processes other than the one that was asked: ``the other 3 of 4``."""
    if count.max is None:
        return "every process but one"
    if count.max <= 1:
        return "no other process"
    if count.known:
        return f"the other {count.max - 1} of {count.max}"
    return f"up to {count.max - 1} of {count.max}"


def times(limit: int, per: str, count: Count) -> str:
    """``5 per minute becomes up to 360 per minute (5 × 72)``."""
    if count.max is None:
        least = f", which is at least {limit * count.min:,} ({limit} × {count.min})" if count.min > 1 else ""
        return f"{limit} per {per} becomes up to {limit} per {per} in each process{least}"
    return f"{limit} per {per} becomes up to {limit * count.max:,} per {per} ({limit} × {count.max})"


def factor(count: Count) -> str:
    """Return how often an event counts that counts once in each process: ``up to 17 times``."""
    if count.max is None:
        return f"at least {count.min} times" if count.min > 1 else "once in each process"
    return f"{count.max} times" if count.known else f"up to {count.max} times"


def admits(count: Count) -> str:
    """Return how much a limit in memory admits: ``4 times as much``."""
    if count.max is None and count.min <= 1:
        return "its number once in each process"
    return f"{factor(count)} as much"
