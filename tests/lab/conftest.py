"""A lab for each test, and an environment that says nothing."""

import os
from typing import Any

import pytest
from labs import Lab, MakeLab

from lab.kernel import build_kernel
from lab.settings import Settings


@pytest.fixture(autouse=True)
def _no_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """Settings come from the test, not from whoever runs it."""
    for name in list(os.environ):
        if name.startswith("LAB_") or name == "WEAVER_KERNEL_SECRET":
            monkeypatch.delenv(name)


@pytest.fixture
def make_lab() -> MakeLab:
    """A lab with the settings a test names."""

    def make(**settings: Any) -> Lab:
        values = Settings(secret="a secret", **settings)
        return Lab(build_kernel(values), values)

    return make


@pytest.fixture
def lab(make_lab: MakeLab) -> Lab:
    """A lab as it is without settings."""
    return make_lab()
