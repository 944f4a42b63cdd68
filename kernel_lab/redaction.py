"""Redaction: what may stand in a file that people commit."""

from __future__ import annotations

import re
from collections.abc import Sequence

_USER_INFO = re.compile(r"(?P<scheme>[A-Za-z][A-Za-z0-9+.-]*:/{0,2})[^\s/@'\"]+@")
"""The user, or the user and the password, before the host of a URL; ``redis:pw@h`` is meant too."""


def without_credentials(text: str) -> str:
    """The text, in which every URL has lost its user and its password."""
    return _USER_INFO.sub(r"\g<scheme>***@", text)


def without_headers(arguments: Sequence[str]) -> list[str]:
    """The arguments of a command, in which each ``--header`` keeps its name and loses its value."""
    kept: list[str] = []
    for argument in arguments:
        if (kept and kept[-1] == "--header") or argument.startswith("--header="):
            kept.append(f"{argument.partition(':')[0]}: ***")
        else:
            kept.append(argument)
    return kept
