"""What an invoke costs grows with what it stores, not with what it shows, and with what is stored already.

Counted, not timed: calls that one invoke makes. Exits 0 while weaver-kernel behaves as described, 1 once it no
longer does.
"""

from __future__ import annotations

import asyncio
import sys
from collections import Counter
from types import FrameType
from typing import Any

from weaver_kernel import (
    Capability,
    CapabilityRegistry,
    HandleStore,
    HMACTokenProvider,
    InMemoryDriver,
    Kernel,
    Principal,
    SafetyClass,
)
from weaver_kernel.models import CapabilityRequest

ALICE = Principal(principal_id="alice", roles=["reader"])
CAP = 50
STRINGS = 3
"""In a row."""


def rows(count: int) -> list[dict[str, Any]]:
    return [
        {"id": f"T{n}", "status": "open", "title": "a printer", "hours": n} for n in range(count)
    ]


def calls_of_one_invoke(count: int, already: int = 0) -> Counter[str]:
    """How often each function is called by an invoke of `count` rows, once so many handles are kept."""
    registry = CapabilityRegistry()
    registry.register(
        Capability(
            capability_id="tickets.list",
            name="List",
            description="List tickets",
            safety_class=SafetyClass.READ,
        )
    )
    driver = InMemoryDriver()
    driver.register_handler("tickets.list", lambda ctx: rows(count))
    store = HandleStore(max_entries=CAP)
    kernel = Kernel(registry, token_provider=HMACTokenProvider("one-process"), handle_store=store)
    kernel.register_driver(driver)
    request = CapabilityRequest(capability_id="tickets.list", goal="list tickets")
    token = kernel.get_token(request, ALICE, justification="")
    for _ in range(already):
        store.store("tickets.list", rows(1))
    calls: Counter[str] = Counter()

    def count_call(frame: FrameType, event: str, arg: Any) -> None:
        if event == "call":
            calls[frame.f_code.co_name] += 1
        elif event == "c_call":
            calls[arg.__name__] += 1

    sys.setprofile(count_call)
    try:
        asyncio.run(kernel.invoke(token, principal=ALICE, args={}))
    finally:
        sys.setprofile(None)
    return calls


def main() -> int:
    few, many = calls_of_one_invoke(20), calls_of_one_invoke(200)
    more = STRINGS * (200 - 20)
    substitutions = many["sub"] - few["sub"]
    sized = many["estimated_size"]
    sorts = [calls_of_one_invoke(1, already)["_oldest_ids"] for already in (CAP - 1, CAP)]
    claims = {
        f"a summary: {substitutions // more} substitutions for each further string stored": substitutions
        == 8 * more,
        f"no byte cap is set: every stored result is walked to be sized, {sized} time": sized == 1,
        f"handles sorted by a store below the cap: {sorts[0]} times, at the cap: {sorts[1]} time": sorts
        == [0, 1],
    }
    for claim, holds in claims.items():
        print(f"{'as described' if holds else 'NO LONGER   '}  {claim}")
    return 0 if all(claims.values()) else 1


if __name__ == "__main__":
    sys.exit(main())
