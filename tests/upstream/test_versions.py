"""The table of versions is what was asked, and the probe answers on the pinned version as recorded."""

import csv
import json
import subprocess
import sys
from importlib.metadata import version

from kernel_lab.upstream import versions

PINNED = version("weaver-kernel")


def recorded() -> list[dict[str, str]]:
    with (versions.FOLDER / "versions.csv").open(encoding="utf-8") as file:
        return list(csv.DictReader(file))


def test_the_page_is_made_of_the_recorded_answers() -> None:
    page = (versions.FOLDER / "versions.md").read_text(encoding="utf-8")
    assert versions.filled(page, recorded()) == page


def test_every_version_was_asked_and_what_it_lacks_has_a_reason() -> None:
    rows = recorded()
    assert {row["version"] for row in rows} == set(versions.VERSIONS)
    assert versions.VERSIONS[-1] == PINNED
    assert [row for row in rows if (row["outcome"] == "skipped") != bool(row["reason"])] == []


def test_the_probe_says_of_the_pinned_version_what_is_recorded() -> None:
    probe = versions.Path(versions.__file__).with_name("probe.py")
    done = subprocess.run([sys.executable, probe], capture_output=True, text=True, check=True, timeout=60)
    claims = {
        row["subject"]: row["outcome"]
        for row in recorded()
        if row["kind"] == "claim" and row["version"] == PINNED
    }
    assert json.loads(done.stdout) == claims
