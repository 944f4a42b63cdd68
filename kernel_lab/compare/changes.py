"""Find the changes between two runs that are larger than chance explains.

Three things are compared. **Verdicts** are compared where both runs judged the cell and neither expects it to be
random. **Shares** are compared where the lab itself chose the worker of each call. Over `fresh` and `keep_alive`
connections the operating system chooses the worker, so the figure there is one sample of its routing. **Cost ratios**
are compared by the intervals that they have.

A share has changed if its difference is beyond `z` standard errors. Calls about one token are not independent, so the
number of trials is divided by `DESIGN`. `z` grows with the number of comparisons (Bonferroni), so that two runs of the
same code show a changed share in one of 20 pairs at most. A cost ratio has changed if the two 95 % intervals do not
touch and the middles differ by a fifth.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from statistics import NormalDist
from typing import Literal

from kernel_lab.intervals import standard_error
from kernel_lab.judge.verdict import Validity
from kernel_lab.run.measures import Kind, Share, percent
from kernel_lab.run.saved import SavedCell, SavedRun

DESIGN = 6
"""Calls that count as one: those about one token, one principal or one handle go the same way."""
FAMILY = 0.05
LEAST = 0.05
"""A smaller difference of shares is not reported."""
LEAST_RATIO = 1.2
RATIOS = ("throughput_vs_single", "cpu_vs_single", "throughput_vs_memory", "cpu_vs_memory")

Sort = Literal["verdict", "share", "cost"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Change:
    """One thing that differs beyond noise."""

    sort: Sort
    where: str
    before: str
    after: str
    worse: bool | None = None
    """Whether the guarantee is worse off; None where that has no meaning."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Difference:
    """All differences between two runs."""

    changes: tuple[Change, ...]
    compared: int
    """Cells that both runs judged."""
    shares: int
    ratios: int
    not_compared: tuple[str, ...]
    """Cells that only one of them has or judged, and why."""


def diff(before: SavedRun, after: SavedRun, renamed: Mapping[str, str] | None = None) -> Difference:
    """Return the changes from one run to another. `renamed` maps deployments of the first to those of the second."""
    renamed = renamed or {}
    old = {_key(cell, renamed): cell for cell in before.cells if not renamed or cell.deployment in renamed}
    wanted = set(renamed.values())
    new = {_key(cell, {}): cell for cell in after.cells if not renamed or cell.deployment in wanted}
    left_out = [f"{_name(key)}: only in {before.name}" for key in old if key not in new]
    left_out += [f"{_name(key)}: only in {after.name}" for key in new if key not in old]
    both = [(_name(key), old[key], new[key]) for key in old if key in new]
    judged = []
    for name, one, two in both:
        unjudged = [
            cell.validity for cell in (one, two) if cell.validity not in (Validity.VALID, Validity.INVALID)
        ]
        if unjudged:
            left_out.append(f"{name}: {one.validity} before, {two.validity} after")
        else:
            judged.append((name, one, two))
    changes = [change for name, one, two in judged if (change := _verdict(name, one, two, before, after))]
    pairs = [(f"{name}, {title}", a, b) for name, one, two in judged for title, a, b in _shares(one, two)]
    z = NormalDist().inv_cdf(1 - FAMILY / (2 * max(1, len(pairs))))
    changes += [change for place, a, b in pairs if (change := _share(place, a, b, z))]
    costs = _costs(before, after, renamed)
    changes += [change for _, change in costs if change]
    return Difference(
        changes=tuple(changes), compared=len(judged), shares=len(pairs), ratios=len(costs),
        not_compared=tuple(left_out),
    )  # fmt: skip


def _key(cell: SavedCell, renamed: Mapping[str, str]) -> tuple[str, ...]:
    return cell.scenario, renamed.get(cell.deployment, cell.deployment), cell.connections, cell.fault


def _name(key: tuple[str, ...]) -> str:
    scenario, deployment, connections, fault = key
    return f"{scenario} on {deployment} over {connections}" + (f" with {fault}" if fault else "")


