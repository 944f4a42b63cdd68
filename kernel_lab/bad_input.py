"""What the command line says to input it cannot use: one line, exit code 64."""

from __future__ import annotations

EXIT_CODE = 64


class BadInput(Exception):  # noqa: N818 - it names a thing
    """One line that says what was wrong and what would be right."""
