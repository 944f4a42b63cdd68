"""The page's row of what happens while the store is away."""

from __future__ import annotations

from types import SimpleNamespace

import pytest

from kernel_lab.publish.report.faults import store_away


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
