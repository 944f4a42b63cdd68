"""Draw figures that grow with the number of workers, and the share of calls that each worker answered."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Collection, Iterable, Sequence
from dataclasses import dataclass

from kernel_lab.judge.history import read_history
from kernel_lab.publish import figures
from kernel_lab.publish.charts import Picture, link
from kernel_lab.publish.charts.plot import Axis, Plot, from_zero, percents
from kernel_lab.run.declaration import AgainstWorkers, Multiple, Proportion
from kernel_lab.run.measures import percent
from kernel_lab.run.saved import SavedCell, SavedRun

POLICIES = ("round_robin", "fresh", "keep_alive")
"""Series 0, 1 and 2 of these pictures."""
SHIFT_PX = 9
"""The distance in pixels between the marks for one number of workers."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Reading:
    """One cell in a picture."""

    cell: SavedCell
    value: float
    low: float | None = None
    high: float | None = None
    predicted: float | None = None
    of: int = 0
    """The number of calls that it was counted out of; 0 where that is not known."""
    unit: str = ""
    """The name of these calls: ``expansions``."""
    said: str


def against_workers(run: SavedRun, scenario: str, plain: Collection[str]) -> Picture | None:
    """A claim's headline against the number of workers, as the claim's scenario declares the chart.

    Args:
        run: The run.
        scenario: The claim's name.
        plain: The deployments that are drawn: state in each worker, and nothing else done about it.
    """
    declared = run.declared.get(scenario)
    if declared is None or declared.against_workers is None:
        return None
    chart = declared.against_workers
    cells = list(_cells(run, scenario, plain))
    if isinstance(declared.headline, Multiple):
        readings = [reading for cell in cells if (reading := _times(run, cell, declared.headline, chart))]
        if not readings:
            return None
        most = max(reading.cell.processes for reading in readings)
        y = from_zero(chart.axis, [most, *(reading.value for reading in readings)])
        return _against_workers(chart, readings, y, ceiling=True)
    readings = [reading for cell in cells if (reading := _share(cell))]
    return _against_workers(chart, readings, percents(chart.axis), ceiling=False) if readings else None


def _times(run: SavedRun, cell: SavedCell, headline: Multiple, chart: AgainstWorkers) -> Reading | None:
    """Return the number of successes, as a multiple of the number that one worker alone would have let through."""
    counted = cell.observed.find(headline.counted) if cell.observed and headline.counted else None
    if counted is None or chart.alone is None or not cell.history:
        return None
    one = chart.alone(read_history(run.path / cell.history), cell.parameters)
    told, what = figures.predicted(cell), headline.counted.title if headline.counted else ""
    said = f"{counted:g} {what}, where one worker alone gives {one:g}"
    tried = cell.observed.find(headline.tried) if cell.observed and headline.tried else None
    return Reading(
        cell=cell,
        value=counted / one,
        of=round(tried or 0),
        unit=headline.tried.title if headline.tried else "",
        predicted=None if told is None else told / one,
        said=said + ("" if told is None else f"; {told:g} predicted"),
    )


def _share(cell: SavedCell) -> Reading | None:
    part, told = figures.share(cell), figures.predicted(cell)
    if part is None:
        return None
    low, high = part.interval
    said = f"{part}" + ("" if told is None else f"; {percent(told)} predicted")
    headline = cell.declared.headline if cell.declared else None
    unit = headline.of.unit if isinstance(headline, Proportion) else ""
    return Reading(
        cell=cell, value=part.value, low=low, high=high, predicted=told, of=part.of, unit=unit, said=said
    )


def _against_workers(
    chart: AgainstWorkers, readings: Sequence[Reading], y: Axis, *, ceiling: bool
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
    label = f"{chart.title}, against workers: " + "; ".join(
        f"{r.cell.label} {r.value:.2g}" for r in readings if r.cell.connections == POLICIES[0]
    )
    return Picture(
        title=chart.title,
        svg=plot.svg(label),
        legend=legend,
        caption=f"{chart.caption} {_of(readings)}".strip(),
        marks=tuple(marks),
    )


def _of(readings: Sequence[Reading]) -> str:
    """Return the total that was counted for each mark."""
    counted = [reading.of for reading in readings if reading.of]
    if not counted:
        return ""
    return f"Each mark is one cell, of {_calls(counted)} {readings[0].unit}."


def _calls(counted: Sequence[int]) -> str:
    low, high = min(counted), max(counted)
    return f"{low:,}" if low == high else f"{low:,} to {high:,}"


def _cells(run: SavedRun, scenario: str, names: Collection[str]) -> Iterable[SavedCell]:
    return (
        cell
        for cell in run.cells
        if cell.scenario == scenario and cell.deployment in names and not cell.fault and cell.verdict
    )


def answered(run: SavedRun, names: Collection[str]) -> Picture | None:
    """Draw how many calls each worker of a deployment answered, over fresh connections and over pinned ones."""
    counts: dict[tuple[str, str], dict[str, dict[str, int]]] = defaultdict(lambda: defaultdict(dict))
    for row in run.tables.get("shares", ()):
        if row["deployment"] in names and row["connections"] in POLICIES:
            counts[row["deployment"], row["connections"]][row["scenario"]][row["worker"]] = int(
                row["requests"]
            )
    # scenarios may have had stacks of their own with other workers, so the cell with the most calls is shown
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
            plot.add("title", parent=bar).text = f"{title} ({percent(count / total)})"
            done += count
    said = [
        f"{deployment}, {policy.replace('_', ' ')}: the busiest {percent(calls[0] / sum(calls))}, "
        f"the idlest {percent(calls[-1] / sum(calls))} of {sum(calls)}"
        for (deployment, policy), calls in bars
    ]
    return Picture(
        title="Who answers",
        svg=plot.svg("Share of calls by worker. " + "; ".join(said)),
        legend=(),
        caption="Each box is one worker, as wide as its share of the calls of one cell, the busiest first. "
        f"A row counts {_calls([sum(calls) for _, calls in bars])} calls. {said[-1]}. "
        "Workers on one listening socket need not get equal shares, and a result depends on "
        "the worker that a call meets. So predictions use which worker answered, and not the number of workers alone.",
    )