def _verdict(name: str, one: SavedCell, two: SavedCell, before: SavedRun, after: SavedRun) -> Change | None:
    if one.validity is two.validity or _draw(one, before) or _draw(two, after):
        return None
    said = [f"{cell.validity}: {_finding(cell)}".rstrip(": ") for cell in (one, two)]
    return Change(
        sort="verdict", where=name, before=said[0], after=said[1], worse=two.validity is Validity.INVALID
    )


def _draw(cell: SavedCell, run: SavedRun) -> bool:
    """Whether the lab itself says that this cell's verdict is random: its own kernel, and nothing expected."""
    about = run.environment
    return (
        cell.expected is None and not about.get("kernel") and not about.get("app") and not about.get("apps")
    )


def _finding(cell: SavedCell) -> str:
    return cell.declared.finding(cell.observed) if cell.declared and cell.observed else ""


def _shares(one: SavedCell, two: SavedCell) -> list[tuple[str, Share, Share]]:
    if one.declared is None or one.observed is None or two.observed is None:
        return []
    if one.connections != "round_robin" and max(one.processes, two.processes) > 1:
        return []
    if one.routing not in ("", "direct") or two.routing not in ("", "direct"):
        return []
    found = []
    for quantity in one.declared.measures:
        if quantity.kind is not Kind.RATE or quantity.name.startswith("predicted_"):
            continue
        a, b = one.observed.share(quantity), two.observed.share(quantity)
        if a and b:
            found.append((quantity.title, a, b))
    return found


def _share(place: str, a: Share, b: Share, z: float) -> Change | None:
    error = standard_error((a.hits, b.hits), (a.of, b.of), design=DESIGN)
    apart = b.value - a.value
    if abs(apart) < LEAST or abs(apart) <= z * error:
        return None
    return Change(sort="share", where=place, before=_told(a), after=_told(b), worse=apart > 0)


def _told(share: Share) -> str:
    low, high = share.interval
    return f"{percent(share.value)} ({share.hits} of {share.of}; 95 %: {percent(low)} to {percent(high)})"


def _costs(before: SavedRun, after: SavedRun, renamed: Mapping[str, str]) -> list[tuple[str, Change | None]]:
    """Each ratio that both runs measured, and its change if there is one."""
    tables = []
    for run, names in ((before, renamed), (after, {})):
        rows = run.tables.get("cost", ())
        tables.append(
            {(names.get(row["deployment"], row["deployment"]), row["mix"], row["step"]): row for row in rows}
        )
    found = []
    wanted = set(renamed.values())
    for key in tables[0].keys() & tables[1].keys():
        if wanted and key[0] not in wanted:
            continue
        for ratio in RATIOS:
            ends = [_interval(table[key], ratio) for table in tables]
            if ends[0] is not None and ends[1] is not None:
                where = f"{ratio.replace('_', ' ')} of {key[0]}, {key[1]}, {key[2]}"
                found.append((where, _ratio(where, ends[0], ends[1])))
    return sorted(found, key=lambda one: one[0])


def _interval(row: Mapping[str, str], ratio: str) -> tuple[float, float, float] | None:
    try:
        return float(row[f"{ratio}_low"]), float(row[ratio]), float(row[f"{ratio}_high"])
    except (KeyError, ValueError):
        return None


def _ratio(where: str, a: tuple[float, float, float], b: tuple[float, float, float]) -> Change | None:
    apart = max(a[1], b[1]) / min(a[1], b[1]) if min(a[1], b[1]) > 0 else float("inf")
    if (a[0] <= b[2] and b[0] <= a[2]) or apart < LEAST_RATIO:
        return None
    told = [f"× {middle:.2f} (95 %: {low:.2f} to {high:.2f})" for low, middle, high in (a, b)]
    worse = (b[1] < a[1]) if where.startswith("throughput") else (b[1] > a[1])
    return Change(sort="cost", where=where, before=told[0], after=told[1], worse=worse)
