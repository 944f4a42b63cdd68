"""A deferred namespace loader that raised once is never run again in that worker.

Exits 0 while weaver-kernel behaves as described, 1 once it no longer does.
"""

from __future__ import annotations

import sys

from weaver_kernel import Capability, CapabilityNotFound, CapabilityRegistry, SafetyClass


def registry(*, first_load_fails: bool) -> CapabilityRegistry:
    calls: list[int] = []

    def load() -> list[Capability]:
        calls.append(1)
        if first_load_fails and len(calls) == 1:
            raise ConnectionError("the catalogue did not answer")
        return [
            Capability(
                capability_id="tickets.list",
                name="List",
                description="List",
                safety_class=SafetyClass.READ,
            )
        ]

    made = CapabilityRegistry()
    made.register_namespace("tickets", loader=load)
    return made


def ask(made: CapabilityRegistry) -> str:
    try:
        return made.get("tickets.list").capability_id
    except Exception as error:
        return type(error).__name__


def main() -> int:
    a, b = registry(first_load_fails=True), registry(first_load_fails=False)
    answers = [ask(a) for _ in range(3)]
    try:
        listed = len(a.list_namespace("tickets"))
    except CapabilityNotFound:
        listed = 0
    claims = {
        "the first lookup raises what the loader raised": answers[0] == "ConnectionError",
        "every later one says that no such capability exists": answers[1:]
        == ["CapabilityNotFound"] * 2,
        "the namespace is listed as empty, without an error": listed == 0,
        "a search finds nothing, without an error": a.search("list") == [],
        "another worker, whose first load went well, finds it": ask(b) == "tickets.list"
        and len(b.search("list")) == 1,
    }
    for claim, holds in claims.items():
        print(f"{'as described' if holds else 'NO LONGER   '}  {claim}")
    return 0 if all(claims.values()) else 1


if __name__ == "__main__":
    sys.exit(main())
