"""The part of the page that says why a reader may trust it: the instrument, and how often it was wrong."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import msgspec

from kernel_lab.judge.verdict import Validity
from kernel_lab.publish.agreement import agreement
from kernel_lab.run.folder import read_whole
from kernel_lab.run.measures import Share, percent
from kernel_lab.run.saved import Row, SavedCell, SavedRun

NOT_SHOWN = (
    "Workers on a few shared cores test correctness, not sizing: no timing here is a promise elsewhere.",
    "“Holds” means that nothing recorded breaks the claim. Where no failure was seen, only an upper bound is shown.",
    "Intervals assume that the calls of a cell are independent. On a shared socket, successive calls are not quite so.",
    "There is no network between hosts: replicas are processes of one machine behind a real balancer.",
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Fact:
    """One thing to know, in a word and a sentence."""

    name: str
    value: str
    note: str = ""


class MutationTests(msgspec.Struct, frozen=True, kw_only=True):
    """``results/teeth.json``: how the checkers judged kernels that are known to be right or wrong."""

    caught: int
    """The number of the `wrong` kernels that were judged broken, in simulated runs."""
    wrong: int
    accused: int
    """The number of the `right` runs that were judged broken without reason, in simulated runs."""
    right: int
    live_caught: int | None = None
    live_wrong: int | None = None
    """The same under gunicorn."""
    live_accused: int | None = None
    live_right: int | None = None


def facts(run: SavedRun, controls: Sequence[str], teeth: MutationTests | None) -> list[Fact]:
    """Return the facts that are in the run folder. `lacking` returns the facts that are not."""
    made = (
        _kernel(run),
        _quick(run),
        _commit(run),
        _machine(run),
        _judged(run),
        _unknown(run),
        _surprises(run),
        _controls(run, controls),
        *_predictions(run, controls),
        _accused(run),
        _teeth(teeth),
        _noise(run),
        _headroom(run),
        _beside(run),
    )
    return [fact for fact in made if fact is not None]


def lacking(run: SavedRun, teeth: MutationTests | None) -> list[str]:
    """Return the parts of a page for which this run folder has no figures."""
    missing = []
    if not {"cost", "cost_distance"} <= run.tables.keys():
        missing.append("what each deployment costs, near its store and far from it (kernel-lab load)")
    if "convergence" not in run.tables:
        missing.append("how soon a revocation holds on every worker (kernel-lab convergence)")
    if teeth is None:
        missing.append("how many seeded wrong kernels the checkers catch (make teeth)")
    if "faults" not in run.tables and not any(cell.fault for cell in run.cells):
        missing.append("what happens under faults")
    return missing


def _kernel(run: SavedRun) -> Fact | None:
    """Return the kernel that was measured, and its promises; an empty text for the lab's own kernel."""
    kernel = run.environment.get("kernel")
    if not isinstance(kernel, str) or kernel == "lab":
        return None
    in_force = run.environment.get("in_force")
    said = _in_force(in_force) if isinstance(in_force, dict) else []
    if kernel == "attached":
        said.insert(0, str(run.environment.get("attached", "")))
    return Fact(name="kernel", value=kernel, note="; ".join(filter(None, said)))


def _in_force(told: Mapping[str, Any]) -> list[str]:
    limits = told.get("rate_limits")
    said = [
        f"{name}: {limit.get('limit')} in {limit.get('window_s')} s"
        for name, limit in (limits.items() if isinstance(limits, dict) else ())
        if isinstance(limit, dict)
    ]
    lives = (
        ("token_ttl_s", "tokens live for {} s"), ("handle_ttl_s", "handles live for {} s"),
        ("handle_cap", "{} handles at most"), ("trace_cap", "{} traces at most"),
        ("budget_total", "a budget of {} tokens"),
    )  # fmt: skip
    return said + [words.format(told[name]) for name, words in lives if told.get(name) is not None]


def _quick(run: SavedRun) -> Fact | None:
    if not run.environment.get("quick"):
        return None
    return Fact(
        name="run", value="quick", note="short cells: fewer calls and wider intervals than a full run"
    )


def _commit(run: SavedRun) -> Fact | None:
    about = run.environment
    commit = about.get("commit")
    if not commit:
        return None
    changed = about.get("changed_files")
    note = f"with {changed} changed files" if changed else "no file changed"
    return Fact(name="commit", value=str(commit)[:10], note=note)


def _machine(run: SavedRun) -> Fact | None:
    about = run.environment
    if "cores" not in about:
        return None
    packages = about.get("packages") or {}
    load = about.get("load_average")
    said = [str(about.get("platform", "")), f"Python {about.get('python', '?')}"]
    said += [f"{name} {packages[name]}" for name in ("weaver-kernel", "gunicorn") if packages.get(name)]
    said += [f"load {load:.1f} at the start"] if isinstance(load, int | float) else []
    said += [str(about["noisy"])] if about.get("noisy") else []
    return Fact(name="machine", value=f"{about['cores']} cores", note=", ".join(filter(None, said)))


def _judged(run: SavedRun) -> Fact:
    counts = {validity: sum(cell.validity is validity for cell in run.cells) for validity in Validity}
    note = f"{counts[Validity.VALID]} hold, {counts[Validity.INVALID]} broken"
    if counts[Validity.SKIPPED]:
        note += f", {counts[Validity.SKIPPED]} skipped"
    return Fact(name="cells", value=str(len(run.cells)), note=note)


def _unknown(run: SavedRun) -> Fact:
    unknown = [cell for cell in run.cells if cell.validity is Validity.UNKNOWN]
    note = "; ".join(dict.fromkeys(cell.reason for cell in unknown if cell.reason))
    return Fact(name="unknown", value=str(len(unknown)), note=note or "every cell could be judged")


