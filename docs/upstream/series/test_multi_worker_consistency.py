"""Executable documentation for process-local consistency semantics (#226).

Each test pins what holds with the default in-memory stores. If the implementation changes, the
claims of ``docs/deployment-consistency.md`` have to change with it.

Worker A is this process. Worker B is a fresh process, started from this file. Both run the same
code and share the signing secret, and they share nothing else. B also stands for the process that
replaces A when a server recycles it.
"""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
from collections.abc import Callable
from typing import Any

import pytest

from weaver_kernel import (
    AgentKernelError,
    BudgetExhausted,
    BudgetManager,
    Capability,
    CapabilityNotFound,
    CapabilityRegistry,
    CapabilityToken,
    Frame,
    HandleNotFound,
    HandleStore,
    HMACTokenProvider,
    InMemoryDriver,
    Kernel,
    Principal,
    SafetyClass,
    TokenInvalid,
    TokenRevoked,
)
from weaver_kernel.models import CapabilityRequest
from weaver_kernel.rate_limit import RateLimiter

_SECRET = "multi-worker-consistency-test-secret"
_ALICE = Principal(principal_id="alice", roles=["reader"])
_WINDOW = "one window"


def _capability(capability_id: str) -> Capability:
    return Capability(
        capability_id=capability_id,
        name=capability_id,
        description=capability_id,
        safety_class=SafetyClass.READ,
    )


def _kernel(tokens: HMACTokenProvider, capability_id: str = "tickets.read") -> Kernel:
    """A kernel as every worker builds it: default stores, a budget of its own."""
    registry = CapabilityRegistry()
    registry.register(_capability(capability_id))
    driver = InMemoryDriver()
    driver.register_handler(capability_id, lambda ctx: [{"id": 1, "title": "Example"}])
    kernel = Kernel(
        registry, token_provider=tokens, budget_manager=BudgetManager(total_budget=1_000)
    )
    kernel.register_driver(driver)
    return kernel


def _grant(kernel: Kernel, capability_id: str = "tickets.read") -> CapabilityToken:
    request = CapabilityRequest(capability_id=capability_id, goal="read tickets")
    return kernel.get_token(request, _ALICE, justification="")


def _invoke(kernel: Kernel, token: CapabilityToken) -> Frame:
    return asyncio.run(kernel.invoke(token, principal=_ALICE, args={}))


def _verify(tokens: HMACTokenProvider, token: CapabilityToken) -> None:
    tokens.verify(
        token,
        expected_principal_id=_ALICE.principal_id,
        expected_capability_id=token.capability_id,
    )


# ── Worker B ──────────────────────────────────────────────────────────────────


def _said(call: Callable[[], object]) -> str:
    try:
        call()
    except AgentKernelError as exc:
        return f"{type(exc).__name__}: {exc}"
    return "ok"


def _answer_as_worker_b(asked: dict[str, Any]) -> dict[str, Any]:
    """What a fresh worker says of what worker A did."""
    tokens = HMACTokenProvider(secret=asked["secret"])
    kernel = _kernel(tokens)

    def invoke(token: dict[str, Any]) -> str:
        presented = CapabilityToken.from_dict(token)
        return _said(lambda: _invoke(kernel, presented))

    answers: dict[str, Any] = {
        "issued": [tokens.issue("tickets.read", "alice").to_dict() for _ in range(2)],
        "traces": len(kernel.list_traces()),
        "invocations": kernel.stats.invocations,
        "capabilities": [cap.capability_id for cap in kernel.list_capabilities()],
    }
    if "action_id" in asked:
        handles, limiter = HandleStore(), RateLimiter(clock=lambda: 100.0)
        answers["verified"] = _said(
            lambda: _verify(tokens, CapabilityToken.from_dict(asked["issued"]))
        )
        answers["limited"] = not limiter.check(_WINDOW, limit=1, window_seconds=60.0)
        answers["handle"] = _said(lambda: handles.get(asked["handle_id"]))
        answers["explain"] = _said(lambda: kernel.explain(asked["action_id"]))
        answers["imported"] = invoke(asked["imported"])
        answers["revoked"] = invoke(asked["revoked"])
    return answers


def _ask_worker_b(asked: dict[str, Any]) -> dict[str, Any]:
    """Start worker B from this file, ask it, and return its answers."""
    completed = subprocess.run(
        [sys.executable, __file__],
        input=json.dumps(asked),
        text=True,
        capture_output=True,
        check=True,
    )
    answers: dict[str, Any] = json.loads(completed.stdout)
    return answers


# ── Worker A ──────────────────────────────────────────────────────────────────


