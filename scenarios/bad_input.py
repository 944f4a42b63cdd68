"""What the command line says to input it cannot use: one line, exit code 64."""

from __future__ import annotations

import click


class BadInput(click.ClickException):
    """One line that says what was wrong and what would be right."""

    exit_code = 64
