"""Draw the cost of a guarantee: deployments beside each other, and the effect of the distance to the store.

No ratio measured with the store on loopback is drawn where its curve against distance was not measured.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Collection, Mapping, Sequence

from kernel_lab.publish.charts import Picture
from kernel_lab.publish.charts.plot import Axis, Plot, from_zero
from kernel_lab.run.saved import Row, SavedRun

ROW_PX = 36
KEEPS, BREAKS = 0, 1
"""Series: an option that broke no claim under load, and one that broke some."""
LEGEND = ((KEEPS, "broke none of the claims below"), (BREAKS, "broke what is named"))


def frontier(run: SavedRun) -> Picture | None:
    """Throughput against the number of claims kept. A dominated option is pale."""
    return _dots(
        _options(run),
        "throughput_vs_memory",
        even=1.0,
        say=lambda value: f"× {value:.2f}",
        title="What it costs: throughput",
        axis="calls answered, as a multiple of memory-4's",
        caption="Each mark is the worst ratio over the mixes of load, with its 95 % interval and the store beside the "
        f"workers{_measured(run, {'closed'})}. A pale mark is dominated: another option keeps as many claims and "
        f"costs no more. {_claims(run)}",
    )


def added_latency(run: SavedRun) -> Picture | None:
    """Tail latency against the number of claims kept."""
    return _dots(
        _options(run),
        "added_p99_ms",
        even=0.0,
        say=lambda value: f"{value:+.1f} ms",
        title="What it costs: the slowest calls",
        axis="ms added to memory-4's 99th percentile",
        caption="Each mark is the worst over the mixes of load at a constant rate, with its 95 % interval"
        f"{_measured(run, {'rate'})}. Latency counts from the planned start, so a stall adds to every call that "
        f"should have started during it. {_claims(run)}",
    )


def _claims(run: SavedRun) -> str:
    """Return the claims that the marks are about. The matrix of the page has more."""
    tested = [name.replace("_", " ") for name, one in run.declared.items() if one.under_load]
    others = [name.replace("_", " ") for name, one in run.declared.items() if not one.under_load]
    said = f"Counted are the claims that a load session tests ({', '.join(tested)}), under load and in the matrix."
    return (
        f"{said} An option that broke none of them may break others: {', '.join(others)}." if others else said
    )


def _measured(run: SavedRun, steps: Collection[str]) -> str:
    """Return the smallest and the largest number of rounds and calls of one mix on one deployment."""
    options = {row["deployment"] for row in _options(run)}
    rows = [
        row for row in run.tables.get("cost", ()) if row["deployment"] in options and row["step"] in steps
    ]
    return _spread(rows, "rounds_counted", "calls")


def _spread(rows: Sequence[Row], rounds: str, calls: str) -> str:
    counted = [(int(row[rounds]), int(row[calls])) for row in rows if row.get(rounds) and row.get(calls)]
    if not counted:
        return ""
    each, all_calls = zip(*counted, strict=True)
    return f", from {_range(each)} rounds with {_range(all_calls)} calls for each mix"


def _range(values: Sequence[int]) -> str:
    low, high = min(values), max(values)
    return f"{low:,}" if low == high else f"{low:,} to {high:,}"


def _options(run: SavedRun) -> list[Row]:
    rows = run.tables.get("frontier", ()) if "cost_distance" in run.tables else ()
    return [row for row in rows if row["throughput_vs_memory"] and row["added_p99_ms"]]


def _dots(
    rows: Sequence[Row],
    column: str,
    *,
    even: float,
    say: Callable[[float], str],
    title: str,
    axis: str,
    caption: str,
) -> Picture | None:
    if not rows:
        return None
    rows = sorted(rows, key=lambda row: (bool(row["broken"]), -float(row["throughput_vs_memory"])))
    values = [float(row[column]) for row in rows]
    # an interval may be far wider than what was measured: it is cut at twice that
    most = max([even, *(abs(value) for value in values)]) * 2
    high = min(most, max([even, *(float(row[f"{column}_high"]) for row in rows)]))
    low = max(-most, min([0.0, *(float(row[f"{column}_low"]) for row in rows)]))
    x = from_zero(axis, [high])
    if low < 0:
        step = x.ticks[1][0]
        below = int(-low / step) + 1
        ticks = tuple((number * step, f"{number * step:g}") for number in range(-below, len(x.ticks)))
        x = Axis(title=axis, low=-below * step, high=x.high, ticks=ticks)
    plot = Plot(
        x=x,
        y=Axis(title="", low=0, high=len(rows), ticks=()),
        height=ROW_PX * len(rows) + 50,
        left=116,
        top=8,
    )
    plot.upright(even, 0, len(rows), cls="ceiling")
    for number, row in enumerate(rows):
        middle = len(rows) - number - 0.5
        value, series = float(row[column]), BREAKS if row["broken"] else KEEPS
        pale = " pale" if row["dominated_by"] else ""
        plot.write(row["deployment"], plot.left - 8, plot.py(middle) + 4, cls="tick end")
        if row["broken"]:
            claims = ", ".join(row["broken"].split()).replace("_", " ")
            plot.write(f"broke {claims}", plot.left + 4, plot.py(middle) + 18, cls="note")
        ends = (max(x.low, float(row[f"{column}_low"])), min(x.high, float(row[f"{column}_high"])))
        plot.level(middle, *ends, cls=f"interval s{series}{pale}")
        said = f"{row['deployment']}: {say(value)}"
        said += f" ({say(float(row[f'{column}_low']))} to {say(float(row[f'{column}_high']))})"
        said += f"; broke {row['broken']}" if row["broken"] else "; broke none of the claims under load"
        said += f"; dominated by {row['dominated_by']}" if row["dominated_by"] else ""
        plot.point(value, middle, series=series, title=said, cls=pale.strip())
    told = "; ".join(f"{row['deployment']} {say(float(row[column]))}" for row in rows)
    shown = {BREAKS if row["broken"] else KEEPS for row in rows}
    return Picture(
        title=title,
        svg=plot.svg(f"{title}. {told}"),
        legend=tuple(one for one in LEGEND if one[0] in shown),
        caption=caption,
        marks=("interval",),
    )


def distance(run: SavedRun, mix: str) -> Picture | None:
    """Throughput against the round trip to the store, of one mix."""
    curves: dict[str, list[Row]] = defaultdict(list)
    for row in run.tables.get("cost_distance", ()):
        if row["mix"] == mix and row["throughput_vs_memory"]:
            curves[row["deployment"]].append(row)
    curves = {name: rows for name, rows in curves.items() if len(rows) > 1}
    if not curves:
        return None
    far = max(float(row["rtt_ms"]) for rows in curves.values() for row in rows)
    best = max(float(row["throughput_vs_memory"]) for rows in curves.values() for row in rows)
    x = from_zero("added to each round trip to the store", [far], " ms")
    plot = Plot(x=x, y=from_zero("calls answered, as a multiple of memory-4's", [1.0, best]))
    plot.level(1.0, x.low, x.high, cls="ceiling")
    told = []
    for series, (name, rows) in enumerate(curves.items()):
        rows.sort(key=lambda row: float(row["rtt_ms"]))
        plot.line(
            [(float(r["rtt_ms"]), float(r["throughput_vs_memory"])) for r in rows], cls=f"line s{series}"
        )
        for row in rows:
            at, value = float(row["rtt_ms"]), float(row["throughput_vs_memory"])
            low, high = (float(row[f"throughput_vs_memory_{end}"]) for end in ("low", "high"))
            plot.upright(at, low, min(high, plot.y.high), cls=f"interval s{series}")
            said = f"{name}, {at:g} ms: × {value:.2f} ({low:.2f} to {high:.2f})"
            if row["blocked_ms_per_call"]:
                said += f"; a call blocks its worker for {float(row['blocked_ms_per_call']):.2f} ms"
            plot.point(at, value, series=series, title=said)
            told.append(f"{name} at {at:g} ms × {value:.2f}")
    return Picture(
        title=f"What distance costs: {mix.replace('-', ' ')}",
        svg=plot.svg(f"Throughput of {mix} against the round trip to the store: " + "; ".join(told)),
        legend=tuple(enumerate(curves)),
        caption=_why_far(curves),
        marks=("interval",),
    )


def _why_far(curves: Mapping[str, Sequence[Row]]) -> str:
    rows = [row for some in curves.values() for row in some]
    blocking = [name for name, some in curves.items() if any(row["blocked_ms_per_call"] for row in some)]
    measured = _spread(rows, "rounds", "calls").replace(" for each mix", " for each mark")
    said = (
        f"Each mark compares a deployment with memory-4 in paired rounds, with its 95 % interval{measured}. "
    )
    if blocking:
        said += (
            f"In {', '.join(blocking)} each round trip to the store blocks a worker's event loop, so a worker cannot "
            "answer more than 1 / (round trips × time of one). "
        )
    others = [name for name in curves if name not in blocking]
    if others:
        said += f"In {', '.join(others)} a worker serves other requests while it waits for the store."
    return said.strip()
