"""The tables of docs/cost.md, as a run's CSVs have them."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

from kernel_lab import markdown
from kernel_lab.run.saved import Row, SavedRun

NOTHING = "not measured in this run"


def deployments(run: SavedRun) -> str:
    """One row for each deployment: its cost relative to memory-4, and the claims that broke under the load."""
    rows = _by_key(run, "cost")
    names = list(dict.fromkeys(row["deployment"] for row in run.tables.get("cost", ())))
    head = [
        "deployment", "read-heavy: throughput", "CPU per call", "grant-heavy: throughput", "CPU per call",
        "added p99, grant-heavy", "broke under load",
    ]  # fmt: skip
    body = []
    for name in names:
        reads, grants, steady = (
            rows.get((name, mix, step), {})
            for mix, step in (("read-heavy", "closed"), ("grant-heavy", "closed"), ("grant-heavy", "rate"))
        )
        body.append(
            [
                name,
                *(ratio(row, column) for row in (reads, grants) for column in _AGAINST),
                _added(steady),
                _broke(next(row for row in run.tables["cost"] if row["deployment"] == name)),
            ]
        )
    return _table(head, body)


_AGAINST = ("throughput_vs_memory", "cpu_vs_memory")


def close_look(run: SavedRun) -> str:
    """One operation alone, in the deployments that share: throughput and CPU per call against memory-4."""
    rows = _by_key(run, "cost")
    mixes = ("invoke-200", "invoke-10", "grant")
    names = [name for name, mix, _ in rows if mix == "grant"]
    head = ["deployment", *(f"{mix}: {what}" for mix in mixes for what in ("throughput", "CPU per call"))]
    body = [
        [name, *(ratio(rows.get((name, mix, "closed"), {}), column) for mix in mixes for column in _AGAINST)]
        for name in names
    ]
    return _table(head, body)


def needs(run: SavedRun) -> str:
    """A row per deployment: memory, and CPU per call of workers, store and balancer."""
    rows = _by_key(run, "cost")
    names = list(dict.fromkeys(row["deployment"] for row in run.tables.get("cost", ())))
    mixes = ("read-heavy", "grant-heavy")
    parts = ("workers", "store", "balancer")
    head = ["deployment", "workers' memory", "store's", "balancer's"]
    head += [f"{mix}: CPU per call, {' + '.join(parts)}" for mix in mixes]
    body = []
    for name in names:
        its = [rows.get((name, mix, "closed"), {}) for mix in mixes]
        memory = [_figure(its[0], f"{part}_mb", " MB") for part in parts]
        spent = [[row.get(f"{part}_cpu_ms_per_call") for part in parts] for row in its]
        told = [" + ".join(f"{float(ms):.2f}" for ms in each if ms) for each in spent]
        body.append([name, *memory, *(f"{each} ms" if each else "–" for each in told)])
    return _table(head, body)


AGAINST_MEMORY = ("CPU per call, against memory-4", "throughput, against memory-4", "reached")


def _against_memory(row: Mapping[str, str]) -> tuple[str, str, str]:
    """The cells below `AGAINST_MEMORY`."""
    return (
        ratio(row, "cpu_vs_memory"),
        ratio(row, "throughput_vs_memory"),
        _figure(row, "achieved_per_s", "/s"),
    )


def distance(run: SavedRun) -> str:
    """A row per round trip: the CPU time, then the blocked time, the ceiling and the measured throughput."""
    head = [
        "deployment", "mix", "round trip added", "as measured", *AGAINST_MEMORY, "round trips per call",
        "blocked per call", "ceiling", "CPU of the proxy per call",
    ]  # fmt: skip
    body = [
        [
            row["deployment"],
            row["mix"],
            f"{row['rtt_ms']} ms" if row["ping_ms"] else "–",
            _figure(row, "ping_ms", " ms"),
            *_against_memory(row),
            _figure(row, "store_calls_per_call"),
            _figure(row, "blocked_ms_per_call", " ms"),
            _figure(row, "ceiling_per_s", "/s"),
            _figure(row, "proxy_cpu_ms_per_call", " ms"),
        ]
        for row in run.tables.get("cost_distance", ())
        if row["mix"]
    ]
    return _table(head, body)


AIMS: Mapping[tuple[str, str], tuple[float, float, float]] = {
    ("grant", "redis"): (0.70, 0.65, 0.50),
    ("invoke-10", "redis"): (0.75, 0.70, 0.60),
    ("invoke-10", "redis-cached"): (0.85, 0.80, 0.70),
    ("invoke-200", "redis"): (0.92, 0.90, 0.85),
}
"""The aimed throughput, as a share of memory-4's, at the distances of `AIMED_AT_MS`."""
AIMED_AT_MS = (0.0, 1.0, 5.0)
AIMED_AT_CALLERS = "64"


