"""A kernel whose other workers refuse a revoked token `LATE_MS` after the instant of its revoke, to the nanosecond.

The workers share the instants of all revokes in the folder `LATE_DIR`; the monotonic clock is one for all of them.
"""

import os
import time
from pathlib import Path

from lab.kernel import build_kernel

DELAY_NS = int(float(os.environ.get("LATE_MS", "0")) * 1e6)
FOLDER = Path(os.environ.get("LATE_DIR", "."))


class Late:
    """The worker that revoked knows it at once."""

    def __init__(self, right):
        self._right = right
        self._own = set()

    def __getattr__(self, name):
        return getattr(self._right, name)

    def is_revoked(self, token_id):
        if token_id in self._own:
            return True
        try:
            revoked_ns = int((FOLDER / token_id).read_bytes())
        except FileNotFoundError:
            return False
        return time.monotonic_ns() >= revoked_ns + DELAY_NS

    def revoke(self, token_id):
        self._own.add(token_id)
        beside = FOLDER / f".{token_id}"
        beside.write_text(str(time.monotonic_ns()))
        beside.rename(FOLDER / token_id)


def late(settings):
    """The kernel, as ``LAB_KERNEL`` names it."""
    kernel = build_kernel(settings)
    tokens = kernel._token_provider
    tokens._revocation = Late(tokens._revocation)
    return kernel
