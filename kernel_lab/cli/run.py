"""kernel-lab run: the plan from the command line, the run, the table at the end."""

from __future__ import annotations

import asyncio
import dataclasses
import sys
from collections.abc import Callable, Coroutine, Mapping, Sequence
from datetime import UTC, datetime
from functools import partial
from itertools import groupby
from pathlib import Path
from typing import Annotated, Any, NoReturn, TypeVar

import typer
from rich.console import Console

from kernel_lab.bad_input import BadInput, pick
from kernel_lab.cli.app import run as run_app
from kernel_lab.cli.attach import Reach, look
from kernel_lab.cli.options import DeploymentsFile, Kernel, Replicas, State
from kernel_lab.cli.screen import Screen, print_end, short
from kernel_lab.cli.signals import INTERRUPTED, until_terminated
from kernel_lab.faults.fault import Fault
from kernel_lab.judge.verdict import Validity
from kernel_lab.publish import reporting
from kernel_lab.redaction import without_headers
from kernel_lab.run import environment, registry
from kernel_lab.run.folder import NotARun
from kernel_lab.run.native import open_native
from kernel_lab.run.noise import Watch
from kernel_lab.run.plan import Plan, chosen_deployments, plan_of
from kernel_lab.run.preflight import Preflight, preflight
from kernel_lab.run.promises import Promises, read_promises
from kernel_lab.run.results import CellResult
from kernel_lab.run.resume import asked_of, read_asked, take_over
from kernel_lab.run.schedule import OpenStack
from kernel_lab.run.schedule import run as run_plan
from kernel_lab.run.under_fault import FaultRow, FaultRun, plan_under_faults

T = TypeVar("T")


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command()(run)


def run(
    deployment: Annotated[list[str], typer.Option(help="Only this deployment; may be repeated.")] = [],  # noqa: B006
    scenario: Annotated[list[str], typer.Option(help="Only this scenario; may be repeated.")] = [],  # noqa: B006
    connections: Annotated[
        list[str], typer.Option(help="Only this policy: round_robin, fresh, keep_alive; may be repeated.")
    ] = [],  # noqa: B006
    fault: Annotated[
        list[str],
        typer.Option(
            help="Test around this fault (`kernel-lab list faults`), or all of them; may be repeated."
        ),
    ] = [],  # noqa: B006
    quick: Annotated[
        bool, typer.Option("--quick", help="Short cells, and four deployments unless named.")
    ] = False,
    seed: Annotated[int, typer.Option(help="Seed of every random choice.")] = 1,
    out: Annotated[Path | None, typer.Option(help="The run folder itself [results/<time>].")] = None,
    kernel: Kernel = None,
    attach: Annotated[
        list[str],
        typer.Option(
            help="Measure a running deployment: its URL (repeat it for each host), compose (the "
            "stack of docker compose up), swarm, or auto (such a stack if it is up)."
        ),
    ] = [],  # noqa: B006
    header: Annotated[
        list[str],
        typer.Option(help="With --attach URL: 'Name: value', sent with each call; may be repeated."),
    ] = [],  # noqa: B006
    token_env: Annotated[
        str | None,
        typer.Option(help="With --attach URL: the environment variable that holds a bearer token."),
    ] = None,
    insecure: Annotated[
        bool, typer.Option("--insecure", help="With --attach URL: do not verify its TLS certificate.")
    ] = False,
    worker_header: Annotated[
        str | None,
        typer.Option(help="With --attach URL: the header of a reply that names the worker [X-Lab-Worker]."),
    ] = None,
    promises: Annotated[
        Path | None,
        typer.Option(
            help="What your own kernel promises and how it is called: a TOML file (docs/your-kernel.md)."
        ),
    ] = None,
    deployments: DeploymentsFile = None,
    workers: Annotated[
        int | None,
        typer.Option(
            min=1,
            help="Workers of each replica, instead of the deployment's own number. With --attach URL: how many "
            "workers answer in all.",
        ),
    ] = None,
    replicas: Replicas = None,
    state: State = None,
    details: Annotated[
        bool, typer.Option("--details", help="At the end, print a line for every cell as well.")
    ] = False,
    resume: Annotated[
        Path | None,
        typer.Option(
            help="Go on where the interrupted run in this folder stopped; it takes no other option."
        ),
    ] = None,
    app: Annotated[
        Path | None,
        typer.Option(help="Measure a service that is not the lab's, as this app.toml describes it."),
    ] = None,
) -> None:
    """Run scenarios over deployments and connection policies, and judge them.

    Exit code: 0 every cell judged as expected, 1 an expectation failed, 2 something stayed unknown. With your own
    kernel, or attached to a URL, nothing is expected unless your promises file says so: then 0 means that every
    claim holds, 1 that one is broken, 2 that one is unknown.
    """
    if resume is not None:
        given = [
            word for word in sys.argv[1:] if word.startswith("--") and word.partition("=")[0] != "--resume"
        ]
        if given:
            raise BadInput(
                f"--resume cannot be combined with {given[0]}: the run says itself what was asked for"
            )
        resume_run(resume)
    if app is not None:
        if deployment or kernel is not None or attach not in ([], ["none"]):
            raise BadInput(
                "--app cannot be combined with --deployment, --kernel or --attach: app.toml says what is measured"
            )
        run_app(
            app, scenarios=scenario, connections=connections, faults=fault, quick=quick, seed=seed, out=out
        )
    console = Console(stderr=True, highlight=False)
    tell = partial(console.print, markup=False, soft_wrap=True)
    said = read_promises(promises) if promises else Promises()
    reach = Reach(
        headers=header, token_env=token_env, insecure=insecure, worker_header=worker_header, workers=workers,
        promises=said,
    )  # fmt: skip
    attached = look(attach, deployment, quick=quick, tell=tell, reach=reach)
    if attached is not None and kernel is not None:
        raise BadInput(
            "--kernel cannot be combined with --attach: the attached deployment already has a kernel"
        )
    on_hosts = attached is not None and attached.spans_hosts
    if fault and attached is not None and not on_hosts:
        raise BadInput(
            "--fault cannot be combined with --attach: only processes that the lab started and hosts of a swarm "
            "are disturbed"
        )
    suffered = _faults(fault, on_hosts=on_hosts)
    known = chosen_deployments(deployments, workers=workers, replicas=replicas, state=state)
    made_for: dict[str, str] = {}
    if suffered and attached is None and not deployment and not quick:
        made_for = registry.MADE_FOR
        deployment = [name for name in (*registry.FAULT_DEPLOYMENTS, *made_for) if name in known]
    if on_hosts:  # these cells have rows of their own
        deployment, known = [], registry.hosts()
    plan = plan_of(
        deployment, scenario, connections, quick=quick, seed=seed, out=out, kernel=kernel, promises=said, known=known
    )  # fmt: skip
    if attached is not None:
        # the attached deployments share one machine, so they are measured one after the other
        plan = dataclasses.replace(
            plan, deployments=attached.deployments, stacks_at_once=1, own_kernel=attached.ours,
            address=attached.address,
        )  # fmt: skip
    looked: Preflight | None = None
    if kernel is not None:
        looked = preflight(kernel, said, plan.env)
        tell("\n".join(looked.lines()))
    try:
        plan.folder.create()
    except NotARun as error:
        raise BadInput(f"--out {error}") from None
    about = environment.describe(registry.checkout())
    about |= {"arguments": without_headers(sys.argv[1:]), "quick": quick, "seed": seed}
    about |= {"settings": plan.env} if attached is None else attached.about
    if attached is None:
        about["plan"] = asked_of(
            plan, kernel=kernel, promises=promises and promises.absolute(), workers=workers, replicas=replicas,
            deployments_file=deployments and deployments.absolute(), state=state,
        )  # fmt: skip
    about |= {"kernel": plan.kernel}
    reported = looked.in_force if looked is not None else attached.facts if attached is not None else {}
    about |= {"in_force": said.facts(reported)} if reported else {}
    plan.folder.write_environment(about)
    opener = open_native if attached is None else attached.open
    if suffered:
        finish_under_faults(
            plan, suffered, about, opener, console, latest=out is None, made_for=made_for,
            on_hosts=on_hosts,
        )  # fmt: skip
    tell(f"{len(plan.cells)} cells into {short(plan.folder.path)}")
    finish(plan, about, opener, console, latest=out is None, details=details)


