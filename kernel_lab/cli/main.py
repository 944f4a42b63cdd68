"""kernel-lab: each file of this folder adds one subcommand; bad input is one line and exit code 64."""

from __future__ import annotations

import sys
from importlib.metadata import version
from typing import Annotated, Any, NoReturn

import typer

from kernel_lab.bad_input import EXIT_CODE, BadInput
from kernel_lab.cli import check, doctor, gate, init, listing, load, pack, predict, preflight, report, run, up
from kernel_lab.cli.exits import CODES

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


for command in (listing, init, run, up, preflight, check, gate, report, predict, load, pack, doctor):
    command.register(app)


def main() -> NoReturn:
    """Run the command line; exit codes are those of docs/interfaces.md."""
    try:
        code = app(standalone_mode=False)
    except (typer.Abort, KeyboardInterrupt):
        print("interrupted", file=sys.stderr)
        code = 130
    except BadInput as error:
        print(f"kernel-lab: {error}", file=sys.stderr)
        code = EXIT_CODE
    except USAGE_ERROR as error:
        said = " ".join(error.format_message().split())
        print(f"kernel-lab: {said} (kernel-lab --help)", file=sys.stderr)
        code = EXIT_CODE
    sys.exit(code if isinstance(code, int) else 0)
