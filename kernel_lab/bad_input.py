"""What the command line says to input that it cannot use: one line, exit code 64."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TypeVar

EXIT_CODE = 64
T = TypeVar("T")


class BadInput(Exception):  # noqa: N818 - it names a thing
    """One line that says what was wrong and what would be right."""


def pick(option: str, name: str, known: Mapping[str, T]) -> T:
    """What is known by a name.

    Raises:
        BadInput: Nothing is, with all the names that are known.
    """
    try:
        return known[name]
    except KeyError:
        raise BadInput(f"{option} {name}: not known; one of: {', '.join(known)}") from None
