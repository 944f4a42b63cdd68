"""The kernel under test: upstream's `Kernel`, built from `Settings`, and the app's access to its parts."""

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
from lab.older import tracking
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
        longest_s = max((ttl_s, *ttls.values()))
        super().__init__(secret, revocation_store=tracking(revocation_store, longest_s))
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
        """Issue a token as upstream does.

        If no lifetime is asked for, it has that of its capability, or the default.
        """
        return super().issue(
            capability_id,
            principal_id,
            constraints=constraints,
            ttl_seconds=self.life_s(capability_id) if ttl_seconds is None else ttl_seconds,
            audit_id=audit_id,
        )

    def life_s(self, capability_id: str) -> int:
        """Return how many seconds a token for a capability lives."""
        return self._ttls.get(capability_id, self._ttl_s)


def build_kernel(settings: Settings) -> Kernel:
    """Build the lab's kernel: upstream's parts, with the state that ``LAB_STATE`` names.

    Raises:
        BadStateURL: The state cannot be opened as asked. The message is one line that says why.
    """
    state = open_state(settings.state, state_options(settings))
    tokens = LimitedLifeTokens(
        # None: upstream finds the secret itself, at the first signature and in each process again
        settings.secret,
        revocation_store=state.revocations,
        ttl_s=settings.token_ttl_s,
        ttls=settings.token_ttls,
    )
    return assemble(settings, state, policy=_policy(settings, state), tokens=tokens)


def assemble(settings: Settings, state: State, *, policy: PolicyEngine, tokens: TokenProvider) -> Kernel:
    """Build the lab's kernel over a state, with this policy and this token provider."""
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
    # a factory returns a kernel and no other object that would have to be closed
    weakref.finalize(kernel, state.close)
    log = ExecutionLog(settings.execution_log) if settings.execution_log else None
    kernel.register_driver(PinnedDriver(log=log))
    kernel.register_driver(StreamDriver(settings.stream_chunk_ms, log=log))
    return kernel


def state_options(settings: Settings) -> StateOptions:
    """Return the settings that the stores need."""
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
    return DefaultPolicyEngine(rate_limits=limits)  # the baseline: upstream's engine and limiter, unchanged


def load_kernel(settings: Settings) -> Kernel:
    """Build the kernel that ``LAB_KERNEL`` names.

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
    """The parts of a kernel that its public methods do not give access to.

    Upstream has no accessor for them yet. Revoking goes through the token provider. The handle store finds a handle
    by its id. Only a chained trace store can verify itself. No other module of the lab reads the kernel's private
    attributes.
    """

    tokens: TokenProvider
    handles: HandleStore
    traces: TraceStoreProtocol
    policy: PolicyEngine

    @classmethod
    def of(cls, kernel: Kernel) -> KernelView:
        """Return the view of `kernel`."""
        return cls(
            kernel._token_provider,  # noqa: SLF001
            kernel._handle_store,  # noqa: SLF001
            kernel._trace_store,  # noqa: SLF001
            kernel._policy,  # noqa: SLF001
        )
