"""The kernel's wiring: state, tokens, policy, and a factory of somebody else's."""

import gc
import sys
from pathlib import Path
from typing import Any

import pytest
from weaver_kernel import BudgetManager, DefaultPolicyEngine, HandleStore, SafetyClass, TraceStore
from weaver_kernel.rate_limit import RateLimiter
from weaver_kernel.stores import InMemoryRevocationStore

from lab.kernel import KernelView, build_kernel, load_kernel, state_options
from lab.policy import SharedLimitPolicy
from lab.settings import BadSettings, Settings
from lab.state import State


def settings(**values: Any) -> Settings:
    return Settings(secret="s", **values)


def test_the_baseline_is_upstreams_own_policy_limiter_and_stores() -> None:
    kernel = build_kernel(settings(rate_limits={"WRITE": (3, 2.0)}, budget_total=9))
    assert type(kernel._policy) is DefaultPolicyEngine
    assert type(kernel._policy._limiter) is RateLimiter
    assert kernel._policy._rate_limits[SafetyClass.WRITE] == (3, 2.0)
    view = KernelView.of(kernel)
    assert type(view.handles) is HandleStore
    assert type(view.traces) is TraceStore
    assert type(view.tokens._revocation) is InMemoryRevocationStore  # type: ignore[attr-defined]
    assert type(kernel.budget) is BudgetManager


def test_a_shared_limiter_puts_the_shared_policy_in_front(tmp_path: Path) -> None:
    kernel = build_kernel(settings(state_limiter=f"sqlite:///{tmp_path}/lab.db"))
    assert type(kernel._policy) is SharedLimitPolicy
    assert type(kernel._handle_store) is HandleStore


def test_the_state_is_closed_with_its_kernel(monkeypatch: pytest.MonkeyPatch) -> None:
    closed: list[State] = []

    def close(state: State) -> None:
        closed.append(state)

    gc.collect()  # kernels of earlier tests close their states now
    monkeypatch.setattr(State, "close", close)
    kernel = build_kernel(settings())
    assert not closed
    del kernel
    gc.collect()
    assert len(closed) == 1


def test_the_stores_are_told_what_the_settings_say() -> None:
    options = state_options(
        settings(
            handle_ttl_s=1, handle_cap=2, trace_cap=3, budget_total=4, budget_request=5, store_timeout_ms=6,
            state_traces="sqlite:///x",
        )
    )  # fmt: skip
    assert (options.handle_ttl_s, options.handle_cap, options.trace_cap) == (1, 2, 3)
    assert (options.budget_total, options.budget_request, options.timeout_ms) == (4, 5, 6)
    assert (options.secret, options.overrides) == ("s", {"traces": "sqlite:///x"})


def test_without_a_secret_the_choice_is_left_to_upstream() -> None:
    kernel = build_kernel(Settings(secret_mode="development"))
    assert kernel._token_provider._secret is None  # type: ignore[attr-defined]


def test_a_factory_by_name_replaces_the_kernel(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "operators_own.py").write_text(
        "import lab.kernel\n"
        "def factory(settings):\n"
        "    kernel = lab.kernel.build_kernel(settings)\n"
        "    kernel._kernel_id = f'of {settings.replica}'\n"
        "    return kernel\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    try:
        kernel = load_kernel(settings(kernel="operators_own:factory", replica="r7"))
    finally:
        sys.modules.pop("operators_own", None)
    assert kernel.kernel_id == "of r7"


@pytest.mark.parametrize("name", ["no_such_module:factory", "lab.kernel:no_such_factory"])
def test_a_factory_that_is_not_there_is_one_line(name: str) -> None:
    with pytest.raises(BadSettings, match=rf"^LAB_KERNEL='{name}': must be module:factory"):
        load_kernel(settings(kernel=name))
