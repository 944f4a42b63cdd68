"""A kernel with a past holds just so much when it starts, in whatever state."""

from pathlib import Path

import pytest
from weaver_kernel import CapabilityRequest, PolicyDenied, Principal

from lab.fill import CAPABILITY, HOARDER, build_filled
from lab.kernel import KernelView
from lab.settings import BadSettings, Settings

STATES = ["memory://", "sqlite:///{}/lab.db"]


@pytest.fixture(params=STATES)
def settings(request: pytest.FixtureRequest, tmp_path: Path) -> Settings:
    return Settings(secret="s", state=request.param.format(tmp_path), rate_limits={"READ": (5, 60.0)})


def test_handles_can_be_expanded_and_tokens_revoked(monkeypatch, settings):
    monkeypatch.setenv("LAB_FILL_HANDLES", "3")
    monkeypatch.setenv("LAB_FILL_TOKENS", "1001")
    kernel = build_filled(settings)  # its state is closed with it
    view = KernelView.of(kernel)
    assert view.handles.current_bytes > 0
    # the first and the last of a thousand principals' tokens
    assert [view.tokens.revoke_all(f"past-{number}") for number in (0, 1, 999)] == [2, 1, 1]


def test_the_hoarders_window_is_full(monkeypatch, settings):
    monkeypatch.setenv("LAB_FILL_WINDOW", "5")
    kernel = build_filled(settings)
    asked = CapabilityRequest(CAPABILITY, "one more")
    with pytest.raises(PolicyDenied, match="Rate limit"):
        kernel.grant_capability(asked, Principal(HOARDER, ["reader"]), justification="")
    assert kernel.grant_capability(asked, Principal("somebody else", ["reader"]), justification="")


def test_without_a_past_it_is_the_labs_kernel(settings):
    kernel = build_filled(settings)
    view = KernelView.of(kernel)
    assert view.handles.current_bytes == 0
    assert view.tokens.revoke_all("past-0") == 0


@pytest.mark.parametrize("text", ["many", "-1", "1.5"])
def test_a_past_that_is_no_number_is_refused_by_name(monkeypatch, text):
    monkeypatch.setenv("LAB_FILL_TOKENS", text)
    with pytest.raises(BadSettings, match=f"LAB_FILL_TOKENS='{text}': must be a whole number, 0 or more"):
        build_filled(Settings(secret="s"))
