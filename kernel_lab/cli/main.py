"""kernel-lab: measure what a weaver-kernel's guarantees mean once it runs in N workers."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any, NoReturn

import typer

from kernel_lab.bad_input import EXIT_CODE, BadInput
from kernel_lab.judge.verdict import Validity
from kernel_lab.run import registry

USAGE_ERROR: Any = typer.BadParameter.__mro__[1]
"""typer brings a click of its own, whose classes it does not export."""
EXIT = {Validity.VALID: 0, Validity.INVALID: 1, Validity.UNKNOWN: 2, Validity.SKIPPED: 2}

app = typer.Typer(
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    help="What do a Python service's guarantees really mean once it runs in N workers?\n\n"
    "Runs a real weaver-kernel under real gunicorn in many deployments, sends traffic whose connections it "
    "controls, and says which guarantee broke, by how much.\n\nStart with:  kernel-lab run --quick",
)


@app.command("list")
def list_names(
    what: Annotated[str, typer.Argument(help="deployments, scenarios or faults")],
) -> None:
    """Print one name a line."""
    names: dict[str, Sequence[str]] = {
        "deployments": list(registry.deployments()),
        "scenarios": list(registry.scenarios()),
        "faults": [],
    }
    if what not in names:
        raise BadInput(f"kernel-lab list {what}: there is no such list; one of: {', '.join(names)}")
    for name in names[what]:
        print(name)


@app.command()
def run(
    deployment: Annotated[list[str], typer.Option(help="Only this deployment; may be repeated.")] = [],  # noqa: B006
    scenario: Annotated[list[str], typer.Option(help="Only this scenario; may be repeated.")] = [],  # noqa: B006
    connections: Annotated[
        list[str], typer.Option(help="Only this policy: round_robin, fresh, keep_alive; may be repeated.")
    ] = [],  # noqa: B006
    fault: Annotated[list[str], typer.Option(help="With this fault; may be repeated.")] = [],  # noqa: B006
    quick: Annotated[
        bool, typer.Option("--quick", help="Short cells, and four deployments unless named.")
    ] = False,
    seed: Annotated[int, typer.Option(help="Seed of every random choice.")] = 1,
    out: Annotated[Path | None, typer.Option(help="The run folder itself [results/<time>].")] = None,
    kernel: Annotated[
        str | None, typer.Option(help="Your own kernel: module:factory, factory(settings) -> Kernel.")
    ] = None,
    attach: Annotated[
        str,
        typer.Option(
            help="Measure what runs already: the URL of one deployment, compose (the stack of docker "
            "compose up), or auto (that stack if it is up)."
        ),
    ] = "none",
) -> None:
    """Run scenarios over deployments and connection policies, and judge them.

    Exit code: 0 every cell judged as expected, 1 an expectation failed, 2 something stayed unknown.
    """
    from kernel_lab.cli import run as matrix  # noqa: PLC0415 - the servers' and the screen's libraries are not for `list`

    raise typer.Exit(
        matrix.main(
            deployments=deployment,
            scenarios=scenario,
            connections=connections,
            faults=fault,
            quick=quick,
            seed=seed,
            out=out,
            kernel=kernel,
            attach=attach,
        )
    )


@app.command()
def up(name: Annotated[str, typer.Argument(help="A deployment of `kernel-lab list deployments`.")]) -> None:
    """Run one deployment in the foreground and print what to try with curl; Ctrl-C ends it."""
    from kernel_lab.cli import run as matrix  # noqa: PLC0415

    raise typer.Exit(matrix.up(name))


@app.command()
def check(
    path: Annotated[Path, typer.Argument(help="A run folder, or the folder of one cell.")],
    as_json: Annotated[bool, typer.Option("--json", help="Print the verdicts as JSON.")] = False,
) -> None:
    """Judge a saved run or cell again; needs no server.

    Exit code: 0 valid, 1 invalid, 2 unknown; 64 for a path that holds no run.
    """
    from kernel_lab.cli import judging  # noqa: PLC0415

    raise typer.Exit(EXIT[judging.check(path, as_json=as_json)])


@app.command()
def predict(path: Annotated[Path, typer.Argument(help="A run folder.")]) -> None:
    """Print, for each cell of a run, what its routing probe predicts beside what was measured."""
    from kernel_lab.cli import judging  # noqa: PLC0415

    judging.predict(path)


@app.command()
def gate(
    guarantees: Annotated[
        Path,
        typer.Option(help="TOML of [[guarantee]] tables: claim, deployment, and measure with max or min."),
    ],
    path: Annotated[Path | None, typer.Argument(help="A run folder [results/latest].")] = None,
) -> None:
    """Hold a run against declared guarantees: 0 all hold, 1 one is broken, 2 one was not measured."""
    from kernel_lab.cli import judging  # noqa: PLC0415

    raise typer.Exit(EXIT[judging.gate(guarantees, path or registry.results() / "latest")])


@app.command()
def load(
    part: Annotated[
        list[str],
        typer.Option(help="deployments, distance, workers, size, app; may be repeated. [the first two]"),
    ] = [],  # noqa: B006
    deployment: Annotated[list[str], typer.Option(help="Only this deployment; may be repeated.")] = [],  # noqa: B006
    mix: Annotated[
        list[str], typer.Option(help="Only this mix: read-heavy, grant-heavy, invoke-200, …; may repeat.")
    ] = [],  # noqa: B006
    rounds: Annotated[int | None, typer.Option(help="Repetitions of everything, 2 or more.")] = None,
    quick: Annotated[bool, typer.Option("--quick", help="Short slots, few rounds: wide intervals.")] = False,
    seed: Annotated[int, typer.Option(help="Seed of every random choice.")] = 1,
    out: Annotated[Path | None, typer.Option(help="The run folder itself [results/load-<time>].")] = None,
) -> None:
    """Measure what each deployment costs under load, and judge what holds there: cost.csv.

    Rows say what counts and what does not. Exit code: 0, or 1 if the load generator failed.
    """
    from kernel_lab.load import command as loading  # noqa: PLC0415

    raise typer.Exit(
        loading.main(
            parts=part,
            deployments=deployment,
            mixes=mix,
            rounds=rounds,
            quick=quick,
            seed=seed,
            out=out,
        )
    )


@app.command()
def report(
    path: Annotated[Path | None, typer.Argument(help="A run folder [results/latest].")] = None,
) -> None:
    """Write report.html into a run folder: one page, needs no network and no server."""
    from kernel_lab.publish import reporting  # noqa: PLC0415

    print(reporting.report(path or registry.results() / "latest"))


@app.command()
def pack(
    path: Annotated[Path, typer.Argument(help="A run folder.")],
    out: Annotated[Path, typer.Argument(help="A new folder, such as results/reference.")],
    beside: Annotated[
        list[Path], typer.Option(help="Folder of a load run, whose CSVs come along; may be repeated.")
    ] = [],  # noqa: B006
    front: Annotated[
        bool, typer.Option("--front", help="Histories only of the deployments that the page begins with.")
    ] = False,
) -> None:
    """Pack a run for git: histories compressed, probes and logs left out, the page made anew."""
    from kernel_lab.publish import reporting  # noqa: PLC0415

    reporting.pack(path, out, beside, front=front)


@app.command()
def doctor() -> None:
    """Say what this machine has for the lab, and what it lacks."""
    from kernel_lab.cli import run as matrix  # noqa: PLC0415

    raise typer.Exit(matrix.doctor())


def main() -> NoReturn:
    """The command's entry point: bad input is one line and exit code 64."""
    try:
        code = app(standalone_mode=False)
    except typer.Abort:
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
