"""The answer of the command line to input that it cannot use: one line, and exit code 64."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TypeVar

EXIT_CODE = 64
T = TypeVar("T")


class BadInput(Exception):  # noqa: N818 - it names a thing
    """One line that says what was wrong and what would be right."""


def pick(option: str, name: str, known: Mapping[str, T]) -> T:
    """Return the value that is known by a name.

    Raises:
        BadInput: The name is not known. The message lists the known names.
    """
    try:
        return known[name]
    except KeyError:
        raise BadInput(f"{option} {name}: not known; one of: {', '.join(known)}") from None
