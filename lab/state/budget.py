"""The budget of several processes: the part that is the same for every store."""

from __future__ import annotations

import itertools
import os
import secrets
from abc import ABC, abstractmethod
from collections import deque
from dataclasses import dataclass

from weaver_kernel import BudgetConfigError, BudgetExhausted, BudgetManager
from weaver_kernel.firewall.token_counting import TokenCounter

LEASE_S = 30
"""Seconds for which a reservation counts against the pool when it is not settled."""


@dataclass(frozen=True, slots=True)
class Pool:
    """Tokens spent, and tokens set aside by reservations that still count."""

    used: int
    reserved: int


class SharedBudget(BudgetManager, ABC):
    """Upstream's budget over one pool that every process uses. `suggested_mode` is upstream's own.

    A reservation is a lease: it counts until it is settled, and for `LEASE_S` at most. So the reservation of a killed
    worker is free again no later than `LEASE_S` after it was made. An invocation that takes longer than `LEASE_S` loses
    its reservation, but its use is still added when it ends. As in upstream, ``used`` stops at the total, and the last
    invocation may use more than it reserved.

    Upstream gives back an amount and does not name the reservation: ``record_usage(actual, reserved=n)``. Tokens of the
    pool are interchangeable, so the amount is taken from this process's oldest reservations.
    """

    __slots__ = ("_mine", "_names", "_pid")

    def __init__(
        self, total_budget: int, *, token_counter: TokenCounter | None = None, default_request: int = 4_000
    ) -> None:
        super().__init__(total_budget, token_counter=token_counter, default_request=default_request)
        self._begin()

    def _begin(self) -> None:
        self._pid = os.getpid()
        boot = secrets.token_hex(8)
        self._names = (f"{boot}:{n}" for n in itertools.count())
        self._mine: deque[tuple[str, int]] = deque()

    @property
    def remaining(self) -> int:
        """The number of tokens that a new reservation can take."""
        pool = self._pool()
        return max(0, self.total_budget - pool.used - pool.reserved)

    @property
    def used(self) -> int:
        """The number of tokens that all processes together have spent."""
        return self._pool().used

    @property
    def usage_fraction(self) -> float:
        """`used` as a share of the total."""
        return min(1.0, self.used / self.total_budget)

    async def allocate(self, requested: int | None = None) -> int:
        """Reserve tokens; see upstream's `BudgetManager.allocate`.

        Raises:
            BudgetExhausted, BudgetConfigError: As upstream's.
            StateUnavailable: The store could not be asked. A lease may have been taken.
        """
        if requested is not None and requested < 0:
            raise BudgetConfigError("requested must be non-negative")
        if self._pid != os.getpid():
            self._begin()  # after a fork, the parent gives back its own reservations
        name = next(self._names)
        want = self._default_request if requested is None else requested
        granted, pool = self._reserve(name, want)
        if granted is None:
            raise BudgetExhausted(
                f"Session budget exhausted: used {pool.used} of {self.total_budget} tokens "
                f"({pool.reserved} reserved, no budget remaining)."
            )
        if granted:
            self._mine.append((name, granted))
        return granted

    async def record_usage(self, actual: int, *, reserved: int | None = None) -> None:
        """Spend `actual` and give back the reservation; see upstream's `BudgetManager.record_usage`.

        Raises:
            BudgetConfigError: As upstream's.
            StateUnavailable: The store could not be asked. The amount may have been spent.
        """
        if actual < 0:
            raise BudgetConfigError("actual must be non-negative")
        if reserved is not None and reserved < 0:
            raise BudgetConfigError("reserved must be non-negative")
        self._settle(self._given_back(reserved or 0), actual)

    async def release(self, reserved: int) -> None:
        """Give back a reservation that was not used at all; see upstream's `BudgetManager.release`."""
        if reserved < 0:
            raise BudgetConfigError("reserved must be non-negative")
        self._settle(self._given_back(reserved), 0)

    def _given_back(self, amount: int) -> list[tuple[str, int]]:
        """Return the leases that `amount` is taken from, by name, with their new amounts. A lease at 0 is over.

        They are forgotten here before the store is told. If the answer of a settlement is lost, the settlement is not
        repeated, and the lease ends by itself.
        """
        leases = []
        while amount > 0 and self._mine:
            name, held = self._mine.popleft()
            taken = min(held, amount)
            amount -= taken
            leases.append((name, held - taken))
            if held > taken:
                self._mine.appendleft((name, held - taken))
        return leases

    @abstractmethod
    def _pool(self) -> Pool:
        """Return the pool at present."""

    @abstractmethod
    def _reserve(self, name: str, want: int) -> tuple[int | None, Pool]:
        """Lease ``min(want, what is left)`` for `LEASE_S`. Return the pool before it; None when nothing is left."""

    @abstractmethod
    def _settle(self, leases: list[tuple[str, int]], actual: int) -> None:
        """Set each lease to its new amount, and add `actual` to the used amount, up to the total."""