def _surprises(run: SavedRun) -> Fact:
    odd = [cell for cell in run.cells if not cell.as_expected and cell.validity is not Validity.UNKNOWN]
    note = "; ".join(f"{cell.label}: {cell.validity}, expected {cell.expected}" for cell in odd[:3])
    if len(odd) > 3:
        note += f" and {len(odd) - 3} more"
    return Fact(name="surprises", value=str(len(odd)), note=note or "every verdict is the expected one")


def _controls(run: SavedRun, controls: Sequence[str]) -> Fact | None:
    """Deployments that are wrong on purpose have to be caught."""
    there = [
        cell
        for cell in run.cells
        if cell.deployment in controls
        and cell.expected is Validity.INVALID
        and cell.validity is not Validity.SKIPPED
    ]
    if not there:
        return None
    caught = sum(cell.validity is Validity.INVALID for cell in there)
    names = ", ".join(dict.fromkeys(cell.deployment for cell in there))
    return Fact(name="controls caught", value=f"{caught} of {len(there)}", note=f"wrong on purpose: {names}")


def _predictions(run: SavedRun, controls: Sequence[str]) -> list[Fact]:
    """Return how well predictions agree with measurements.

    Controls are left out, because they misstate where their state is.
    """
    found = agreement(run, controls)
    if found is None:
        return []
    count = len(found.cells)
    error = (
        f"median of {count} cells, in points of a share or per cent of a count; {found.within} of {count} are at "
        f"most 10, the worst is {100 * max(one.error for one in found.cells):.0f}"
    )
    inside = "measurements inside of the 95 % interval that the probe gave before; each miss is listed below"
    return [
        Fact(name="prediction error", value=f"{100 * found.median:.1f} points", note=error),
        Fact(name="predicted rightly", value=f"{found.inside} of {count}", note=inside),
    ]


def _teeth(teeth: MutationTests | None) -> Fact | None:
    if teeth is None:
        return None
    note = f"kernels with one fault each, in simulation; {teeth.accused} of {teeth.right:,} simulated runs "
    note += "of a correct kernel were judged broken"
    if teeth.live_wrong and teeth.live_caught is not None:
        note += f". Under gunicorn {teeth.live_caught} of {teeth.live_wrong} were caught"
        if teeth.live_right and teeth.live_accused is not None:
            note += f" and {teeth.live_accused} of {teeth.live_right} correct cells judged broken"
    return Fact(
        name="wrong kernels caught", value=f"{teeth.caught} of {teeth.wrong}", note=f"{note} (make teeth)"
    )


def _accused(run: SavedRun) -> Fact:
    """The cells that should hold, and how many of them were judged broken."""
    right: list[SavedCell] = [
        cell
        for cell in run.cells
        if cell.expected is Validity.VALID and cell.validity in (Validity.VALID, Validity.INVALID)
    ]
    accused = sum(cell.validity is Validity.INVALID for cell in right)
    note = "cells that should hold and were judged broken"
    if right and not accused:
        note += f"; a rate of up to {percent(Share(0, len(right)).interval[1])} is still plausible (95 %)"
    return Fact(name="false alarms", value=f"{accused} of {len(right)}", note=note)


def _noise(run: SavedRun) -> Fact | None:
    row = _cost_row(run, "memory-4-again")
    if row is None or not row.get("throughput_vs_memory"):
        return None
    return Fact(
        name="A/A ratio",
        value=f"× {float(row['throughput_vs_memory']):.2f}",
        note=f"memory-4 against itself, {row['mix']}; 95 %: {float(row['throughput_vs_memory_low']):.2f} to "
        f"{float(row['throughput_vs_memory_high']):.2f}, {row['rounds_counted']} rounds",
    )


def _headroom(run: SavedRun) -> Fact | None:
    shares = [
        float(row["generator_share"]) for row in run.tables.get("cost", ()) if row.get("generator_share")
    ]
    if not shares:
        return None
    return Fact(
        name="load generator",
        value=f"{100 * max(shares):.0f} %",
        note="of the CPU time of servers and generator together, in the row where it took most; a row in which it "
        "was the bottleneck does not count",
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class Beside:
    """Another run, whose CSVs were put into this folder."""

    name: str
    commit: str
    started: str


def beside(run: SavedRun) -> list[Beside]:
    """The runs of ``environment-<name>.json``: what each measured was measured apart from this run's cells."""
    found = []
    for path in sorted(run.path.glob("environment-*.json")):
        about = msgspec.json.decode(read_whole(path), type=dict[str, object])
        found.append(
            Beside(
                name=path.stem.removeprefix("environment-"),
                commit=str(about.get("commit") or "unknown")[:10],
                started=str(about.get("started") or "unknown")[:16].replace("T", " "),
            )
        )
    return found


def _beside(run: SavedRun) -> Fact | None:
    found = beside(run)
    if not found:
        return None
    same = {str(run.environment.get("commit"))[:10]} == {one.commit for one in found}
    said = "; ".join(f"{one.name} at commit {one.commit}, {one.started}" for one in found)
    note = f"the figures beside the cells were measured in runs of their own, at another time: {said}"
    return Fact(
        name="other runs on this page",
        value=str(len(found)),
        note=f"{note}; all at the cells' commit" if same else f"{note}; not all at the cells' commit",
    )


def _cost_row(run: SavedRun, deployment: str) -> Row | None:
    rows = [row for row in run.tables.get("cost", ()) if row["deployment"] == deployment]
    return next((row for row in rows if row["step"] == "closed"), None)
