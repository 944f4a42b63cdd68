"""A few cells of the committed reference run: a run folder that is read in milliseconds."""

import csv
import json
import shutil
from pathlib import Path

REFERENCE = Path(__file__).resolve().parents[2] / "results" / "reference"
CLAIMS = ("tokens", "rate_limit", "revocation")
DEPLOYMENTS = ("single", "memory-4", "redis")


def few_cells(path, *, quick=False):
    """Copy the cells of three claims on three deployments out of the reference run."""
    path.mkdir(parents=True)
    about = json.loads((REFERENCE / "environment.json").read_text())
    (path / "environment.json").write_text(json.dumps(about | {"quick": quick}))
    for name in ("verdicts", "shares", *CLAIMS):
        with (REFERENCE / f"{name}.csv").open(newline="") as file:
            reader = csv.DictReader(file)
            rows = [
                row
                for row in reader
                if row["deployment"] in DEPLOYMENTS and row.get("scenario", name) in CLAIMS
            ]
            columns = reader.fieldnames
        with (path / f"{name}.csv").open("w", newline="") as file:
            writer = csv.DictWriter(file, columns, lineterminator="\n")
            writer.writeheader()
            writer.writerows(rows)
    for claim in CLAIMS:
        for deployment in DEPLOYMENTS:
            for cell in (REFERENCE / "cells" / claim).glob(f"{deployment}-*"):
                shutil.copytree(cell, path / "cells" / claim / cell.name)
    return path