def _faults(names: Sequence[str], *, on_hosts: bool) -> list[Fault]:
    """The faults that the command line names; ``all`` stands for every one of processes, or of hosts.

    Raises:
        BadInput: There is no such fault, or it does not apply to the deployments that are measured.
    """
    known = registry.host_faults() if on_hosts else registry.faults()
    if list(names) == ["all"]:
        return list(known.values())
    other = registry.faults() if on_hosts else registry.host_faults()
    if wrong := [name for name in names if name in other]:
        where = "deployments that the lab starts as processes" if on_hosts else "a swarm (`make up-swarm`)"
        raise BadInput(f"--fault {wrong[0]}: is a fault of {where}; one of: {', '.join(known)}")
    return [pick("--fault", name, known) for name in dict.fromkeys(names)]


def finish_under_faults(
    plan: Plan, faults: Sequence[Fault], about: dict[str, Any], opener: OpenStack, console: Console, *,
    latest: bool, made_for: Mapping[str, str] = {}, on_hosts: bool = False,
) -> NoReturn:  # fmt: skip
    """Run every claim around every fault, write CSVs and page, show the end, and exit.

    Nothing is expected of a deployment under a fault, so a broken claim is a finding and no failure of the run.
    """
    tell = partial(console.print, markup=False, soft_wrap=True)
    what = f"the rows of the cells that ended are in {short(plan.folder.table('faults'))}"

    def trial(screen: Screen) -> Coroutine[Any, Any, list[FaultRow]]:
        return FaultRun(
            plan=plan_under_faults(plan), faults=faults, open_stack=opener, progress=screen, made_for=made_for,
            on_hosts=on_hosts,
        ).run()  # fmt: skip

    rows = _carried_out(plan, about, console, trial, latest=latest, interrupted=[what])
    page = reporting.report(plan.folder.path)
    for line in told_of_faults(rows):
        tell(line)
    tell(f"page: {short(page)}  rows: {short(plan.folder.table('faults'))}")
    raise typer.Exit(2 if any(row.result.validity is Validity.UNKNOWN for row in rows) else 0)


