"""docs/claims.md: what libraries promise, and what was measured with one worker and with four.

Run it as ``python examples/claims.py RUNS…``: each RUNS is a folder of run folders, as ``make -C examples all``
leaves them there. Measured figures come from the first folder. The others are repetitions, and a row says how
many of them gave the same verdict. It writes ``examples/claims.csv``, and ``docs/claims.md`` from that alone.
"""

from __future__ import annotations

import csv
import json
import sys
from collections.abc import Iterable
from pathlib import Path

from kernel_lab.apps.mapping import read
from kernel_lab.judge.verdict import Validity, merge

HERE = Path(__file__).resolve().parent
TABLE, PAGE = HERE / "claims.csv", HERE.parent / "docs" / "claims.md"
COLUMNS = (
    "library", "version", "strategy", "store", "workers", "fault", "claim", "promises", "source", "measured",
    "validity", "same", "runs", "command",
)  # fmt: skip
WORDS = {
    Validity.VALID: "holds",
    Validity.INVALID: "**broken**",
    Validity.UNKNOWN: "unknown",
    Validity.SKIPPED: "–",
}
CLAIMS = {
    "rate_limit": "the limit holds",
    "revocation": "what was revoked is refused everywhere",
    "handles": "what was stored is found everywhere",
    "stats": "the counter is the deployment's",
}

INTRODUCTION = """\
This page is for somebody who uses one of these libraries, or chooses one. Afterwards you know which promise held with
one worker and with four, and which did not. `examples/claims.py` makes the page from recorded runs
(`examples/claims.csv`). Each row is a real service under gunicorn on one machine, with the library's own code from
PyPI. *Documented* says in our words what the documentation of the library says, with its source. A broken claim is no
defect of the library where its documentation says so.

*Measured* is the worst over three ways to connect: a new connection for each call, one kept connection for each
caller, and connections pinned to each worker. *Runs* says how many runs came to the same verdict. *Holds* means that
nothing in these runs contradicts the promise. A limit is judged by the rules of the kind that the library promises. So
a library with fixed windows may admit the limit twice around the boundary of two windows. [any-app.md](any-app.md)
describes the kinds. *Measured* names the largest number that any interval of the window's length may admit. A limit
within this number can still be broken, if one fixed window admitted more than the limit.
""".splitlines()

Row = dict[str, str]


def rows_of(run: Path, claim: str) -> list[Row]:
    """The cells of one claim of a run that were not skipped."""
    with (run / f"{claim}.csv").open(newline="", encoding="utf-8") as file:
        return [row for row in csv.DictReader(file) if row["validity"] != Validity.SKIPPED]


def measured(claim: str, rows: list[Row]) -> str:
    """What the worst cell measured, in one line."""
    if claim == "rate_limit":
        worst = max(rows, key=lambda row: int(row["certain_max"] or 0))
        limit, window_s = worst["limit"], worst["window_s"]
        allowed = worst.get("within_any_max") or limit
        return f"{worst['certain_max']} admitted within {window_s} s; the promise allows at most {allowed}"
    if claim == "revocation":
        worst = max(rows, key=lambda row: int(row["leaked_tokens"] or 0))
        return f"{worst['leaked_tokens']} of {worst['tokens']} revoked tokens accepted afterwards"
    if claim == "handles":
        worst = max(rows, key=lambda row: int(row["misses"] or 0))
        return f"{worst['misses']} of {worst['expansions']} look-ups did not find what was stored"
    worst = max(rows, key=lambda row: int(row["undercounts"] or 0))
    return f"{worst['undercounts']} of {worst['reports']} reports told less than had been counted"


def verdicts(run: Path, claim: str) -> dict[str, tuple[Validity, list[Row]]]:
    """By number of workers: the worst verdict over the connection policies, and its cells."""
    rows = rows_of(run, claim)
    return {
        workers: (merge(Validity(row["validity"]) for row in cells), cells)
        for workers in sorted({row["workers"] for row in rows}, key=int)
        if (cells := [row for row in rows if row["workers"] == workers])
    }


def collect(runs: list[Path]) -> Iterable[Row]:
    """A row for each example, claim and number of workers."""
    for path in sorted(path for path in HERE.glob("*/*.toml") if (path.parent / "requirements.txt").exists()):
        service = read(path)
        name = f"{path.parent.name}-{path.stem}"
        told = json.loads((runs[0] / name / "environment.json").read_text(encoding="utf-8"))["app"]
        for claim in service.claims():
            others = [verdicts(folder / name, claim) for folder in runs]
            for workers, (validity, cells) in others[0].items():
                about = {key: str(told[key]) for key in ("library", "version", "strategy", "store")}
                about |= {"promises": service.file.about.promises, "source": service.file.about.source}
                yield about | {
                    "workers": workers,
                    "fault": cells[0]["fault"],
                    "claim": claim,
                    "measured": measured(claim, cells),
                    "validity": validity,
                    "same": str(sum(other[workers][0] is validity for other in others)),
                    "runs": str(len(others)),
                    "command": f"make -C examples {path.parent.name}/{path.stem}",
                }


def page(rows: list[Row]) -> str:
    """The page, from the rows alone."""
    lines = [
        "# Claims put to the test",
        "",
        *INTRODUCTION,
        "",
        "| Library | Strategy | Store | Workers | Claim | Documented | Measured | Verdict | Runs | Try it |",
        "|---|---|---|---|---|---|---|---|---|---|",
    ]
    for row in rows:
        store = row["store"] + (f", with the fault `{row['fault']}`" if row["fault"] else "")
        lines.append(
            f"| {row['library']} {row['version']} | {row['strategy']} | {store} | {row['workers']} | "
            f"{CLAIMS[row['claim']]} | {row['promises']} [source]({row['source']}) | {row['measured']} | "
            f"{WORDS[Validity(row['validity'])]} | {row['same']} of {row['runs']} | `{row['command']}` |"
        )
    return "\n".join(lines) + "\n"


def read_table() -> list[Row]:
    """The committed rows."""
    with TABLE.open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def main(runs: list[Path]) -> None:
    """Collect the runs, if there are any, and write the page."""
    if runs:
        with TABLE.open("w", newline="", encoding="utf-8") as file:
            writer = csv.DictWriter(file, COLUMNS, lineterminator="\n")
            writer.writeheader()
            writer.writerows(collect(runs))
    PAGE.write_text(page(read_table()), encoding="utf-8")


if __name__ == "__main__":
    main([Path(argument) for argument in sys.argv[1:]])
