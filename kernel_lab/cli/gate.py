"""kernel-lab gate: measure what the declared guarantees need, and say whether each of them holds."""

from __future__ import annotations

import asyncio
import os
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated

import typer

from kernel_lab.bad_input import BadInput
from kernel_lab.cli.exits import EXIT
from kernel_lab.cli.screen import short
from kernel_lab.cli.signals import until_terminated
from kernel_lab.gate import outputs
from kernel_lab.gate.guarantees import Declared, Guarantee, deployment_name, read_guarantees
from kernel_lab.gate.judging import About, Held, about, hold, open_run, refuse_quick
from kernel_lab.gate.running import Work, plan_work, run_work
from kernel_lab.judge.verdict import MARK, Validity, merge
from kernel_lab.run.folder import NotARun, write_whole
from kernel_lab.run.results import CellResult

TOLD = 12
"""Lines of a counter-example that are printed."""


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command()(gate)


def gate(
    guarantees: Annotated[
        Path, typer.Option(help="TOML of [[guarantee]] tables; docs/gate.md describes the keys.")
    ] = Path("guarantees.toml"),
    path: Annotated[Path | None, typer.Argument(help="The same as --run PATH.")] = None,
    run: Annotated[Path | None, typer.Option(help="Judge this run folder, and measure nothing.")] = None,
    quick: Annotated[
        bool, typer.Option("--quick", help="Run short cells, or accept a run with short cells.")
    ] = False,
    seed: Annotated[int, typer.Option(help="Seed of every random choice.")] = 1,
    out: Annotated[Path | None, typer.Option(help="The run folder [results/gate/<time>].")] = None,
    kernel: Annotated[
        str | None, typer.Option(help="Your own kernel: module:factory, factory(settings) -> Kernel.")
    ] = None,
    junit: Annotated[Path | None, typer.Option(help="Write JUnit XML to this file.")] = None,
    json: Annotated[
        Path | None, typer.Option(help="Write a JSON document to this file; docs/gate.md has its schema.")
    ] = None,
    badge: Annotated[Path | None, typer.Option(help="Write an SVG badge to this file.")] = None,
    summary: Annotated[
        Path | None, typer.Option(help="Append Markdown to this file [$GITHUB_STEP_SUMMARY].")
    ] = None,
) -> None:
    """Measure only what the declared guarantees need, and say whether each of them holds.

    Under GitHub Actions it also annotates the guarantees that do not hold.

    Exit code: 0 all hold, 1 one is broken, 2 one could not be judged, 64 the file or an option is wrong.
    """
    declared = read_guarantees(guarantees)
    files = Files(junit, json, badge, summary or _environment_path("GITHUB_STEP_SUMMARY"))
    files.check()
    judged = run or path
    if run is not None and path is not None and run != path:
        raise BadInput(f"gate: --run {run} and {path} exclude each other; name one run")
    if judged is not None and (out is not None or kernel is not None):
        raise BadInput("gate: --run judges what was measured; --out and --kernel go with a new measurement")
    if judged is None:
        work = plan_work(declared, guarantees, quick=quick, seed=seed, out=out, kernel=kernel)
        judged = measure(work)
    facts, held = judge(declared, guarantees, judged, quick=quick)
    code = EXIT[merge(one.validity for one in held)]
    said = outputs.report(facts, held, exit_code=code)
    show(facts, held, outputs.counted(said))
    if os.environ.get("GITHUB_ACTIONS") == "true":
        for line in outputs.as_annotations(said, guarantees, guarantees.read_text(encoding="utf-8")):
            print(line)
    files.write(said)
    raise typer.Exit(code)


