"""Choose the capability of a deployment that plays each part in the scenarios.

A promises file can name it. Otherwise, the lab's own kernel has a capability that was made for each part. For another
kernel, the first capability of the right safety class is taken.
"""

from __future__ import annotations

from typing import Any

from kernel_lab.run.promises import PartName
from kernel_lab.run.scenario import NotTold, Target


def reading(target: Target) -> str:
    """A cheap capability that anybody may read, with a wide limit: one invoice."""
    return _part(target, "read", "billing.get_invoice", "READ")


def listing(target: Target) -> str:
    """A capability with many rows behind its handle: 200 invoices."""
    return _promised(target, "list") or _part(target, "read", "billing.list_invoices", "READ")


def args(target: Target, capability: str, number: int) -> dict[str, object]:
    """Return arguments that give each number other rows; empty for a capability that is not the lab's."""
    known: dict[str, dict[str, object]] = {
        "billing.get_invoice": {"id": f"INV-{1 + number % 200:04d}"},
        "billing.list_invoices": {"rows": 7 + number % 150},
    }
    return known.get(capability, {}) if capability in target.capabilities else {}


def limited(target: Target) -> str:
    """The capability whose limit is driven: a WRITE, so that a READ can stay unlimited beside it."""
    try:
        return _part(target, "write", "billing.update_invoice", "WRITE")
    except NotTold:
        return reading(target)


def streaming(target: Target) -> str | None:
    """A capability that answers frame by frame; None where nobody says that there is one."""
    name = _promised(target, "stream") or "billing.export_invoices"
    return name if name in target.capabilities else None


def brief(target: Target) -> str | None:
    """A capability whose tokens live for seconds; None where there is none."""
    if name := _promised(target, "brief"):
        return name
    lives: dict[str, float] = target.facts.get("token_ttls") or {}
    return next((name for name in lives if name in target.capabilities), None)


def must_stream(target: Target) -> str:
    """The capability that answers frame by frame.

    Raises:
        NotTold: Nobody says that there is one.
    """
    name = streaming(target)
    if name is None:
        raise NotTold("nobody says which capability streams: give [parts.stream] in a promises file")
    return name


def lives(target: Target) -> dict[str, Any]:
    """Return the lifetimes of tokens as parameters of a cell: the common one, and those of single capabilities."""
    facts = target.facts
    return {"token_ttl_s": facts.get("token_ttl_s"), "token_ttls": facts.get("token_ttls") or {}}


def handle_life(target: Target) -> Any:
    """Return the lifetime of a handle, in seconds."""
    return target.told("handle_ttl_s")


def budget_total(target: Target) -> Any:
    """Return the size of the budget, in tokens."""
    if target.facts.get("budget_total") is None:
        raise NotTold(
            "the kernel has no budget that it tells of: give in_force.budget_total in a promises file"
        )
    return target.facts["budget_total"]


def _promised(target: Target, part: PartName) -> str | None:
    """The capability that a promises file names for a part; None where it names none.

    Raises:
        NotTold: It names one that the kernel does not have.
    """
    promised = target.promises.parts.get(part)
    if promised is None:
        return None
    if promised.capability not in target.capabilities:
        there = ", ".join(target.capabilities) or "none"
        raise NotTold(f"[parts.{part}] names {promised.capability}, and the kernel has: {there}")
    return promised.capability


def _part(target: Target, part: PartName, favourite: str, safety_class: str) -> str:
    if name := _promised(target, part):
        return name
    if favourite in target.capabilities:
        return favourite
    for name, facts in sorted(target.capabilities.items()):
        if facts["safety_class"] == safety_class and facts.get("sensitivity", "NONE") == "NONE":
            return name
    there = ", ".join(target.capabilities) or "none"
    raise NotTold(
        f"there is no {safety_class} capability without a sensitivity tag among {there}: give [parts.{part}] in a "
        "promises file"
    )
