"""The kernel under test: upstream's `Kernel`, wired from `Settings`, and the view the app has of it."""

from __future__ import annotations

import weakref
from dataclasses import dataclass
from importlib import import_module
from typing import TYPE_CHECKING, Any

from weaver_kernel import (
    CapabilityRegistry,
    CapabilityToken,
    DefaultPolicyEngine,
    HMACTokenProvider,
    Kernel,
    StaticRouter,
)

from lab.capabilities import CAPABILITIES, ExecutionLog, PinnedDriver, StreamDriver
from lab.policy import CountingLimiter, SharedLimitPolicy, worker_limits
from lab.settings import BadSettings
from lab.state import State, StateOptions, open_state
from lab.state.limiter import SharedLimiter

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from weaver_kernel import HandleStore, PolicyEngine, RevocationStoreProtocol, TraceStoreProtocol
    from weaver_kernel.tokens import TokenProvider

    from lab.settings import Settings


class LimitedLifeTokens(HMACTokenProvider):
    """Upstream's token provider, with the lifetimes that the settings choose.

    `Kernel.grant_capability` never says how long a token should live, so the provider's default is the only
    place to set it.
    """

    def __init__(
        self,
        secret: str | None,
        *,
        revocation_store: RevocationStoreProtocol,
        ttl_s: int,
        ttls: Mapping[str, int],
    ) -> None:
        super().__init__(secret, revocation_store=revocation_store)
        self._ttl_s = ttl_s
        self._ttls = ttls

    def issue(
        self,
        capability_id: str,
        principal_id: str,
        *,
        constraints: dict[str, Any] | None = None,
        ttl_seconds: int | None = None,
        audit_id: str = "",
    ) -> CapabilityToken:
        """Upstream's `issue`; a life that is not asked for is the capability's own, or the default."""
        return super().issue(
            capability_id,
            principal_id,
            constraints=constraints,
            ttl_seconds=self.life_s(capability_id) if ttl_seconds is None else ttl_seconds,
            audit_id=audit_id,
        )

    def life_s(self, capability_id: str) -> int:
        """How long a token for a capability lives."""
        return self._ttls.get(capability_id, self._ttl_s)


def build_kernel(settings: Settings) -> Kernel:
    """The lab's kernel: upstream's parts, its state wherever ``LAB_STATE`` says.

    Raises:
        BadStateURL: The state cannot be opened as asked; one line says why.
    """
    state = open_state(settings.state, state_options(settings))
    tokens = LimitedLifeTokens(
        # None: upstream resolves it itself, at the first signature and in each process anew
        settings.secret,
        revocation_store=state.revocations,
        ttl_s=settings.token_ttl_s,
        ttls=settings.token_ttls,
    )
    return assemble(settings, state, policy=_policy(settings, state), tokens=tokens)


def assemble(settings: Settings, state: State, *, policy: PolicyEngine, tokens: TokenProvider) -> Kernel:
    """The lab's kernel over a state, with this policy and this provider of tokens."""
    registry = CapabilityRegistry()
    registry.register_many(list(CAPABILITIES))
    kernel = Kernel(
        registry,
        policy=policy,
        token_provider=tokens,
        router=StaticRouter({"billing.export_invoices": ["stream"]}),
        handle_store=state.handles,
        trace_store=state.traces,
        budget_manager=state.budget,
        kernel_id="kernel-lab",
    )
    weakref.finalize(kernel, state.close)  # a factory returns a kernel and nothing else to close
    log = ExecutionLog(settings.execution_log) if settings.execution_log else None
    kernel.register_driver(PinnedDriver(log=log))
    kernel.register_driver(StreamDriver(settings.stream_chunk_ms, log=log))
    return kernel


def state_options(settings: Settings) -> StateOptions:
    """What the stores must know of the settings."""
    return StateOptions(
        handle_ttl_s=settings.handle_ttl_s,
        handle_cap=settings.handle_cap,
        trace_cap=settings.trace_cap,
        budget_total=settings.budget_total,
        budget_request=settings.budget_request,
        secret=settings.secret,
        timeout_ms=settings.store_timeout_ms,
        overrides=settings.state_overrides,
    )


def _policy(settings: Settings, state: State) -> PolicyEngine:
    limits = worker_limits(settings)
    if isinstance(state.limiter, SharedLimiter):
        return SharedLimitPolicy(CountingLimiter(state.limiter), limits)
    return DefaultPolicyEngine(rate_limits=limits)  # the baseline: upstream's engine and limiter, untouched


def load_kernel(settings: Settings) -> Kernel:
    """The kernel that ``LAB_KERNEL`` names.

    Raises:
        BadSettings: There is no such factory.
    """
    module, _, name = settings.kernel.partition(":")
    try:
        factory: Callable[[Settings], Kernel] = getattr(import_module(module), name)
    except (ImportError, AttributeError) as error:
        raise BadSettings(
            f"LAB_KERNEL={settings.kernel!r}: must be module:factory, importable here ({error})"
        ) from None
    return factory(settings)


@dataclass(frozen=True, slots=True)
class KernelView:
    """The parts of a kernel that its public methods do not reach.

    Upstream has no accessor for them yet: revoking goes through the token provider, a handle is rehydrated
    from its id by the handle store, and only a chained trace store can verify itself. This is the one place
    that reads the kernel's private attributes.
    """

    tokens: TokenProvider
    handles: HandleStore
    traces: TraceStoreProtocol
    policy: PolicyEngine

    @classmethod
    def of(cls, kernel: Kernel) -> KernelView:
        """The view of `kernel`."""
        return cls(
            kernel._token_provider,  # noqa: SLF001
            kernel._handle_store,  # noqa: SLF001
            kernel._trace_store,  # noqa: SLF001
            kernel._policy,  # noqa: SLF001
        )