@dataclass(frozen=True, slots=True)
class Files:
    """The files that the report is written to, beside the terminal."""

    junit: Path | None
    json: Path | None
    badge: Path | None
    summary: Path | None

    def check(self) -> None:
        """Check that each file can be written, before minutes are spent on its content.

        Raises:
            BadInput: One cannot.
        """
        for option, path in (("--junit", self.junit), ("--json", self.json), ("--badge", self.badge)):
            self._attempt(option, path, lambda path: path.parent.mkdir(parents=True, exist_ok=True))
            if path is not None and (path.is_dir() or not os.access(path.parent, os.W_OK)):
                raise BadInput(f"{option} {path}: cannot be written; name a file in a writable folder")
        self._attempt("--summary", self.summary, lambda path: path.open("a").close())

    def write(self, said: outputs.Report) -> None:
        """Write the files that were asked for.

        Raises:
            BadInput: A file cannot be written.
        """
        self._attempt("--junit", self.junit, lambda path: write_whole(path, outputs.as_junit(said)))
        self._attempt("--json", self.json, lambda path: write_whole(path, outputs.as_json(said)))
        self._attempt("--badge", self.badge, lambda path: write_whole(path, outputs.as_badge(said).encode()))

        def append(path: Path) -> None:
            with path.open("a", encoding="utf-8") as file:
                file.write(outputs.as_summary(said) + "\n")

        self._attempt("--summary", self.summary, append)

    @staticmethod
    def _attempt(option: str, path: Path | None, act: Callable[[Path], None]) -> None:
        try:
            if path is not None:
                act(path)
        except (OSError, NotARun) as error:
            why = getattr(error, "strerror", None) or error
            raise BadInput(f"{option} {path}: cannot be written ({why})") from None


def _environment_path(name: str) -> Path | None:
    return Path(os.environ[name]) if os.environ.get(name) else None


def measure(work: Work) -> Path:
    """Run the cells, with a line on stderr for each. Return the run folder."""
    told = _Lines(work.cells)
    told.say(f"{work.cells} cells into {short(work.folder.path)}")
    try:
        asyncio.run(until_terminated(run_work(work, told)))
    except (KeyboardInterrupt, asyncio.CancelledError):
        told.say(f"interrupted; judge what was recorded with: kernel-lab check {short(work.folder.path)}")
        raise typer.Exit(130) from None
    return work.folder.path


def judge(declared: Declared, file: Path, path: Path, *, quick: bool) -> tuple[About, list[Held]]:
    """Return the judged run, and its result for each guarantee."""

    def name_of(one: Guarantee) -> str:
        return deployment_name(one, file)

    saved = open_run(path)
    refuse_quick(saved, quick=quick)
    return about(saved), hold(declared.guarantee, saved, name_of)


def show(facts: About, held: Sequence[Held], counted: str) -> None:
    """Print which run was judged, one line for each guarantee, and the counter-example of each broken one."""
    print(f"judged: {facts.line(datetime.now(tz=UTC))}")
    if facts.noisy:
        print(f"  {facts.noisy}")
    for one in held:
        print(f"{MARK[one.validity]} {one.guarantee.title}: {one.said}")
        if one.anomaly:
            print(f"    {one.anomaly}")
        for line in one.story[:TOLD]:
            print(f"      {line}")
        if len(one.story) > TOLD:
            print(f"      … and {len(one.story) - TOLD} more operations")
        if one.folder and one.validity is not Validity.VALID:
            if one.replay:
                print(
                    f"    try it on a deployment that runs: python {short(Path(one.replay).absolute())} URL"
                )
            print(f"    everything: kernel-lab check {short(Path(one.folder).absolute())}")
    print(counted)


class _Lines:
    """Progress on stderr: a line for each cell."""

    def __init__(self, cells: int) -> None:
        self._cells = cells
        self._count = 0
        self._told: set[str] = set()

    def say(self, line: str) -> None:
        if line not in self._told:
            self._told.add(line)
            print(line, file=sys.stderr)

    def done(self, cell: CellResult) -> None:
        self._count += 1
        why = f"  ({cell.reason})" if cell.reason else ""
        self.say(f"[{self._count}/{self._cells}] {MARK[cell.validity]} {cell.validity:8} {cell.label}{why}")
