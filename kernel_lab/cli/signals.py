"""End a running command at a signal: SIGTERM and SIGHUP end it as Ctrl-C does."""

from __future__ import annotations

import asyncio
import signal
from collections.abc import Coroutine
from typing import TypeVar

T = TypeVar("T")

INTERRUPTED = 130
"""The exit code of a command that a signal ended."""


async def until_terminated(work: Coroutine[None, None, T]) -> T:
    """Do the work; SIGTERM and SIGHUP end it as Ctrl-C does: stacks down, what was recorded kept."""
    task = asyncio.ensure_future(work)
    for number in (signal.SIGTERM, signal.SIGHUP):
        if signal.getsignal(number) is not signal.SIG_IGN:  # nohup
            asyncio.get_running_loop().add_signal_handler(number, task.cancel)
    return await task
