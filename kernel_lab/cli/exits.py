"""How a verdict leaves a command: its exit code and its mark; and how a signal ends a command."""

from __future__ import annotations

import asyncio
import signal
from collections.abc import Coroutine
from typing import TypeVar

from kernel_lab.judge.verdict import Validity

T = TypeVar("T")

EXIT = {Validity.VALID: 0, Validity.INVALID: 1, Validity.UNKNOWN: 2, Validity.SKIPPED: 2}
"""1 means that a guarantee is broken, and nothing else."""
MARK = {Validity.VALID: "✓", Validity.INVALID: "✗", Validity.UNKNOWN: "?", Validity.SKIPPED: "–"}
CODES = """\
Exit codes of every command:

0: it holds, or the work is done.

1: a guarantee is broken (run: judged otherwise than expected; diff: something changed; doctor: findings).

2: unknown: something could not be judged, and that never counts as good.

64: bad input: one sentence says what was wrong and what would be right.

130: interrupted."""
"""The table of `docs/gate.md`, for --help."""


async def until_terminated(work: Coroutine[None, None, T]) -> T:
    """Do the work; SIGTERM and SIGHUP end it as Ctrl-C does: stacks down, what was recorded kept."""
    task = asyncio.ensure_future(work)
    for number in (signal.SIGTERM, signal.SIGHUP):
        asyncio.get_running_loop().add_signal_handler(number, task.cancel)
    return await task
