"""A lab for each test, and an environment that says nothing."""

import logging
import os
from collections.abc import Iterator
from typing import Any

import pytest
from labs import Lab, MakeLab

from lab.kernel import build_kernel
from lab.settings import Settings
from lab.worker import CHATTY


@pytest.fixture(autouse=True)
def _no_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """Settings come from the test, not from whoever runs it."""
    for name in list(os.environ):
        if name.startswith("LAB_") or name == "WEAVER_KERNEL_SECRET":
            monkeypatch.delenv(name)


@pytest.fixture(autouse=True)
def _loggers_as_they_were() -> Iterator[None]:
    """A worker that was started has quietened upstream's loggers."""
    yield
    for name in CHATTY:
        logging.getLogger(name).setLevel(logging.NOTSET)


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
