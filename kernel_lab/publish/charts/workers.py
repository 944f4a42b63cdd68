"""What grows with the number of workers, and who of them answered."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Collection, Iterable, Sequence
from dataclasses import dataclass

from kernel_lab.judge.history import AnyOperation, Grant, read_history
from kernel_lab.publish import figures
from kernel_lab.publish.charts import Picture, link
from kernel_lab.publish.charts.plot import Axis, Plot, from_zero, percents
from kernel_lab.run.prediction import admitted
from kernel_lab.run.saved import SavedCell, SavedRun

POLICIES = ("round_robin", "fresh", "keep_alive")
"""Series 0, 1 and 2 of these pictures."""
SHIFT_PX = 9
"""How far the marks of one number of workers stand apart."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Reading:
    """One cell in a picture."""

    cell: SavedCell
    value: float
    low: float | None = None
    high: float | None = None
    predicted: float | None = None
    said: str


def multiplication(run: SavedRun, plain: Collection[str]) -> Picture | None:
    """Admitted grants as a multiple of what one window would have admitted, measured and predicted."""
    readings = []
    for cell in _cells(run, "rate_limit", plain):
        seen, told = figures.number(cell, "admitted"), figures.number(cell, "predicted_admitted")
        if seen is None or not cell.history:
            continue
        one = _of_one_window(read_history(run.path / cell.history), cell)
        readings.append(
            Reading(
                cell=cell,
                value=seen / one,
                predicted=None if told is None else told / one,
                said=f"{seen:g} grants admitted where one window would have admitted {one:g}"
                + ("" if told is None else f"; predicted {told:g}"),
            )
        )
    if not readings:
        return None
    most = max(reading.cell.processes for reading in readings)
    y = from_zero(
        "grants admitted, as a multiple of what one window admits", [most, *(r.value for r in readings)]
    )
    caption = (
        "One window is a right limiter, walked along the same attempts. The dashed line is × N: each worker "
        "keeps a window of its own and fills it. Over one kept connection a client meets one worker, and the "
        "limit looks whole."
    )
    return _against_workers("How the limit multiplies", readings, y, caption, ceiling=True)


def _of_one_window(history: Iterable[AnyOperation], cell: SavedCell) -> int:
    """What a right limiter would have admitted of a cell's attempts."""
    attempts: dict[tuple[str, str], list[tuple[int, str]]] = defaultdict(list)
    for op in history:
        if isinstance(op, Grant):
            attempts[op.input.principal, op.input.capability].append((op.call_ns, ""))
    limit, window_s = int(cell.parameters["limit"]), float(cell.parameters["window_s"])
    return sum(admitted(routing, limit=limit, window_s=window_s) for routing in attempts.values())


def misses(run: SavedRun, plain: Collection[str]) -> Picture | None:
    """The share of expansions that did not find their handle."""
    return _shares(
        run,
        plain,
        "handles",
        "How many handles are missed",
        "expansions missed",
        "The dashed line is 1 − 1/N: an expansion that meets any worker but the one that made its handle.",
    )


def leaks(run: SavedRun, plain: Collection[str]) -> Picture | None:
    """The share of invokes after a revoke that were accepted all the same."""
    return _shares(
        run,
        plain,
        "revocation",
        "How often a revoked token is still accepted",
        "invokes accepted after the revoke",
        "Of the invokes called after their token's revoke had returned. The dashed line is 1 − 1/N. Some are "
        "made after the token expired, and every worker refuses those.",
    )


def _shares(
    run: SavedRun, plain: Collection[str], scenario: str, title: str, y_title: str, caption: str
) -> Picture | None:
    readings = []
    for cell in _cells(run, scenario, plain):
        part, told = figures.share(cell), figures.predicted(cell)
        if part is not None:
            low, high = part.interval
            said = f"{part}" + ("" if told is None else f"; predicted {figures.percent(told)}")
            readings.append(
                Reading(cell=cell, value=part.value, low=low, high=high, predicted=told, said=said)
            )
    if not readings:
        return None
    return _against_workers(title, readings, percents(y_title), caption, ceiling=False)


