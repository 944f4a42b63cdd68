"""``kernel-lab doctor``: which guarantees will weaken, from the files that a service is deployed with."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

import typer

from kernel_lab.bad_input import EXIT_CODE, BadInput
from kernel_lab.doctor.catalogue import RULES, Severity

FAIL_ON: dict[str, Severity | None] = {"error": "error", "warning": "warning", "info": "info", "never": None}


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command()(doctor)


def doctor(
    paths: Annotated[list[Path], typer.Argument(help="Configuration files, or folders of them. [.]")] = [],  # noqa: B006
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON document.")] = False,
    as_sarif: Annotated[bool, typer.Option("--sarif", help="Print SARIF 2.1.0 for code scanning.")] = False,
    explain: Annotated[
        str | None, typer.Option(help="Explain one finding by its id; `all` lists them.")
    ] = None,
    fail_on: Annotated[
        str, typer.Option(help="Exit with 1 from this severity: error, warning, info or never.")
    ] = "warning",
    machine: Annotated[
        bool, typer.Option("--machine", help="Say what the lab needs and this machine has or lacks.")
    ] = False,
) -> None:
    """Read a service's configuration files, and say how many processes run and what that weakens.

    Exit code: 0 nothing to say, 1 findings at or above --fail-on, 64 nothing that could be read.
    """
    raise typer.Exit(
        main(paths, as_json=as_json, as_sarif=as_sarif, explain=explain, fail_on=fail_on, machine=machine)
    )


def alone() -> None:
    """The command `kernel-lab-doctor`: the doctor without the rest of the lab and its dependencies."""
    app = typer.Typer(add_completion=False, pretty_exceptions_enable=False)
    register(app)
    try:
        app()
    except BadInput as error:
        print(f"kernel-lab: {error}", file=sys.stderr)
        sys.exit(EXIT_CODE)


def main(
    paths: Sequence[Path], *, as_json: bool, as_sarif: bool, explain: str | None, fail_on: str, machine: bool
) -> int:
    """Print the diagnosis; 0 without findings at or above `fail_on`, 1 with some.

    Raises:
        BadInput: An option does not fit, or nothing could be read.
    """
    if explain is not None:
        return _explain(explain)
    if machine:
        if paths:
            raise BadInput("doctor: --machine looks at this machine and takes no files")
        return _machine()
    if fail_on not in FAIL_ON:
        raise BadInput(f"doctor --fail-on {fail_on}: it is one of {', '.join(FAIL_ON)}")
    if as_json and as_sarif:
        raise BadInput("doctor: --json and --sarif exclude each other")
    return _files(paths or [Path()], as_json=as_json, as_sarif=as_sarif, fail_on=FAIL_ON[fail_on])


def _files(paths: Sequence[Path], *, as_json: bool, as_sarif: bool, fail_on: Severity | None) -> int:
    try:
        from kernel_lab.doctor import printing, sarif  # noqa: PLC0415 - the parsers are only for this command
        from kernel_lab.doctor.diagnosis import diagnose  # noqa: PLC0415
    except ModuleNotFoundError as error:
        raise BadInput(
            f"doctor: the parsers are not installed ({error.name}): pip install 'kernel-lab[doctor]'"
        ) from None
    diagnosis = diagnose(paths)
    if as_json:
        print(printing.as_json(diagnosis))
    elif as_sarif:
        print(sarif.as_sarif(diagnosis))
    else:
        print(printing.as_text(diagnosis))
        print(_machine_line())
    return int(diagnosis.fails(fail_on))


def _explain(rule: str) -> int:
    from kernel_lab.doctor import printing  # noqa: PLC0415

    if rule in {"", "all"}:
        print(printing.all_rules())
        return 0
    if rule not in RULES:
        raise BadInput(
            f"doctor --explain {rule}: there is no such finding; `kernel-lab doctor --explain all` lists them"
        )
    print(printing.explain(RULES[rule]))
    return 0


def _machine() -> int:
    from kernel_lab.doctor.machine import diagnose  # noqa: PLC0415

    worst = 0
    for finding in diagnose():
        print(f"{'✓' if finding.ok else '✗'} {finding.what}: {finding.detail}")
        worst |= not finding.ok
    return int(worst)


def _machine_line() -> str:
    """Return the result of the machine check in one line. The check writes no file."""
    try:
        from kernel_lab.doctor.machine import in_short  # noqa: PLC0415
    except ModuleNotFoundError:
        return "This machine: not looked at, because the lab's own packages are not installed."
    return in_short()
