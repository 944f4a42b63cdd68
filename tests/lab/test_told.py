"""What ``GET /worker`` says of a kernel that is not the lab's: that kernel's own promises, never the lab's."""

import pytest
from weaver_kernel import (
    BudgetManager,
    CapabilityRegistry,
    DefaultPolicyEngine,
    HandleStore,
    HMACTokenProvider,
    Kernel,
    SafetyClass,
    TraceStore,
)

from lab.app import in_force_of
from lab.in_force import describe
from lab.settings import read_settings
from lab.told import told_by
from lab.worker import WorkerName


def kernel(**parts):
    return Kernel(CapabilityRegistry(), token_provider=HMACTokenProvider("s" * 40), **parts)


def test_upstreams_defaults_are_told():
    told = told_by(kernel())
    assert told["rate_limits"]["WRITE"] == {"limit": 10, "window_s": 60.0}
    assert (told["token_ttl_s"], told["handle_ttl_s"], told["handle_cap"]) == (3600.0, 3600, 10_000)
    assert told["budget_total"] is None


def test_what_the_operator_chose_is_told():
    told = told_by(
        kernel(
            policy=DefaultPolicyEngine(rate_limits={SafetyClass.WRITE: (3, 7.0)}),
            handle_store=HandleStore(default_ttl_seconds=11, max_entries=13),
            trace_store=TraceStore(max_entries=17),
            budget_manager=BudgetManager(total_budget=1900),
        )
    )
    assert told["rate_limits"]["WRITE"] == {"limit": 3, "window_s": 7.0}
    assert (told["handle_ttl_s"], told["handle_cap"], told["trace_cap"]) == (11, 13, 17)
    assert told["budget_total"] == 1900


def test_what_a_kernel_does_not_tell_is_null_and_never_the_labs_setting():
    class Silent:
        def evaluate(self, *_args, **_options):
            raise NotImplementedError

    told = told_by(kernel(policy=Silent()))
    assert told["rate_limits"] == {}


@pytest.mark.parametrize(
    ("factory", "tell", "limit"),
    [("mine:build", "kernel", 10), ("mine:build", "settings", 4), ("lab.kernel:build_kernel", "kernel", 4)],
)
def test_the_settings_speak_for_the_labs_own_kernel_only(monkeypatch, factory, tell, limit):
    monkeypatch.setenv("WEAVER_KERNEL_SECRET", "s" * 40)
    settings = read_settings(kernel=factory, tell=tell, rate_limits={"WRITE": (4, 2.0)})
    worker = describe(settings, WorkerName(replica="r0", pid=1, boot="a"), chained_audit=False)
    assert in_force_of(kernel(), settings, worker)["rate_limits"]["WRITE"]["limit"] == limit
