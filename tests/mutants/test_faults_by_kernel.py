"""The table in docs/how-it-judges.md that names a wrong kernel for each fault."""

import re
from pathlib import Path

from mutants.catalogue import ALL

PAGE = Path(__file__).resolve().parents[2] / "docs" / "how-it-judges.md"


def test_each_fault_has_wrong_kernels_and_all_of_them_exist():
    text = PAGE.read_text("utf-8").split("## Which wrong kernel stands for which fault")[1].split("\n## ")[0]
    rows = [line.split("|") for line in text.splitlines() if line.startswith("| ")][1:]
    assert len(rows) == 15
    for _, fault, kernels, *_ in rows:
        named = re.findall(r"`(\w+)`", kernels)
        assert named, fault
        assert set(named) <= set(ALL), fault
