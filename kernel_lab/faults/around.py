"""The time around a fault: the traffic of several claims makes its state, then asks for it round after round."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import AsyncIterator

ROUND_S = 0.05
"""The pause between the end of one round of a claim's calls and the beginning of its next round."""

FREE = "handle_only"
"""The response mode that every claim but the budget asks for, so that an invoke costs no budget. The budget is
judged to the token, and its history does not contain the invokes of other claims."""


class Around:
    """What the traffic of several claims and the injection of one fault have in common.

    Args:
        parties: How many claims there are; the fault waits for all of them.
    """

    def __init__(self, parties: int) -> None:
        self._missing = parties
        self._ready = asyncio.Event()
        self._over = asyncio.Event()

    async def rounds(self) -> AsyncIterator[int]:
        """The numbers of the rounds: before the fault, while it lasts, and until some time after it.

        A claim makes its state before it asks for the first one: that one comes when every claim has done so.
        """
        self.arrive()
        await self._ready.wait()
        for number in itertools.count():
            if self._over.is_set():
                return
            yield number
            await asyncio.sleep(ROUND_S)

    def arrive(self) -> None:
        """Report that one claim has made its state, or never will."""
        self._missing -= 1
        if self._missing <= 0:
            self._ready.set()

    async def ready(self) -> None:
        """Wait until every claim has arrived."""
        await self._ready.wait()

    def end(self) -> None:
        """The rounds end."""
        self._over.set()
