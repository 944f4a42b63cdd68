"""Keep a cell as a test: ``python tests/histories/save.py CELL_FOLDER NAME``.

NAME is ``good-…`` or ``bad-…``. What the checker says of it today is kept as what is expected: read it first.
"""

import shutil
import sys
from collections import Counter
from pathlib import Path

import msgspec

from kernel_lab.judge.verdict import Validity, Verdict
from kernel_lab.run.folder import CellFolder
from kernel_lab.run.judging import judge_cell

HERE = Path(__file__).parent


def expected(verdict: Verdict) -> dict:
    """What is compared: the verdict, the kinds of anomaly, the measures, and the smallest counter-example."""
    return {
        "validity": verdict.validity,
        "kinds": dict(sorted(Counter(anomaly.kind for anomaly in verdict.anomalies).items())),
        "counterexample": [line["index"] for line in verdict.counterexample],
        "measures": verdict.measures,
    }


def save(cell: Path, name: str) -> Path:
    [verdict] = judge_cell(cell)
    if (verdict.validity is Validity.INVALID) != name.startswith("bad-"):
        sys.exit(f"{cell} is {verdict.validity}: call it {'bad' if name.startswith('good') else 'good'}-…")
    folder = HERE / CellFolder(cell).read_cell().scenario / name
    folder.mkdir(parents=True)
    for file in ("cell.json", "history.jsonl"):
        shutil.copy(cell / file, folder / file)
    (folder / "expected.json").write_bytes(
        msgspec.json.format(msgspec.json.encode(expected(verdict)), indent=2) + b"\n"
    )
    return folder


if __name__ == "__main__":
    print(save(Path(sys.argv[1]), sys.argv[2]))