def _against_workers(
    title: str, readings: Sequence[Reading], y: Axis, caption: str, *, ceiling: bool
) -> Picture:
    counts = sorted({reading.cell.processes for reading in readings})
    x = Axis(
        title="workers",
        low=counts[0] / 1.3,
        high=counts[-1] * 1.3,
        ticks=tuple((count, str(count)) for count in counts),
        log=True,
    )
    plot = Plot(x=x, y=y)
    bound: Callable[[float], float] = float if ceiling else lambda n: 1 - 1 / n
    steps = [counts[0] * (counts[-1] / counts[0]) ** (step / 24) for step in range(25)]
    if len(counts) > 1:
        plot.line([(n, bound(n)) for n in steps], cls="ceiling")
    for reading in readings:
        series = POLICIES.index(reading.cell.connections)
        shift = (series - 1) * SHIFT_PX
        at = reading.cell.processes
        if reading.low is not None and reading.high is not None:
            plot.upright(at, reading.low, reading.high, cls=f"interval s{series}", shift=shift)
        if reading.predicted is not None:
            plot.dash(at, min(reading.predicted, y.high), cls="predicted", shift=shift)
        plot.point(
            at,
            reading.value,
            series=series,
            shift=shift,
            href=link(reading.cell.name),
            title=f"{reading.cell.label}: {reading.said}",
        )
    shown = {reading.cell.connections for reading in readings}
    legend = tuple((i, policy.replace("_", " ")) for i, policy in enumerate(POLICIES) if policy in shown)
    marks = ["predicted"] if any(r.predicted is not None for r in readings) else []
    marks += ["interval"] if any(r.low is not None for r in readings) else []
    label = f"{title}, against workers: " + "; ".join(
        f"{r.cell.label} {r.value:.2g}" for r in readings if r.cell.connections == POLICIES[0]
    )
    return Picture(title=title, svg=plot.svg(label), legend=legend, caption=caption, marks=tuple(marks))


def _cells(run: SavedRun, scenario: str, names: Collection[str]) -> Iterable[SavedCell]:
    return (
        cell
        for cell in run.cells
        if cell.scenario == scenario and cell.deployment in names and not cell.fault and cell.verdict
    )


def answered(run: SavedRun, names: Collection[str]) -> Picture | None:
    """Who of a deployment's workers answered, over fresh connections and over pinned ones."""
    counts: dict[tuple[str, str], dict[str, dict[str, int]]] = defaultdict(lambda: defaultdict(dict))
    for row in run.tables.get("shares", ()):
        if row["deployment"] in names and row["connections"] in POLICIES:
            counts[row["deployment"], row["connections"]][row["scenario"]][row["worker"]] = int(
                row["requests"]
            )
    # scenarios may have had stacks of their own, with other workers: the one that asked most speaks
    bars = [
        (place, sorted(max(told.values(), key=lambda one: sum(one.values())).values(), reverse=True))
        for place, told in counts.items()
    ]
    bars = [(place, told) for place, told in bars if len(told) > 1]
    bars = [(place, told) for place, told in bars if place[1] != "keep_alive"]
    if not bars:
        return None
    bars.sort(key=lambda bar: (len(bar[1]), bar[0][0], POLICIES.index(bar[0][1])))
    row_px, top = 30, 10
    y = Axis(title="", low=0, high=len(bars), ticks=())
    plot = Plot(
        x=Axis(title="calls answered", low=0, high=1, ticks=percents("").ticks),
        y=y,
        height=top + row_px * len(bars) + 42,
        left=168,
        right=22,
        top=top,
    )
    for number, ((deployment, policy), told) in enumerate(bars):
        middle = len(bars) - number - 0.5
        name = f"{deployment}, {policy.replace('_', ' ')}"
        plot.write(name, plot.left - 8, plot.py(middle) + 4, cls="tick end")
        done, total = 0, sum(told)
        for rank, count in enumerate(told):
            low, high = plot.px(done / total), plot.px((done + count) / total)
            bar = plot.add(
                "rect",
                x=f"{low + 0.75:.1f}",
                y=f"{plot.py(middle) - 9:.1f}",
                width=f"{max(high - low - 1.5, 0.5):.1f}",
                height="18",
                cls=f"bar b{rank % 2}",
            )
            title = f"{name}: worker {rank + 1} of {len(told)} answered {count} of {total} calls"
            plot.add("title", parent=bar).text = f"{title} ({figures.percent(count / total)})"
            done += count
    said = [
        f"{deployment}, {policy.replace('_', ' ')}: the busiest {figures.percent(calls[0] / sum(calls))}, "
        f"the idlest {figures.percent(calls[-1] / sum(calls))} of {sum(calls)}"
        for (deployment, policy), calls in bars
    ]
    return Picture(
        title="Who answers",
        svg=plot.svg("Share of calls by worker. " + "; ".join(said)),
        legend=(),
        caption="Each box is one worker, as wide as its share of the calls of one cell, the busiest first. "
        f"{said[-1]}. Workers on one listening socket need not share fairly, and which of them a call meets "
        "decides what is seen: so predictions are made from who answered, not from how many there are.",
    )
