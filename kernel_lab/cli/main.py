"""kernel-lab: each file of this folder adds one subcommand; bad input is one line and exit code 64."""

from __future__ import annotations

import os
import sys
from importlib.metadata import version
from typing import Annotated, Any, NoReturn

import typer

from kernel_lab.bad_input import EXIT_CODE, BadInput
from kernel_lab.cli import (
    check,
    convergence,
    diff,
    doctor,
    gate,
    init,
    listing,
    load,
    pack,
    predict,
    preflight,
    rebuild,
    report,
    run,
    up,
)
from kernel_lab.cli.exits import CODES
from kernel_lab.cli.signals import INTERRUPTED
from kernel_lab.cli.terminal import print_anywhere, visible
from kernel_lab.deployments.deployment import BadDeployments
from kernel_lab.judge.history import MalformedHistory
from kernel_lab.run.folder import NotARun
from kernel_lab.run.saved import NotASavedRun

USAGE_ERROR: Any = typer.BadParameter.__mro__[1]
"""typer brings a click of its own, whose classes it does not export."""

app = typer.Typer(
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
    help="What do a Python service's guarantees really mean once it runs in N workers?\n\n"
    "kernel-lab runs a real weaver-kernel under real gunicorn in many deployments. It sends traffic whose "
    "connections it controls, and says which guarantee broke, and by how much.\n\n"
    "Start with:  kernel-lab run --quick",
    epilog=CODES,
)


def _print_version(asked: bool) -> None:
    if asked:
        print(f"kernel-lab {version('kernel-lab')}")
        raise typer.Exit


@app.callback()
def _options(
    asked: Annotated[
        bool,
        typer.Option("--version", callback=_print_version, is_eager=True, help="Print the version."),
    ] = False,
) -> None:
    del asked


for command in (
    listing,
    init,
    run,
    up,
    preflight,
    check,
    gate,
    diff,
    report,
    predict,
    load,
    convergence,
    pack,
    rebuild,
    doctor,
):
    command.register(app)


def main() -> NoReturn:
    """Run the command line; exit codes are those of docs/interfaces.md."""
    print_anywhere()
    said = ""
    try:
        code = app(standalone_mode=False)
    except (typer.Abort, KeyboardInterrupt):
        said, code = "interrupted", INTERRUPTED
    except BadInput as error:
        said, code = f"kernel-lab: {error}", EXIT_CODE
    except USAGE_ERROR as error:
        said, code = f"kernel-lab: {error.format_message()} (kernel-lab --help)", EXIT_CODE
    except BrokenPipeError:  # the reader of the pipe has gone, so nobody can read a message
        code = EXIT_CODE
    except (OSError, NotARun, NotASavedRun, MalformedHistory, BadDeployments) as error:
        said, code = f"kernel-lab: {_told(error)}", EXIT_CODE
    except BaseExceptionGroup as group:
        first = _first(group)
        if not isinstance(first, OSError | NotARun):
            raise
        said, code = f"kernel-lab: {_told(first)}", EXIT_CODE
    if said:
        print(visible(" ".join(said.split())), file=sys.stderr)
    _flush()
    sys.exit(code if isinstance(code, int) else 0)


def _told(error: BaseException) -> str:
    """A file that cannot be used, in one sentence."""
    if isinstance(error, OSError) and error.strerror:
        where = f"{error.filename}: " if error.filename else ""
        return f"{where}cannot be used ({error.strerror})"
    return str(error) or type(error).__name__


def _first(group: BaseException) -> BaseException:
    while isinstance(group, BaseExceptionGroup):
        group = group.exceptions[0]
    return group


def _flush() -> None:
    """Write the rest of the output. Where it cannot be written, the interpreter must not try again when it ends."""
    try:
        sys.stdout.flush()
    except OSError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
