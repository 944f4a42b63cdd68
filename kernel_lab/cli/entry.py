"""The command ``kernel-lab``: it is ready for a signal before it imports the modules that take long to import."""

from __future__ import annotations

import os
import signal
from typing import NoReturn

ENDS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


def main() -> NoReturn:
    """Run the command line.

    A signal that comes before the command is imported ends the process at once and without a message, because
    nothing was started yet. Afterwards it raises KeyboardInterrupt where nothing else handles it. A signal that
    is ignored, as by nohup, stays ignored.
    """
    heard = [number for number in ENDS if signal.getsignal(number) is not signal.SIG_IGN]
    for number in heard:
        signal.signal(number, lambda *_: os._exit(130))
    from kernel_lab.cli.main import main as run  # noqa: PLC0415 - it takes two seconds, and a signal may come

    for number in heard:
        signal.signal(number, signal.default_int_handler)
    run()
