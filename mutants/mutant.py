"""A mutant: a right kernel with one wrong part.

A decorator puts the wrong part into the lab's own kernel and lists the mutant::

    @mutant("limiter", breaks="rate_limit", finds="over_admission")
    class OneMore(Wrap):
        '''Admits one grant more than the limit.'''

        def acquire(self, key, limit, window_s):
            return self.right.acquire(key, limit + 1, window_s)

The result is the mutant, which is also a factory that ``LAB_KERNEL`` can name:
``LAB_KERNEL=mutants.rate_limit:OneMore``.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from weaver_kernel import Kernel

from lab.kernel import build_kernel
from lab.policy import SharedLimitPolicy
from lab.settings import Settings

Part = Literal[
    "settings", "kernel", "tokens", "revocations", "limiter", "handles", "traces", "budget", "stats"
]

Home = Literal["single", "each", "one"]
"""Whom the workers ask: ``single``, there is one worker with a kernel in memory; ``each``, every worker has a
kernel of its own and all share one SQLite file; ``one``, all workers hand on to the same kernel in memory."""


@dataclass(frozen=True, kw_only=True)
class Mutant:
    """One way in which a kernel is wrong, and how the lab must find it."""

    name: str
    module: str
    wrong: str
    """What is wrong, in a sentence."""
    part: Part
    wrap: Callable[..., Any]
    """``wrap(right part, settings)`` is the wrong one; of ``settings``, ``wrap(settings)``."""
    breaks: str
    """The claim, which is the scenario's name too."""
    finds: str
    """The anomaly that must be among those found."""
    home: Home = "each"
    workers: int = 4
    restarts_s: tuple[float, ...] = ()
    """When the first worker is restarted, counted from the cell's begin."""
    env: Mapping[str, str] = field(default_factory=dict)
    """Settings of the workers that it takes: a small cap."""
    proof: int = 0
    """Operations that its counter-example may have, where it takes more than six."""
    lag_ms: float | None = None
    """A delay that the measured lag must bracket."""
    bitten: str = ""
    """A link to a place where somebody met it in production."""

    @property
    def factory(self) -> str:
        """As ``LAB_KERNEL`` names it."""
        return f"{self.module}:{self.name}"

    @property
    def title(self) -> str:
        """Its name in words."""
        words = re.sub(r"(?<=[a-z\d])(?=[A-Z])|(?<=[A-Z])(?=[A-Z][a-z])|(?<=[a-z])(?=\d)", " ", self.name)
        return words.replace("_", " ").lower()

    def __call__(self, settings: Settings) -> Kernel:
        """The wrong kernel."""
        if self.part == "settings":
            return build_kernel(self.wrap(settings))
        kernel = build_kernel(settings)
        if self.part == "kernel":
            self.wrap(kernel, settings)
        else:
            owner, name = _SEATS[self.part](kernel)
            setattr(owner, name, self.wrap(getattr(owner, name), settings))
        return kernel


_SEATS: Mapping[str, Callable[[Any], tuple[Any, str]]] = {
    "tokens": lambda kernel: (kernel, "_token_provider"),
    "revocations": lambda kernel: (kernel._token_provider, "_revocation"),
    # a shared limiter stands behind the adapter that makes the keys
    "limiter": lambda kernel: (
        kernel._policy._limiter if isinstance(kernel._policy, SharedLimitPolicy) else kernel._policy,
        "_limiter",
    ),
    "handles": lambda kernel: (kernel, "_handle_store"),
    "traces": lambda kernel: (kernel, "_trace_store"),
    "budget": lambda kernel: (kernel, "_budget_manager"),
    "stats": lambda kernel: (kernel, "_stats"),
}
"""Part → the object that holds it, and under which name."""

MUTANTS: dict[str, Mutant] = {}
"""Every mutant that has been imported, by name."""


def mutant(part: Part, **facts: Any) -> Callable[[Callable[..., Any]], Mutant]:
    """List what is decorated, a function or a class from the right part to the wrong one."""

    def listed(wrap: Callable[..., Any]) -> Mutant:
        name = wrap.__name__
        wrong = " ".join((wrap.__doc__ or "").split())
        if not wrong or name in MUTANTS:
            raise TypeError(
                f"mutant {name}: needs a docstring that says what is wrong, and a name of its own"
            )
        MUTANTS[name] = Mutant(name=name, module=wrap.__module__, wrong=wrong, part=part, wrap=wrap, **facts)
        return MUTANTS[name]

    return listed


class Wrap:
    """A right part. A subclass changes one thing."""

    def __init__(self, right: Any, settings: Settings) -> None:
        self.right = right
        self.settings = settings
        self.calls = 0
        """The counter of a part that is wrong once in several calls."""

    def __getattr__(self, name: str) -> Any:
        return getattr(self.right, name)

    def every(self, times: int) -> bool:
        """Whether it is the turn to be wrong: once in so many times that this is asked."""
        self.calls += 1
        return self.calls % times == 0


def later(delay_s: float, effect: Callable[..., Any], *args: Any) -> None:
    """Have an effect after the reply, so that other calls can come between the reply and the effect."""
    asyncio.get_running_loop().call_later(delay_s, effect, *args)


def elsewhere(settings: Settings, *kinds: str) -> Settings:
    """The settings, with some kinds of state in each worker's memory."""
    return settings.model_copy(update={f"state_{kind}": "memory://" for kind in kinds})
