"""kernel-lab run: the plan from the command line, the run, the table at the end."""

from __future__ import annotations

import asyncio
import dataclasses
import signal
import sys
from collections.abc import Coroutine, Sequence
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from kernel_lab.bad_input import BadInput, pick
from kernel_lab.cli.app import run as run_app
from kernel_lab.cli.attach import look
from kernel_lab.cli.screen import Screen, print_table, short
from kernel_lab.judge.verdict import Validity
from kernel_lab.publish import reporting
from kernel_lab.run import environment, registry
from kernel_lab.run.folder import NotARun
from kernel_lab.run.native import open_native
from kernel_lab.run.plan import plan_of
from kernel_lab.run.results import CellResult
from kernel_lab.run.schedule import run as run_plan


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command()(run)


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
    app: Annotated[
        Path | None,
        typer.Option(help="Measure a service that is not the lab's, as this app.toml describes it."),
    ] = None,
) -> None:
    """Run scenarios over deployments and connection policies, and judge them.

    Exit code: 0 every cell judged as expected, 1 an expectation failed, 2 something stayed unknown.
    """
    if app is not None:
        if deployment or kernel is not None or attach != "none":
            raise BadInput(
                "--app cannot be combined with --deployment, --kernel or --attach: app.toml says what is measured"
            )
        run_app(
            app, scenarios=scenario, connections=connections, faults=fault, quick=quick, seed=seed, out=out
        )
    console = Console(stderr=True, highlight=False)
    tell = partial(console.print, markup=False, soft_wrap=True)
    if fault:
        pick("--fault", fault[0], registry.faults())
    attached = look(attach, deployment, quick=quick, tell=tell)
    if attached is not None and kernel is not None:
        raise BadInput(
            "--kernel cannot be combined with --attach: the attached deployment already has a kernel"
        )
    plan = plan_of(deployment, scenario, connections, quick=quick, seed=seed, out=out, kernel=kernel)
    if attached is not None:
        # what runs is one machine, and shared: one deployment after the other
        plan = dataclasses.replace(plan, deployments=attached.deployments, stacks_at_once=1)
    try:
        plan.folder.create()
    except NotARun as error:
        raise BadInput(f"--out {error}") from None
    about = environment.describe(registry.checkout())
    about |= {"arguments": sys.argv[1:], "quick": quick, "seed": seed}
    about |= {"settings": plan.env} if attached is None else attached.about
    plan.folder.write_environment(about)
    tell(f"{len(plan.cells)} cells into {short(plan.folder.path)}")
    with Screen(console) as screen:
        try:
            opener = open_native if attached is None else attached.open
            results = asyncio.run(_until_terminated(run_plan(plan, opener, screen)))
        except (KeyboardInterrupt, asyncio.CancelledError):
            screen.stop()
            tell(f"interrupted; judge what was recorded with: kernel-lab check {short(plan.folder.path)}")
            raise typer.Exit(130) from None
    about["finished"] = datetime.now(tz=UTC).isoformat(timespec="seconds")
    plan.folder.write_environment(about)
    if out is None:
        plan.folder.point_latest()
    print_table(results, plan.folder.path, reporting.report(plan.folder.path))
    raise typer.Exit(_exit_code(results))


def _exit_code(results: Sequence[CellResult]) -> int:
    if any(cell.validity is Validity.UNKNOWN for cell in results):
        return 2
    return 0 if all(cell.as_expected for cell in results) else 1


async def _until_terminated(work: Coroutine[None, None, list[CellResult]]) -> list[CellResult]:
    """Do the work; SIGTERM and SIGHUP end it as Ctrl-C does: stacks down, what was recorded kept."""
    task = asyncio.ensure_future(work)
    for number in (signal.SIGTERM, signal.SIGHUP):
        asyncio.get_running_loop().add_signal_handler(number, task.cancel)
    return await task