def aims(run: SavedRun) -> str:
    """One row for each kind of work: the aimed figure and the measured figure, near the store and far from it."""
    rows = {
        (row["mix"], row["deployment"], row["rtt_ms"]): row
        for row in run.tables.get("cost_distance", ())
        if row.get("callers") == AIMED_AT_CALLERS
    }
    head = ["work", "deployment", *(f"{rtt_ms:g} ms" for rtt_ms in AIMED_AT_MS)]
    body = [
        [
            mix,
            f"`{name}`",
            *(
                _aim(rows.get((mix, name, f"{at:g}"), {}), aim)
                for at, aim in zip(AIMED_AT_MS, its, strict=True)
            ),
        ]
        for (mix, name), its in AIMS.items()
        if rows
    ]
    return _table(head, body)


def _aim(row: Mapping[str, str], aim: float) -> str:
    """An aim, what was measured, and whether the interval reaches it."""
    if not row.get("throughput_vs_memory"):
        return f"≥ {aim:.2f}: {NOTHING}"
    value, low, high = (float(row[f"throughput_vs_memory{end}"]) for end in ("", "_low", "_high"))
    word = "reached" if value >= aim else "within the interval" if high >= aim else "missed"
    return f"≥ {aim:.2f}: × {value:.2f} ({low:.2f}–{high:.2f}), {word}"


def callers(run: SavedRun) -> str:
    """A row per deployment and number of callers."""
    head = ["deployment", "mix", "callers", *AGAINST_MEMORY, "p50", "p99"]
    body = [
        [
            row["deployment"],
            row["mix"],
            row["callers"],
            *_against_memory(row),
            _figure(row, "p50_ms", " ms"),
            _figure(row, "p99_ms", " ms"),
        ]
        for row in run.tables.get("cost_callers", ())
        if row["mix"]
    ]
    return _table(head, body)


def workers(run: SavedRun) -> str:
    """A row per state and number of workers."""
    head = ["deployment", "workers", "mix", "reached", "against one worker", "CPU per call", "p99", "memory"]
    body = [
        [
            row["deployment"].removesuffix("-4"),
            row["workers"],
            row["mix"],
            _figure(row, "achieved_per_s", "/s"),
            ratio(row, "throughput_vs_one"),
            _figure(row, "cpu_ms_per_call", " ms"),
            _figure(row, "p99_ms", " ms"),
            _figure(row, "workers_mb", " MB"),
        ]
        for row in run.tables.get("cost_workers", ())
    ]
    return _table(head, body)


def size(run: SavedRun) -> str:
    """One row for each kind of state and the amount that it held at the start."""
    head = ["deployment", "held", "mix", "throughput against empty", "CPU against empty", "CPU per call"]
    body = [
        [
            row["deployment"],
            _held(row),
            row["mix"],
            ratio(row, "throughput_vs_empty"),
            ratio(row, "cpu_vs_empty"),
            _figure(row, "cpu_ms_per_call", " ms"),
        ]
        for row in run.tables.get("cost_size", ())
    ]
    return _table(head, body)


def app(run: SavedRun) -> str:
    """Our app beside the bare handler."""
    head = ["mix", "app: CPU per call", "bare: CPU per call", "app's throughput", "app's CPU"]
    rows = {(row["app"], row["mix"]): row for row in run.tables.get("cost_app", ())}
    body = [
        [
            mix,
            _figure(rows["app", mix], "cpu_ms_per_call", " ms"),
            _figure(rows["bare", mix], "cpu_ms_per_call", " ms"),
            ratio(rows["app", mix], "throughput_vs_bare"),
            ratio(rows["app", mix], "cpu_vs_bare"),
        ]
        for name, mix in rows
        if name == "app"
    ]
    return _table(head, body)


def frontier(run: SavedRun) -> str:
    """A row for each deployment: the claims that it broke, what it costs, and the deployments that dominate it."""
    head = [
        "deployment",
        "broke, of the claims that load tests",
        "throughput, worst mix",
        "added p99, worst mix",
        "dominated by",
    ]
    body = [
        [
            row["deployment"],
            row["broken"] or "nothing",
            ratio(row, "throughput_vs_memory"),
            _added(row),
            row["dominated_by"] or "–",
        ]
        for row in run.tables.get("frontier", ())
    ]
    return _table(head, body)


