"""Executable documentation for process-local consistency semantics (#226): seven more.

Companion of the tests that pin signature verification, single revocation, rate-limit windows and
handles. Each test here pins what holds in 0.12.0 with the default in-memory stores; a change of the
implementation must change the deployment claim with it.

Worker A is this process. Worker B is a fresh one, started from this file, so both run the same code
and share nothing but the signing secret. B is also what A becomes when a server recycles it.
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
    HMACTokenProvider,
    InMemoryDriver,
    Kernel,
    Principal,
    SafetyClass,
    TokenInvalid,
    TokenRevoked,
)
from weaver_kernel.models import CapabilityRequest

_SECRET = "multi-worker-consistency-test-secret"
_ALICE = Principal(principal_id="alice", roles=["reader"])


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
        self.revoked = _grant(self.kernel)
        self.tokens.revoke(self.revoked.token_id)
        budget = self.kernel.budget
        assert budget is not None
        asyncio.run(budget.record_usage(budget.remaining))
        self.of_b = _ask_worker_b(
            {
                "secret": _SECRET,
                "action_id": self.action_id,
                "imported": imported.to_dict(),
                "revoked": self.revoked.to_dict(),
            }
        )


@pytest.fixture(scope="module")
def worker_a() -> _WorkerA:
    return _WorkerA()


def test_a_recycled_worker_forgets_a_revocation(worker_a: _WorkerA) -> None:
    with pytest.raises(TokenRevoked, match="has been revoked"):
        _verify(worker_a.tokens, worker_a.revoked)

    # B is the process that takes A's place: it carries out what A refuses
    assert worker_a.of_b["revoked"] == "ok"


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
    assert refusal.startswith(f"{CapabilityNotFound.__name__}: No capability registered")


def test_without_a_configured_secret_workers_refuse_each_others_tokens(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.delenv("WEAVER_KERNEL_SECRET", raising=False)
    issued = _ask_worker_b({"secret": None})["issued"][0]

    with pytest.raises(TokenInvalid, match="has an invalid signature"):
        _verify(HMACTokenProvider(), CapabilityToken.from_dict(issued))


if __name__ == "__main__":
    json.dump(_answer_as_worker_b(json.load(sys.stdin)), sys.stdout)
