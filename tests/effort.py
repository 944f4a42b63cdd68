"""How much the tests do: little in `make test`, more in `make test-slow`, which sets ``LAB_TEST_SLOW``.

A test marked `slow` runs in `make test-slow` alone. A test marked `counted` runs in both, and tries more there.
"""

import os

SLOW = bool(os.environ.get("LAB_TEST_SLOW"))


def effort(few: int, many: int, variable: str | None = None) -> int:
    """`few`, or `many` in `make test-slow`; an environment variable of its own goes before both."""
    if variable and (asked := os.environ.get(variable)):
        return int(asked)
    return many if SLOW else few
