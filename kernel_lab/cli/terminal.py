"""Text on a terminal: what other people wrote cannot steer it, and what it cannot print is written otherwise."""

from __future__ import annotations

import codecs
import sys
import unicodedata
from io import TextIOWrapper

_PLAIN = {
    "✓": "+", "✗": "x", "–": "-", "—": "-", "·": "-", "…": "...", "≤": "<=", "≥": ">=", "×": "x", "→": "->",
    "\N{NO-BREAK SPACE}": " ", "\N{NARROW NO-BREAK SPACE}": " ",
}  # fmt: skip
"""The replacements of our signs on terminals that cannot print them. A question mark would read as *unknown*."""
_STEERS = {"Cc", "Cf", "Cs", "Co", "Zl", "Zp"}
"""Unicode categories of the signs that a terminal obeys, or shows in a different order."""


def visible(text: str) -> str:
    """The text on one line, with each sign that would steer a terminal written as an escape."""
    if text.isascii() and text.isprintable():
        return text
    return "".join(
        one if unicodedata.category(one) not in _STEERS else one.encode("unicode_escape").decode("ascii")
        for one in text
    )


def print_anywhere() -> None:
    """Let the standard streams print every text; a sign that a terminal lacks is written in ASCII."""
    codecs.register_error("kernel_lab_plain", _in_ascii)
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, TextIOWrapper):
            stream.reconfigure(errors="kernel_lab_plain")


def _in_ascii(error: UnicodeError) -> tuple[str, int]:
    if not isinstance(error, UnicodeEncodeError):
        raise error
    lacking = error.object[error.start : error.end]
    written = (_PLAIN.get(one) or one.encode("unicode_escape").decode("ascii") for one in lacking)
    return "".join(written), error.end