def told_of_faults(rows: Sequence[FaultRow]) -> list[str]:
    """One line for each fault and deployment: which claims broke, held, or could not be judged."""
    lines = []
    for (deployment, fault), some in groupby(rows, key=lambda row: (row.result.deployment, row.result.fault)):
        cells = list(some)
        modes: dict[str, list[str]] = {}
        for row in cells:
            modes.setdefault(row.effect.mode or str(row.result.validity), []).append(row.result.scenario)
        if set(modes) == {"skipped"}:
            continue
        said = "; ".join(f"{mode.replace('_', ' ')}: {', '.join(claims)}" for mode, claims in modes.items())
        lines.append(f"{deployment:14} {fault:14} {said}")
    return lines


def resume_run(path: Path) -> None:
    """Go on where an interrupted run stopped, and end as a run ends."""
    console = Console(stderr=True, highlight=False)
    tell = partial(console.print, markup=False, soft_wrap=True)
    asked, about = read_asked(path)
    said = read_promises(Path(asked.promises)) if asked.promises else Promises()
    file = Path(asked.deployments_file) if asked.deployments_file else None
    known = chosen_deployments(file, workers=asked.workers, replicas=asked.replicas, state=asked.state)
    plan = plan_of(
        list(asked.deployments), list(asked.scenarios), list(asked.connections), quick=asked.quick,
        seed=asked.seed, out=path, kernel=asked.kernel, promises=said, known=known,
    )  # fmt: skip
    done = take_over(plan)
    now = environment.describe(registry.checkout())
    again = {"started": now["started"], "commit": now["commit"], "kept": len(done)}
    about["resumed"] = [*about.get("resumed", []), again]
    if now["commit"] != about.get("commit"):
        tell("the code has changed since this run began: cells of both versions will stand in it")
    plan.folder.write_environment(about)
    tell(f"{len(done)} of {len(plan.cells)} cells of {short(path)} are finished; the others are run")
    finish(plan, about, open_native, console, latest=False, details=False, done=done)


def finish(
    plan: Plan, about: dict[str, Any], opener: OpenStack, console: Console, *, latest: bool, details: bool,
    done: dict[tuple[str, str, str], CellResult] | None = None,
) -> NoReturn:  # fmt: skip
    """Run the cells, write what is left to write, show the end, and exit."""
    place = short(plan.folder.path)
    interrupted = [
        f"judge what was recorded with: kernel-lab check {place}",
        f"CSVs and page of what was recorded: kernel-lab rebuild {place}",
    ]
    if "plan" in about:
        interrupted.append(f"go on where it stopped: kernel-lab run --resume {place}")
    results = _carried_out(
        plan, about, console, lambda screen: run_plan(plan, opener, screen, done), latest=latest,
        interrupted=interrupted,
    )  # fmt: skip
    print_end(results, plan.folder.path, reporting.report(plan.folder.path), details=details)
    if about.get("noisy"):
        console.print(about["noisy"], markup=False, soft_wrap=True)
    raise typer.Exit(exit_code(results, own_kernel=plan.own_kernel))


def _carried_out(
    plan: Plan, about: dict[str, Any], console: Console, job: Callable[[Screen], Coroutine[Any, Any, T]], *,
    latest: bool, interrupted: Sequence[str],
) -> T:  # fmt: skip
    """Do a job, show its progress on the screen, and write into the run folder when and how it ended.

    Raises:
        typer.Exit: The job was interrupted. The lines of `interrupted` then say what to do with what was recorded.
    """
    watch = Watch()
    with Screen(console) as screen:
        try:
            done = asyncio.run(until_terminated(job(screen)))
        except (KeyboardInterrupt, asyncio.CancelledError):
            screen.stop()
            first, *others = interrupted
            for line in (f"interrupted; {first}", *others):
                console.print(line, markup=False, soft_wrap=True)
            raise typer.Exit(INTERRUPTED) from None
    about["finished"] = datetime.now(tz=UTC).isoformat(timespec="seconds")
    about |= watch.facts()
    plan.folder.write_environment(about)
    if latest:
        plan.folder.point_latest()
    return done


def exit_code(results: Sequence[CellResult], *, own_kernel: bool) -> int:
    """Return 0, 1 or 2, as the help of `run` says.

    With a kernel other than the lab's, a claim without an expected verdict must hold.
    """
    if any(not cell.as_expected and cell.validity is not Validity.UNKNOWN for cell in results):
        return 1
    judged = [cell for cell in results if cell.validity is not Validity.SKIPPED]
    surprising = [cell for cell in judged if cell.expected is None and cell.validity is Validity.INVALID]
    if not own_kernel and surprising:
        return 1
    if any(cell.validity is Validity.UNKNOWN for cell in results) or (not own_kernel and not judged):
        return 2
    return 0
