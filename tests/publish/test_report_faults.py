"""The page's row of what happens while the store is away."""

from __future__ import annotations

from types import SimpleNamespace

import pytest

from kernel_lab.publish.report.faults import store_away, timelines


def row(claim, validity, mode, fault="kill_store"):
    return {"deployment": "redis", "fault": fault, "claim": claim, "validity": validity, "mode": mode}


@pytest.mark.parametrize(
    ("rows", "said"),
    [
        ([row("tokens", "valid", "closed")], "kill store: nothing broke that held before"),
        (
            [row("tokens", "valid", "none"), row("rate_limit", "invalid", "open")],
            "kill store: fails open (rate limit)",
        ),
        (
            [row("tokens", "valid", "none"), row("traces", "unknown", "")],
            "kill store: nothing broke that held before, unknown (traces)",
        ),
        ([row("tokens", "invalid", "closed")], "kill store: refuses what is good (tokens)"),
        ([row("traces", "unknown", "")], "kill store: unknown (traces)"),
        ([row("traces", "skipped", "")], ""),
    ],
)
def test_a_claim_that_is_unknown_never_counts_as_one_that_held(rows, said):
    assert store_away(SimpleNamespace(tables={"faults": rows}), "redis") == said


def timed(at_ms, ok, failed, latency, in_force, deployment="redis"):
    return {
        "deployment": deployment, "fault": "kill_store", "at_ms": str(at_ms), "ok": str(ok), "refused": "0",
        "failed": str(failed), "latency_ms": latency, "in_force": in_force,
    }  # fmt: skip


def test_a_timeline_shades_the_fault_and_draws_what_was_measured():
    rows = [timed(-250, 5, 0, "2.5", "0"), timed(0, 0, 9, "", "1"), timed(500, 4, 0, "7", "0")]
    [found] = timelines(
        SimpleNamespace(tables={"fault_timeline": [*rows, timed(0, 1, 0, "1", "1", "single")]})
    )
    assert (found.fault, [name for name, *_ in found.pictures]) == ("kill_store", ["redis", "single"])
    _, said, drawn = found.pictures[0]
    counts = "18 calls: 9 answered, 0 refused, 9 failed"
    assert said == f"{counts}, from 0.25 s before the fault to 0.75 s after it began"
    picture = str(drawn)
    assert f'aria-label="redis under kill store: {said}"' in picture
    assert picture.count("<rect") == 1
    # nothing was called between 250 and 500 ms, and nothing came back at 0: every line is broken there
    assert picture.count("<polyline") == 3 * 2 + 2
    assert "36 calls/s" in picture
    assert "7 ms" in picture


def test_a_run_without_timelines_has_none():
    assert timelines(SimpleNamespace(tables={})) == []
