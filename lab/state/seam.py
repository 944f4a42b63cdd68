"""The parts of a kernel's state: five stores, opened together and closed together."""

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
    """The store could not be asked, or could not keep a change, so its state is not known.

    A change whose answer was lost may have happened. This class is no ``AgentKernelError``, because upstream handles
    some of those errors inside. An absent store must reach the HTTP layer, which turns it into a refusal.
    """


class BadStateURL(ValueError):  # noqa: N818 - it names a thing
    """A state URL that cannot be used. The message is one line with the wrong part and what would be right."""


class Limiter(Protocol):
    """The two calls of a policy engine before it allows a grant, as upstream makes them.

    ``check`` says whether one more fits into the window, and ``record`` counts it. Upstream's own limiter needs
    both. In a shared limiter `check` already counts (see `lab.state.limiter.SharedLimiter`). A caller that makes
    both calls, in this order, is right with either.
    """

    def check(self, key: str, limit: int, window_seconds: float) -> bool: ...  # noqa: D102
    def record(self, key: str) -> None: ...  # noqa: D102


@dataclass(frozen=True, slots=True, kw_only=True)
class StateOptions:
    """The settings of the stores, beside their URL."""

    handle_ttl_s: int = 3600
    handle_cap: int = 10_000
    """The number of handles that are kept at once: per process in memory, or in the whole deployment where they are
    shared."""
    trace_cap: int = 10_000
    """The number of traces that are kept at once, counted in the same way."""
    budget_total: int | None = None
    """The number of tokens in the pool; None means that there is no budget."""
    budget_request: int = 4_000
    """The number of tokens that are reserved for one invocation."""
    secret: str | None = field(default=None, repr=False)
    """The key that signs the audit chain; None means upstream's own choice (``WEAVER_KERNEL_SECRET``)."""
    timeout_ms: int = 250
    """The most milliseconds that one call to a store may take. After that the store counts as unreachable."""
    overrides: Mapping[str, str] = field(default_factory=dict)
    """The URL of each kind of state that is kept elsewhere than the rest."""


@dataclass(frozen=True, slots=True)
class State:
    """The stores of one kernel. Every store has upstream's methods and upstream's meaning."""

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
        """Return facts that an operator should know about the stores, such as that one forgets at its restart."""
        return list(dict.fromkeys(text for warner in self.warners for text in warner()))

    def close(self) -> None:
        """Close every connection, file and thread. Closing twice does no harm."""
        for closer in self.closers:
            closer()
