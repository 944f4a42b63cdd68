"""The docs' table of ``convergence.csv``: what an operator may promise of each deployment."""

from __future__ import annotations

from collections.abc import Iterable

from kernel_lab import markdown
from kernel_lab.judge.lag import End
from kernel_lab.run.saved import Row, SavedRun

OF_A_REFUSAL = ("p50_ms", "p99_ms", "max_ms", "p99_high_ms", "max_covers")
"""Columns that are empty where a token ended by expiry alone."""


def without_lifetimes(rows: Iterable[Row]) -> list[Row]:
    """The rows of ``convergence.csv`` by today's definition.

    An earlier definition counted a revocation that only expiry ended with the life of the measurement's own
    token. Which of the figures of such a row came from a refusal cannot be told from the row, so all of them
    are emptied.
    """
    emptied = dict.fromkeys(OF_A_REFUSAL, "")
    return [{**row, **emptied} if row.get("end") == End.EXPIRY else row for row in rows]


def table(run: SavedRun) -> str:
    """One row for each case.

    Where expiry alone ends a token, no time is shown, because it would be the life of our test's token.
    """
    rows = run.tables.get("convergence", ())
    head = [
        "deployment",
        "states",
        "every worker refuses: p50",
        "p99",
        "maximum",
        "the maximum covers",
        "bracket",
    ]
    if not rows:
        return markdown.table([["what"], ["not measured in this run"]])
    return markdown.table([head, *(_row(row) for row in rows)])


def _row(row: Row) -> list[str]:
    stated = row["max_stale_ms"]
    head = [f"`{row['deployment']}`", f"{int(stated):,} ms" if stated else ""]
    if row["reason"]:
        return [*head, f"not measured: {row['reason']}", "", "", "", ""]
    width = _ms(row["width_p50_ms"])
    count, expired, not_seen = row["revocations"], row["expired"], row["not_seen"]
    if row["end"] != "refusal":
        lost = [
            f"{many} of {count} {what}"
            for many, what in ((expired, "ended by expiry alone"), (not_seen, "not seen to end"))
            if many != "0"
        ]
        return [*head, "; ".join(lost), "no bound but expiry", "no bound but expiry", "", width]
    share = f"{100 * float(row['max_covers']):.1f} % of all (n = {count})"
    figures = [_ms(row[column]) for column in ("p50_ms", "p99_ms", "max_ms")]
    return [*head, *figures, share, width]


def _ms(field: str) -> str:
    return f"{float(field):.1f} ms" if field else "not seen"
