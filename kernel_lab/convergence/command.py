"""kernel-lab convergence: measure it for each deployment and write ``convergence.csv``."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from kernel_lab.bad_input import BadInput
from kernel_lab.convergence.measure import COLUMNS, Case, measure, planned
from kernel_lab.deployments import StackFailed
from kernel_lab.run import environment, registry
from kernel_lab.run.folder import RunFolder
from kernel_lab.run.results import write_rows

LEAST = 200
"""The number of revocations of a case. With fewer, the longest time says too little about all of them
(`kernel_lab.convergence.promise`)."""


async def run(
    *, names: Sequence[str], revocations: int, out: Path | None, least: int = LEAST
) -> list[dict[str, Any]]:
    """Measure every case of the named deployments, or of all, and write the table after each.

    Raises:
        BadInput: A name is unknown, there are too few revocations, or the folder is taken.
    """
    folder = _checked(names, revocations, least, out)
    known = registry.deployments()
    cases = list(planned({name: one for name, one in known.items() if not names or name in names}))
    about = environment.describe(registry.checkout()) | {
        "arguments": sys.argv[1:],
        "settings": registry.settings(quick=False) | {"revocations": str(revocations)},
    }
    rows: list[dict[str, Any]] = []
    for case in cases:
        rows.append(await _one(case, folder, revocations))
        print(said(rows[-1]), flush=True)
        write_rows(RunFolder(folder).table("convergence"), COLUMNS, rows)
    about["finished"] = datetime.now(tz=UTC).isoformat(timespec="seconds")
    RunFolder(folder).write_environment(about)
    print(f"written: {RunFolder(folder).table('convergence')}")
    return rows


def said(row: dict[str, Any]) -> str:
    """A row as one line of text."""
    stale = f" (states {row['max_stale_ms']} ms)" if row["max_stale_ms"] is not None else ""
    head = f"{row['deployment']}{stale}"
    if row.get("reason"):
        return f"{head}: not measured: {row['reason']}"
    if row["max_ms"] is None:
        ended = f"; {row['expired']} ended only when the token expired" if row["expired"] else ""
        never = f"; {row['not_seen']} were not seen to end" if row["not_seen"] else ""
        missing = row["expired"] + row["not_seen"]
        return (
            f"{head}: {missing} of {row['revocations']} revocations were not refused everywhere{ended}{never}"
        )
    return (
        f"{head}: every worker refused after p50 {row['p50_ms']:.1f}, p99 {row['p99_ms']:.1f}, at most "
        f"{row['max_ms']:.1f} ms, of {row['revocations']}; bracket {row['width_p50_ms']:.1f} ms"
    )


async def _one(case: Case, folder: Path, revocations: int) -> dict[str, Any]:
    """The row of one case. If the case failed, the row says why."""
    try:
        return await measure(case, folder, revocations=revocations)
    except (StackFailed, TimeoutError) as error:
        return {
            "deployment": case.deployment.name,
            "state": case.deployment.state_name,
            "max_stale_ms": case.max_stale_ms,
            "reason": " ".join(f"{type(error).__name__}: {error}".split()),
        }


def _checked(names: Sequence[str], revocations: int, least: int, out: Path | None) -> Path:
    known = registry.deployments()
    if unknown := [name for name in names if name not in known]:
        raise BadInput(f"no deployment is named {unknown[0]!r}; one of: {', '.join(known)}")
    if revocations < least:
        raise BadInput(
            f"{revocations} revocations are too few to promise anything: at least {least} are needed"
        )
    stamp = datetime.now(tz=UTC).strftime("%Y%m%dT%H%M%SZ")
    folder = (out or registry.results() / f"convergence-{stamp}").absolute()
    RunFolder(folder).create()
    return folder
