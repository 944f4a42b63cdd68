"""What a load run prints."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from rich.console import Console
from rich.table import Table

_WORDS = ("app", "deployment", "state", "mix")
"""Columns that hold no figures."""


def show(rows: Sequence[Mapping[str, Any]]) -> None:
    """A table per mix and load step."""
    console = Console(highlight=False)
    for mix, step in dict.fromkeys((row["mix"], row["step"]) for row in rows if row["mix"]):
        shown = Table(title=f"{mix}, {step}", title_justify="left", box=None, pad_edge=False)
        for name in ("deployment", "calls/s", "p50 ms", "p99 ms", "CPU ms/call", "against memory-4", "holds"):
            shown.add_column(
                name, justify="left" if name in ("deployment", "against memory-4", "holds") else "right"
            )
        for row in rows:
            if (row["mix"], row["step"]) == (mix, step):
                holds = f"not {row['broken']}" if row["broken"] else str(row["validity"])
                shown.add_row(
                    row["deployment"],
                    *(
                        _number(row.get(name))
                        for name in ("achieved_per_s", "all_p50_ms", "all_p99_ms", "cpu_ms_per_call")
                    ),
                    row["reading"],
                    holds,
                )
        console.print(shown)
        console.print()


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
    Console(highlight=False).print(shown)


def _cell(row: Mapping[str, Any], name: str, ends: Sequence[str]) -> str:
    value = row.get(name)
    if value is None:
        return ""
    text = f"{value:.3g}" if isinstance(value, float) else str(value)
    return f"{text} ({row[f'{name}_low']:.2f}–{row[f'{name}_high']:.2f})" if name in ends else text
