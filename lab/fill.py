"""A kernel whose state is not empty at the start: ``LAB_KERNEL=lab.fill:build_filled``.

The cost of a call can grow with the size of the state. Each process that builds a kernel stores these before it serves:

- ``LAB_FILL_HANDLES``: live handles of one row each,
- ``LAB_FILL_TOKENS``: tokens issued and tracked,
- ``LAB_FILL_WINDOW``: grants of one capability to the principal ``hoarder``, all in one window.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from weaver_kernel import CapabilityRequest, Principal

from lab.capabilities import INVOICES
from lab.kernel import KernelView, build_kernel
from lab.settings import BadSettings

if TYPE_CHECKING:
    from weaver_kernel import Kernel

    from lab.settings import Settings

CAPABILITY = "billing.get_invoice"
HOARDER = "hoarder"
_PRINCIPALS = 1_000
"""The number of principals over which the handles and tokens are spread."""


def build_filled(settings: Settings) -> Kernel:
    """Build the kernel of `lab.kernel.build_kernel`, with a state that is not empty.

    Raises:
        BadSettings: A value is not a number.
    """
    kernel = build_kernel(settings)
    view = KernelView.of(kernel)
    for number in range(_asked("LAB_FILL_HANDLES")):
        view.handles.store(CAPABILITY, [INVOICES[number % len(INVOICES)]], principal_id=_somebody(number))
    for number in range(_asked("LAB_FILL_TOKENS")):
        view.tokens.issue(CAPABILITY, _somebody(number))
    hoarder = Principal(HOARDER, ["reader"])
    for _ in range(_asked("LAB_FILL_WINDOW")):
        kernel.grant_capability(CapabilityRequest(CAPABILITY, "a past"), hoarder, justification="a past")
    return kernel


def _somebody(number: int) -> str:
    return f"past-{number % _PRINCIPALS}"


def _asked(variable: str) -> int:
    text = os.environ.get(variable) or "0"
    if not (text.isascii() and text.isdigit()):
        raise BadSettings(f"{variable}={text!r}: must be a whole number, 0 or more")
    return int(text)
