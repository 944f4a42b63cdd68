"""The table of teeth: on the terminal, and as ``docs/teeth.md``."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from itertools import groupby
from pathlib import Path
from typing import TYPE_CHECKING

from kernel_lab.run import registry
from mutants.mutant import Mutant

if TYPE_CHECKING:
    from mutants.bite import Bite
    from mutants.live import Living

PAGE = Path(__file__).resolve().parents[1] / "docs" / "teeth.md"

HEAD = """\
# Mutation tests

This page is for somebody who asks what the checkers can find. Afterwards you know which wrong kernels they caught,
with which anomaly, and how many right kernels they judged. The page lists kernels that are wrong on purpose. Each
is the lab's own kernel with one part spoiled (`mutants/`). Each runs through the real scenario of its claim, and
the checker judges the files that the run leaves. A wrong kernel counts as caught if three things are true: the
verdict is invalid, the expected anomaly is among those found, and the counter-example is small. Small means one
grant more than the limit for `rate_limit`, two operations more than the cap where a cap is not enforced, and at
most six operations elsewhere (`over_reserved` needs everything that was spent before). Right kernels run through
the same scenarios, and none may be accused.

Most runs are simulated: the lab's app and its kernel run in one process, with the scenarios' own traffic and a
clock that jumps while everybody waits. A seed decides how long each call is under way, so calls overlap as they do
between processes, and every figure comes out the same on every machine. In some of the right runs calls get lost
and workers are restarted. A sample (●) runs once more under gunicorn, on the real clock.

`make teeth` does all this. It ends with an error if a wrong kernel was missed or a right one accused. It writes
this page, and the figures into `results/teeth.json`.
"""


def table(mutants: Mapping[str, Mutant], bites: Sequence[Bite]) -> str:
    """One line a mutant, for a terminal."""
    width = max(len(one.title) for one in mutants.values())
    lines = []
    for one in bites:
        mutant = mutants[one.mutant]
        said = f"{mutant.finds} in {one.proof} operations"
        if one.lag_ms:
            said += f", {mutant.lag_ms:g} ms found between {one.lag_ms[0]:.0f} and {one.lag_ms[1]:.0f}"
        lines.append(f"{mutant.breaks:13} {mutant.title:{width}}  {'MISSED' if one.missed else said}")
    return "\n".join(lines)


def summary(bites: Sequence[Bite], living: Living, *, accused: int, right_runs: int) -> str:
    """The figures, in a line."""
    caught, live = ([one for one in some if not one.missed] for some in (bites, living.bites))
    return (
        f"**{len(caught)} of {len(bites)} caught**, {len(live)} of {len(living.bites)} under gunicorn. "
        f"**{accused} of {right_runs:,} right runs accused**, "
        f"{len(living.accused)} of {len(living.judged)} right cells under gunicorn."
    )


def as_json(bites: Sequence[Bite], living: Living, *, accused: int, right_runs: int) -> str:
    """The same figures for a program: ``results/teeth.json``."""
    figures = {
        "wrong": len(bites),
        "caught": sum(not one.missed for one in bites),
        "right": right_runs,
        "accused": accused,
        "live_wrong": len(living.bites),
        "live_caught": sum(not one.missed for one in living.bites),
        "live_right": len(living.judged),
        "live_accused": len(living.accused),
    }
    return json.dumps(figures, indent=2) + "\n"


def write(mutants: Mapping[str, Mutant], bites: Sequence[Bite], living: Living, figures: str) -> None:
    """Write the page; it is the same as long as the mutants, the scenarios and the checkers are."""
    live = {one.mutant for one in living.bites if not one.missed}
    parts = [HEAD, f"{figures}\n"]
    for claim, some in groupby(bites, key=lambda one: mutants[one.mutant].breaks):
        parts += [f"## {claim}\n", f"{registry.scenarios()[claim].claim}\n"]
        columns = (
            "Wrong kernel", "What is wrong with it", "Anomaly found", "Operations in the counter-example",
            "The same fault, reported elsewhere",
        )  # fmt: skip
        parts += [f"| {' | '.join(columns)} |", "|---|---|---|---|---|"]
        parts += [row(mutants[one.mutant], one, live=one.mutant in live) for one in some]
        parts += [""]
    PAGE.write_text("\n".join(parts), encoding="utf-8")


def row(mutant: Mutant, bite: Bite, *, live: bool) -> str:
    """One mutant."""
    said = "**missed**" if bite.missed else f"`{mutant.finds}`"
    if bite.lag_ms:
        said += f", {mutant.lag_ms:g} ms found between {bite.lag_ms[0]:.0f} and {bite.lag_ms[1]:.0f}"
    return " ".join(
        (
            "|", mutant.title + " ●" * live, "|", mutant.wrong, "|", said, "|", str(bite.proof), "|",
            _link(mutant.bitten), "|",
        )
    )  # fmt: skip


def _link(url: str) -> str:
    """``[owner/repository #1](…)``."""
    if not url:
        return ""
    owner, repository, _, number = url.removeprefix("https://github.com/").split("/")
    return f"[{owner}/{repository} #{number}]({url})"
