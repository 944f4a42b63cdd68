"""A small run folder, made by the harness's own functions from histories written by hand.

One worker that is right, two workers that are not, a deployment this machine could not start, and a cell in
which nothing was asked.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import msgspec

from kernel_lab.judge.verdict import Cell, DeploymentFacts, Validity
from kernel_lab.publish.report import Subjects
from kernel_lab.publish.reporting import CONTROLS, FRONT
from kernel_lab.run import judging as judge
from kernel_lab.run import registry
from kernel_lab.run.folder import RunFolder
from kernel_lab.run.results import CellResult, with_verdict, write_csvs

MS = 1_000_000
ONE, TWO = "r0/11/aa", "r0/22/bb"
ABOUT = {
    "started": "2026-01-02T03:04:05+00:00", "finished": "2026-01-02T03:05:06+00:00",
    "commit": "c0ffee" * 6 + "abcd", "changed_files": 0, "python": "3.12.0", "platform": "Linux 6 x86_64",
    "cores": 2, "load_average": 0.1, "packages": {"weaver-kernel": "0.12.0", "gunicorn": "27.0.1"},
    "arguments": ["run", "--quick", "--out", "/home/somebody/there"], "seed": 1,
    "settings": {"LAB_STATE": "memory://"},
}  # fmt: skip
PARAMETERS = {
    "rate_limit": {"limit": 1, "window_s": 2.0},
    "revocation": {"token_ttl_s": 3600, "token_ttls": {"brief": 0.6}},
    "handles": {"handle_ttl_s": 3600},
}


def call(f: str, worker: str, call_ms: float, return_ms: float, **rest: Any) -> dict[str, Any]:
    """One history line; ``asked`` is its input, ``said`` its output, ``error`` why it was refused."""
    error = rest.get("error")
    return {
        "client": "c0", "f": f, "input": rest["asked"], "output": rest.get("said"),
        "outcome": "fail" if error else "ok", "call_ns": int(call_ms * MS), "return_ns": int(return_ms * MS),
        "worker": worker, "connection": "k0", "error": error,
    }  # fmt: skip


def grant(worker: str, at: float, token: str, *, of: str = "c", error: str | None = None) -> dict[str, Any]:
    said = {"token_id": token}
    return call(
        "grant", worker, at, at + 5, asked={"principal": "p", "capability": of}, said=said, error=error
    )


def invoke(worker: str, at: float, token: str, *, of: str = "c", error: str | None = None) -> dict[str, Any]:
    asked = {"token_id": token, "principal": "p", "capability": of}
    said = {"action_id": f"a{at}", "handle_id": f"h-{token}"}
    return call("invoke", worker, at, at + 5, asked=asked, said=said, error=error)


def revoke(worker: str, at: float, token: str) -> dict[str, Any]:
    return call("revoke", worker, at, at + 5, asked={"token_id": token})


def expand(worker: str, at: float, token: str, *, error: str | None = None) -> dict[str, Any]:
    asked = {"handle_id": f"h-{token}", "principal": "p"}
    return call("expand", worker, at, at + 5, asked=asked, said={"rows": 1}, error=error)


def stale(accepting: str | None) -> list[dict[str, Any]]:
    """A token of 0.6 s, revoked on one worker and asked for everywhere until it has expired."""
    lines = [grant(ONE, 0, "t", of="brief"), revoke(ONE, 10, "t")]
    for step in range(7):
        for worker in dict.fromkeys((ONE, accepting or ONE)):
            error = None if worker == accepting else "token_revoked"
            if step == 6:
                error = "token_expired"
            lines.append(invoke(worker, 20 + 100 * step + (worker == TWO) * 10, "t", of="brief", error=error))
    return lines


HISTORIES: dict[tuple[str, str, str], list[dict[str, Any]]] = {
    ("rate_limit", "single", "round_robin"): [
        grant(ONE, 0, "t0"), grant(ONE, 10, "t1", error="rate_limited"), grant(ONE, 2100, "t2"),
    ],
    ("rate_limit", "memory-2", "round_robin"): [
        grant(ONE, 0, "t0"), grant(TWO, 3, "t1"), grant(ONE, 20, "t2", error="rate_limited"),
    ],
    ("rate_limit", "memory-2", "keep_alive"): [
        grant(ONE, 0, "t0"), grant(ONE, 10, "t1", error="rate_limited"),
    ],
    ("revocation", "single", "round_robin"): stale(None),
    ("revocation", "memory-2", "round_robin"): stale(TWO),
    ("handles", "single", "round_robin"): [invoke(ONE, 0, "t"), expand(ONE, 10, "t"), expand(ONE, 20, "t")],
    ("handles", "memory-2", "round_robin"): [
        invoke(ONE, 0, "t"), expand(ONE, 10, "t"), expand(TWO, 20, "t", error="handle_not_found"),
    ],
    ("handles", "memory-2", "fresh"): [],
}  # fmt: skip
PREDICTED = {
    "rate_limit": {"predicted_admitted": 2.0},
    "revocation": {"predicted_leak_rate": 0.5},
    "handles": {"predicted_miss_rate": 0.5},
}


def make_run(folder: Path) -> Path:
    """Write the run folder, all but its page."""
    results = [_cell(folder, place, lines) for place, lines in HISTORIES.items()]
    away = {"validity": Validity.SKIPPED, "expected": None, "reason": "no redis-server on this machine"}
    results += [
        msgspec.structs.replace(_blank(scenario, "redis", "round_robin"), **away)
        for scenario in ("rate_limit", "handles")
    ]
    write_csvs(RunFolder(folder), results, registry.scenarios().values())
    RunFolder(folder).write_environment(ABOUT)
    return folder


def subjects() -> Subjects:
    return Subjects(
        scenarios=registry.scenarios(),
        deployments=registry.deployments(),
        front=FRONT,
        controls=CONTROLS,
    )


def _blank(scenario: str, deployment: str, connections: str) -> CellResult:
    known = registry.deployments()[deployment]
    return CellResult(
        run="made", scenario=scenario, deployment=deployment, state=known.state, workers=known.workers,
        replicas=known.replicas, routing=known.routing, connections=connections, claim=scenario,
        shares={ONE: 30, TWO: 10} if known.workers > 1 else {ONE: 40},
    )  # fmt: skip


def _cell(folder: Path, place: tuple[str, str, str], lines: list[dict[str, Any]]) -> CellResult:
    scenario, deployment, connections = place
    blank = _blank(*place)
    cell = RunFolder(folder).cell(scenario, deployment, connections)
    cell.create()
    facts = Cell(
        scenario=scenario,
        deployment=DeploymentFacts(
            name=deployment, state=blank.state, workers=blank.workers, replicas=1, routing="direct"
        ),
        connections=connections,
        parameters=PARAMETERS[scenario],
    )
    cell.write_cell(facts)
    numbered = [{"index": index, **line} for index, line in enumerate(lines)]
    cell.recorded.write_bytes(b"".join(msgspec.json.encode(line) + b"\n" for line in numbered))
    verdicts = judge.judge_cell(cell)
    cell.write_verdict(verdicts)
    predicted = PREDICTED[scenario] if deployment == "memory-2" else {}
    predicted = predicted | registry.scenarios()[scenario].compared({**verdicts[0].measures, **predicted})
    return with_verdict(msgspec.structs.replace(blank, expected=verdicts[0].validity), verdicts[0], predicted)
