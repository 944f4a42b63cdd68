"""The text that a load run prints."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from typing import Any

from rich.console import Console
from rich.table import Table

_WORDS = ("app", "deployment", "state", "mix")
"""Columns that hold no figures."""


QUIET_CORES = 0.2
"""If other programs use more cores than this, the run says that it was disturbed."""


def show(rows: Sequence[Mapping[str, Any]]) -> None:
    """Print a table for each mix and load step, and say whether other programs used the machine."""
    console = _console()
    for mix, step in dict.fromkeys((row["mix"], row["step"]) for row in rows if row["mix"]):
        shown = Table(title=f"{mix}, {step}", title_justify="left", box=None, pad_edge=False)
        for name in ("deployment", "calls/s", "p50 ms", "p99 ms", "CPU ms", "throughput", "CPU", "broke"):
            words = name in ("deployment", "throughput", "CPU", "broke")
            shown.add_column(name, justify="left" if words else "right", no_wrap=name != "broke")
        for row in rows:
            if (row["mix"], row["step"]) == (mix, step):
                figures = ("achieved_per_s", "all_p50_ms", "all_p99_ms", "cpu_ms_per_call")
                shown.add_row(
                    row["deployment"],
                    *(_number(row.get(name)) for name in figures),
                    *(_ratio(row, name) for name in ("throughput_vs_memory", "cpu_vs_memory")),
                    row["broken"] or ("-" if row["validity"] == "valid" else str(row["validity"])),
                )
        console.print(shown)
        console.print()
    others = max((row["others_cores"] for row in rows if row.get("others_cores") is not None), default=0.0)
    if others > QUIET_CORES:
        console.print(
            f"others used up to {others:.1f} of {os.cpu_count()} cores: a quiet machine would tell more"
        )


def _ratio(row: Mapping[str, Any], name: str) -> str:
    if row.get(name) is None:
        return ""
    return f"× {row[name]:.2f} ({row[f'{name}_low']:.2f}–{row[f'{name}_high']:.2f})"


def _number(value: float | None) -> str:
    return "" if value is None else f"{value:.3g}" if value < 100 else f"{value:.0f}"


def show_curve(rows: Sequence[Mapping[str, Any]], columns: Sequence[str]) -> None:
    """The rows as a table; an interval's ends stand behind its middle."""
    shown = Table(box=None, pad_edge=False)
    ends = [name for name in columns if f"{name}_low" in columns]
    kept = [name for name in columns if not name.endswith(("_low", "_high"))]
    for name in kept:
        shown.add_column(
            name.replace("_", " "),
            justify="right" if name not in _WORDS else "left",
        )
    for row in rows:
        shown.add_row(*(_cell(row, name, ends) for name in kept))
    _console().print(shown)


def _console() -> Console:
    """A console as wide as the terminal. Without a terminal it is wide enough for every column."""
    console = Console(highlight=False)
    return console if console.is_terminal else Console(highlight=False, width=150)


def _cell(row: Mapping[str, Any], name: str, ends: Sequence[str]) -> str:
    value = row.get(name)
    if value is None:
        return ""
    text = f"{value:.3g}" if isinstance(value, float) else str(value)
    return f"{text} ({row[f'{name}_low']:.2f}–{row[f'{name}_high']:.2f})" if name in ends else text