def trust(run: SavedRun) -> str:
    """Return facts about every timing: the noise, other programs on the machine, the load generator."""
    rows = run.tables.get("cost", ())
    head = ["mix", "step", "offered", "A/A noise: throughput", "CPU", "generator's share", "others", "stolen"]
    body = []
    for mix, step in dict.fromkeys((row["mix"], row["step"]) for row in rows if row["mix"]):
        its = [row for row in rows if (row["mix"], row["step"]) == (mix, step)]
        first = its[0]
        body.append(
            [
                mix,
                step,
                _figure(first, "offered_per_s", "/s") if step == "rate" else "as fast as they answer",
                _noise(first, "noise_throughput"),
                _noise(first, "noise_cpu"),
                f"{100 * max(float(row['generator_share']) for row in its):.0f} % at most",
                f"{max(float(row['others_cores']) for row in its):.2f} cores at most",
                f"{max(float(row['stolen_cores']) for row in its):.2f} cores at most",
            ]
        )
    return _table(head, body)


def state_calls(run: SavedRun) -> str:
    """One row for each store call: its time in each kind of state, within one process."""
    rows = run.tables.get("state", ())
    states = list(dict.fromkeys(row["state"] for row in rows))
    found = {(row["call"], row["state"]): row for row in rows}
    body = []
    for call in dict.fromkeys(row["call"] for row in rows):
        cells = [found[call, state] for state in states]
        body.append(
            [
                call.replace("_", " "),
                f"{float(cells[0]['wall_us']):,.0f} µs",
                *(f"{float(cell['wall_us']):,.0f} µs ({_times(cell['times_memory'])})" for cell in cells[1:]),
            ]
        )
    return _table(["call", *states], body)


def _times(ratio: str) -> str:
    value = float(ratio)
    return f"× {value:,.0f}" if value >= 9.95 else f"× {value:.1f}"


TABLES: Mapping[str, Callable[[SavedRun], str]] = {
    "cost": deployments,
    "cost-close": close_look,
    "cost-aims": aims,
    "cost-callers": callers,
    "cost-distance": distance,
    "cost-needs": needs,
    "cost-workers": workers,
    "cost-size": size,
    "cost-app": app,
    "cost-frontier": frontier,
    "cost-trust": trust,
    "state-calls": state_calls,
}


def _table(head: Sequence[str], body: Sequence[Sequence[str]]) -> str:
    return markdown.table([head, *(body or [[NOTHING, *[""] * (len(head) - 1)]])])


def _by_key(run: SavedRun, table: str) -> dict[tuple[str, str, str], Row]:
    return {(row["deployment"], row["mix"], row["step"]): row for row in run.tables.get(table, ())}


def ratio(row: Mapping[str, str], column: str) -> str:
    """``× 0.84 (0.80–0.88)``; a dash where nothing is compared.

    Where the interval holds 1, or lies within the noise of the A/A control, no difference was measured, and the
    text says so instead of a number that would be read as one.
    """
    if not row.get(column):
        return "–"
    low, high = row.get(f"{column}_low"), row.get(f"{column}_high")
    if not low or not high:
        return f"× {float(row[column]):.2f}, one measurement"
    between = f"({float(low):.2f}–{float(high):.2f})"
    noise = float(row.get(_NOISE.get(column, "")) or 1)
    if float(low) <= 1 <= float(high) or 1 / noise <= float(low) <= float(high) <= noise:
        return f"no difference {between}"
    return f"× {float(row[column]):.2f} {between}"


_NOISE = {"throughput_vs_memory": "noise_throughput", "cpu_vs_memory": "noise_cpu"}
"""The column with the distance of the A/A control's interval from 1, for each ratio."""


def _added(row: Mapping[str, str]) -> str:
    if not row.get("added_p99_ms"):
        return "–"
    low, high = float(row["added_p99_ms_low"]), float(row["added_p99_ms_high"])
    if low <= 0 <= high:
        return f"no difference ({low:+.1f} to {high:+.1f} ms)"
    return f"{float(row['added_p99_ms']):+.1f} ms ({low:+.1f} to {high:+.1f})"


def _figure(row: Mapping[str, str], column: str, unit: str = "") -> str:
    text = row.get(column)
    if not text:
        return "–"
    value = float(text)
    return f"{value:,.0f}{unit}" if value >= 100 else f"{value:.3g}{unit}"


def _noise(row: Mapping[str, str], column: str) -> str:
    return f"± {100 * (float(row[column]) - 1):.0f} %" if row.get(column) else "–"


def _broke(row: Mapping[str, str]) -> str:
    return (row["broken"] or "nothing") if row.get("validity") else f"not run: {row.get('reason')}"


def _held(row: Mapping[str, str]) -> str:
    if row.get("window_entries"):
        return f"{int(row['window_entries']):,} entries in one window, one worker"
    return f"{int(row['handles']):,} handles, {int(row['tokens']):,} tokens" if row.get("handles") else ""
