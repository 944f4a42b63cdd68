"""What a kernel's state is: five stores, opened together and closed together."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Literal, Protocol

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from weaver_kernel import BudgetManager, HandleStore
    from weaver_kernel.stores import RevocationStoreProtocol, TraceStoreProtocol

Kind = Literal["revocations", "limiter", "handles", "traces", "budget"]
KINDS: tuple[Kind, ...] = ("revocations", "limiter", "handles", "traces", "budget")


class StateUnavailable(Exception):  # noqa: N818 - it names what the caller is told
    """The store could not be asked, or could not keep what it was told, so its state is not known.

    A change whose answer was lost may have happened. It is no ``AgentKernelError``, because upstream handles
    some of those: an absent store must reach the edge and become a refusal there.
    """


class BadStateURL(ValueError):  # noqa: N818 - it names a thing
    """A state URL that cannot be used: one line naming the part that is wrong and what would be right."""


class Limiter(Protocol):
    """What a policy engine asks before it allows: upstream's two calls.

    ``check`` says whether one more fits into the window, ``record`` counts it. Upstream's own limiter needs
    both; in a shared one `check` already counts (see `lab.state.limiter.SharedLimiter`). A caller that makes
    both calls, in this order, is right with either.
    """

    def check(self, key: str, limit: int, window_seconds: float) -> bool: ...  # noqa: D102
    def record(self, key: str) -> None: ...  # noqa: D102


@dataclass(frozen=True, slots=True, kw_only=True)
class StateOptions:
    """What the stores must know beside their URL."""

    handle_ttl_s: int = 3600
    handle_cap: int = 10_000
    """Handles kept at once: per process in memory, in the whole deployment where they are shared."""
    trace_cap: int = 10_000
    """Traces kept at once, counted as above."""
    budget_total: int | None = None
    """Tokens in the pool; None means that there is no budget."""
    budget_request: int = 4_000
    """Tokens reserved for one invocation."""
    secret: str | None = field(default=None, repr=False)
    """Signs the audit chain; None is upstream's own choice (``WEAVER_KERNEL_SECRET``)."""
    timeout_ms: int = 250
    """How long one call to a store may take before the store counts as away."""
    overrides: Mapping[str, str] = field(default_factory=dict)
    """Kind → URL: one kind elsewhere than the rest."""


@dataclass(frozen=True, slots=True)
class State:
    """Where one kernel's state lives. Every store has upstream's methods and upstream's meaning."""

    revocations: RevocationStoreProtocol
    limiter: Limiter
    handles: HandleStore
    traces: TraceStoreProtocol
    budget: BudgetManager | None = None
    closers: tuple[Callable[[], None], ...] = ()
    warners: tuple[Callable[[], list[str]], ...] = ()
    waits: bool = False
    """Whether calls wait for a server or a file. Make such calls inside `lab.bridge.bridged`, or they block the
    loop."""

    def warnings(self) -> list[str]:
        """What an operator should know of the stores, such as that one forgets when it is restarted."""
        return list(dict.fromkeys(text for warner in self.warners for text in warner()))

    def close(self) -> None:
        """Let go of every connection, file and thread; harmless when repeated."""
        for closer in self.closers:
            closer()
