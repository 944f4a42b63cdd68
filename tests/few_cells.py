"""A few cells of the committed reference run: a run folder that is read in milliseconds."""

import csv
import json
import shutil
from pathlib import Path

REFERENCE = Path(__file__).resolve().parents[1] / "results" / "reference"
CLAIMS = ("tokens", "rate_limit", "revocation")
DEPLOYMENTS = ("single", "memory-4", "redis")


def few_cells(path, *, claims=CLAIMS, tables=("verdicts", "shares"), edit=lambda name, row: row, **about):
    """Copy the cells of some claims on three deployments out of the reference run.

    `tables` are its CSVs beside the claims' own, `edit` changes a row, and `about` stands in ``environment.json``.
    """
    path.mkdir(parents=True)
    facts = json.loads((REFERENCE / "environment.json").read_text())
    (path / "environment.json").write_text(json.dumps(facts | about))
    for name in (*tables, *claims):
        with (REFERENCE / f"{name}.csv").open(newline="") as file:
            reader = csv.DictReader(file)
            rows = [
                edit(name, row)
                for row in reader
                if row["deployment"] in DEPLOYMENTS and row.get("scenario", claims[0]) in claims
            ]
            columns = reader.fieldnames
        with (path / f"{name}.csv").open("w", newline="") as file:
            writer = csv.DictWriter(file, columns, lineterminator="\n")
            writer.writeheader()
            writer.writerows(rows)
    for claim in claims:
        for deployment in DEPLOYMENTS:
            for cell in (REFERENCE / "cells" / claim).glob(f"{deployment}-*"):
                shutil.copytree(cell, path / "cells" / claim / cell.name)
    return path