class _WorkerA:
    """What A did before B was asked, and what B answered."""

    def __init__(self) -> None:
        self.tokens = HMACTokenProvider(secret=_SECRET)
        self.kernel = _kernel(self.tokens)
        peer = _kernel(self.tokens, "peer.lookup")
        driver = InMemoryDriver(driver_id="peer")
        driver.register_handler("peer.lookup", lambda ctx: {"found": True})
        self.kernel.import_remote(
            peer.advertise(endpoint="https://peer.example/kernel"), driver=driver
        )
        imported = _grant(self.kernel, "peer.lookup")
        self.action_id = _invoke(self.kernel, imported).action_id
        self.issued, self.revoked = _grant(self.kernel), _grant(self.kernel)
        self.tokens.revoke(self.revoked.token_id)
        self.limiter = RateLimiter(clock=lambda: 100.0)
        self.limiter.record(_WINDOW)
        self.handles = HandleStore()
        self.handle = self.handles.store("tickets.read", [{"id": 1}], principal_id="alice")
        budget = self.kernel.budget
        assert budget is not None
        asyncio.run(budget.record_usage(budget.remaining))
        self.of_b = _ask_worker_b(
            {
                "secret": _SECRET,
                "action_id": self.action_id,
                "imported": imported.to_dict(),
                "issued": self.issued.to_dict(),
                "handle_id": self.handle.handle_id,
                "revoked": self.revoked.to_dict(),
            }
        )


@pytest.fixture(scope="module")
def worker_a() -> _WorkerA:
    return _WorkerA()


def test_token_signature_verifies_across_processes_that_share_a_secret(
    worker_a: _WorkerA,
) -> None:
    assert worker_a.of_b["verified"] == "ok"


def test_in_memory_revocation_does_not_propagate_to_fresh_process(worker_a: _WorkerA) -> None:
    with pytest.raises(TokenRevoked, match="has been revoked"):
        _verify(worker_a.tokens, worker_a.revoked)

    # B verified the token and executed its capability
    assert worker_a.of_b["revoked"] == "ok"


def test_rate_limit_windows_are_process_local(worker_a: _WorkerA) -> None:
    assert not worker_a.limiter.check(_WINDOW, limit=1, window_seconds=60.0)

    assert worker_a.of_b["limited"] is False


def test_default_handle_store_is_not_portable_to_fresh_process(worker_a: _WorkerA) -> None:
    assert worker_a.handles.get(worker_a.handle.handle_id) == [{"id": 1}]

    assert worker_a.of_b["handle"] == (
        f"{HandleNotFound.__name__}: Handle '{worker_a.handle.handle_id}' not found. "
        "It may have been evicted."
    )


def test_a_recycled_worker_forgets_a_revocation(worker_a: _WorkerA) -> None:
    before = HMACTokenProvider(secret=_SECRET)
    tokens = [before.issue("tickets.read", "alice") for _ in range(2)]
    before.revoke(tokens[0].token_id)
    assert before.revoke_all("alice") == 1

    # the same code, the same secret, no memory: what a server starts in place of a worker
    recycled = HMACTokenProvider(secret=_SECRET)
    for token in tokens:
        _verify(recycled, token)
    assert recycled.revoke_all("alice") == 0


def test_revoke_all_covers_the_tokens_its_own_worker_issued(worker_a: _WorkerA) -> None:
    tokens = HMACTokenProvider(secret=_SECRET)
    of_a = [tokens.issue("tickets.read", "alice") for _ in range(3)]
    of_b = [CapabilityToken.from_dict(token) for token in worker_a.of_b["issued"]]

    assert tokens.revoke_all("alice") == len(of_a)

    for token in of_a:
        with pytest.raises(TokenRevoked, match="has been revoked"):
            _verify(tokens, token)
    for token in of_b:
        _verify(tokens, token)


def test_budgets_are_per_worker(worker_a: _WorkerA) -> None:
    token = _grant(worker_a.kernel)
    with pytest.raises(BudgetExhausted, match="no budget remaining"):
        _invoke(worker_a.kernel, token)

    # spent in A, untouched in B: its invoke was charged to a budget of its own
    assert worker_a.of_b["revoked"] == "ok"


def test_traces_are_per_worker(worker_a: _WorkerA) -> None:
    assert worker_a.kernel.explain(worker_a.action_id).action_id == worker_a.action_id

    assert worker_a.of_b["traces"] == 0
    assert worker_a.of_b["explain"] == (
        f"AgentKernelError: No action trace found for action_id='{worker_a.action_id}'."
    )


def test_stats_are_per_worker(worker_a: _WorkerA) -> None:
    assert worker_a.kernel.stats.invocations >= 1

    assert worker_a.of_b["invocations"] == 0


def test_import_remote_reaches_the_worker_that_was_asked(worker_a: _WorkerA) -> None:
    assert "peer.lookup" in [cap.capability_id for cap in worker_a.kernel.list_capabilities()]

    # B verifies the token that A granted for it, and does not know the capability
    assert worker_a.of_b["capabilities"] == ["tickets.read"]
    refusal = worker_a.of_b["imported"]
    assert refusal == (
        f"{CapabilityNotFound.__name__}: No capability registered with id='peer.lookup'. "
        "Check the capability_id or register it first."
    )


def test_without_a_configured_secret_workers_refuse_each_others_tokens(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.delenv("WEAVER_KERNEL_SECRET", raising=False)
    issued = _ask_worker_b({"secret": None})["issued"][0]

    with pytest.raises(TokenInvalid, match="has an invalid signature"):
        _verify(HMACTokenProvider(), CapabilityToken.from_dict(issued))


if __name__ == "__main__":
    json.dump(_answer_as_worker_b(json.load(sys.stdin)), sys.stdout)
