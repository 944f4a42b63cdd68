"""Which of a deployment's capabilities plays which part.

The lab's own kernel has one made for each part; an operator's kernel has whatever it has, so the first
capability of the right safety class steps in.
"""

from __future__ import annotations

from kernel_lab.run.scenario import Target


class NoSuchPart(LookupError):  # noqa: N818 - it names a thing
    """The deployment has no capability that could play a part."""


def reading(target: Target) -> str:
    """A cheap capability that anybody may read, with a wide limit: one invoice."""
    return _first(target, "billing.get_invoice", "READ")


def listing(target: Target) -> str:
    """A capability with many rows behind its handle: 200 invoices."""
    return _first(target, "billing.list_invoices", "READ")


def limited(target: Target) -> str:
    """The capability whose limit is driven: a WRITE, so that a READ can stay unlimited beside it."""
    try:
        return _first(target, "billing.update_invoice", "WRITE")
    except NoSuchPart:
        return reading(target)


def streaming(target: Target) -> str | None:
    """A capability that answers frame by frame, if it is the lab's: others do not say."""
    name = "billing.export_invoices"
    return name if name in target.capabilities else None


def brief(target: Target) -> str | None:
    """A capability whose tokens live for seconds, if there is one."""
    lives: dict[str, float] = target.facts.get("token_ttls") or {}
    return next((name for name in lives if name in target.capabilities), None)


def _first(target: Target, favourite: str, safety_class: str) -> str:
    if favourite in target.capabilities:
        return favourite
    for name, facts in sorted(target.capabilities.items()):
        if facts["safety_class"] == safety_class and facts.get("sensitivity", "NONE") == "NONE":
            return name
    there = ", ".join(target.capabilities) or "none"
    raise NoSuchPart(f"no {safety_class} capability without a sensitivity tag among: {there}")
