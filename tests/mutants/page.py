"""The table of teeth: on the terminal, and as ``docs/teeth.md``."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import groupby
from pathlib import Path
from typing import TYPE_CHECKING

from kernel_lab.run import registry
from mutants.mutant import Mutant

if TYPE_CHECKING:
    from mutants.live import Living
    from mutants.teeth import Bite

PAGE = Path(__file__).resolve().parents[2] / "docs" / "teeth.md"

HEAD = """\
# Teeth

A lab is as good as its judgement. Here are kernels that are wrong on purpose, each the lab's own kernel with
one part spoiled (`tests/mutants/`). Each is run through the real scenario of its claim and judged from the
files it leaves. It counts as caught if the verdict is invalid, the anomaly is among those found, and the
counter-example is small: one grant more than the limit for `rate_limit`, six operations at most for every
other claim. And right kernels are run through the same scenarios: none may be accused.

Most of it is simulated: the lab's app and its kernel in one process, the scenarios' own traffic, and a clock
that jumps while everybody waits. How long a call is on its way is drawn from a seed, so calls overlap as
they do between processes, and every figure comes out the same on every machine. In some of the right runs
calls get lost and workers are restarted. A sample (●) is run once more under gunicorn, on the real clock.

`make teeth` does all this, ends with an error if one was missed or accused, and writes this page.
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


def write(mutants: Mapping[str, Mutant], bites: Sequence[Bite], living: Living, figures: str) -> None:
    """Write the page; it is the same as long as the mutants, the scenarios and the checkers are."""
    live = {one.mutant for one in living.bites if not one.missed}
    parts = [HEAD, f"{figures}\n"]
    for claim, some in groupby(bites, key=lambda one: mutants[one.mutant].breaks):
        parts += [f"## {claim}\n", f"{registry.scenarios()[claim].claim}\n"]
        parts += ["| Mutant | What is wrong | Caught as | Operations | Bitten |", "|---|---|---|---|---|"]
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
