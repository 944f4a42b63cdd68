"""Redaction: what may stand in a file that people commit."""

from __future__ import annotations

import re
import traceback
from collections.abc import Sequence
from pathlib import Path

_USER_INFO = re.compile(r"(?P<scheme>[A-Za-z][A-Za-z0-9+.-]*:/{0,2})[^\s/'\"]+@")
"""The user, or the user and the password, before the host of a URL; ``redis:pw@h`` is meant too.

A password that itself holds an ``@`` is taken up to the last one.
"""
_QUERY = re.compile(
    r"(?P<name>[?&](?:user(?:name)?|pass(?:word|wd)?|pwd|secret|token|api_?key|auth)=)[^&\s'\"]+",
    re.IGNORECASE,
)
"""A credential among the parameters of a URL."""


def without_credentials(text: str) -> str:
    """The text, in which every URL has lost its user, its password and the parameters that hold credentials."""
    return _QUERY.sub(r"\g<name>***", _USER_INFO.sub(r"\g<scheme>***@", text))


_SPEAK_PLAINLY = {"kernel_lab", "httpx", "httpcore"}
"""Packages whose errors tell what the instrument did. Any other error can contain data of other people's code."""


def told(error: BaseException) -> str:
    """An error on one line. For other people's code it is the class and the place, and never the text.

    The text of an error can hold a secret, such as the URL of a database with its password.
    """
    name = type(error).__name__
    if type(error).__module__.partition(".")[0] in _SPEAK_PLAINLY:
        return without_credentials(": ".join(filter(None, (name, " | ".join(str(error).splitlines())))))
    if isinstance(error, OSError) and error.strerror:
        return f"{name}: {error.strerror}"
    frames = traceback.extract_tb(error.__traceback__)
    return f"{name} at {Path(frames[-1].filename).name}:{frames[-1].lineno}" if frames else name


def without_headers(arguments: Sequence[str]) -> list[str]:
    """The arguments of a command, in which each ``--header`` keeps its name and loses its value."""
    kept: list[str] = []
    for argument in arguments:
        if (kept and kept[-1] == "--header") or argument.startswith("--header="):
            kept.append(f"{argument.partition(':')[0]}: ***")
        else:
            kept.append(argument)
    return kept
