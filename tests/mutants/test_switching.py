"""A kernel that is interrupted at every store call keeps all nine claims; stores that rely on it do not."""

import os
from collections import Counter

import pytest

from kernel_lab.judge.verdict import Validity
from kernel_lab.run import registry
from mutants.simulation import Trial, simulate
from mutants.switching import UNSAFE

RUNS = int(os.environ.get("LAB_TEST_SWITCHED", "18"))
"""10,000 are asked for where thoroughness is worth an hour (`make switched`)."""
CLAIMS = tuple(registry.scenarios())
SEEDS = -(-RUNS // len(CLAIMS))
IN_NO_STORE = ("capabilities", "stats")
"""No store holds them, so they are asked of one kernel that all workers have."""
BREAKS = {
    "limiter": ("rate_limit", "over_admission"),
    "revocations": ("revocation", "leak"),
    "handles": ("handles", "miss"),
    "traces": ("traces", "lost_trace"),
}


def judged(claim, folder, *, home, seed, kernel, waits=True):
    folder.mkdir()
    trial = Trial(scenario=registry.scenarios()[claim], home=home, seed=seed, kernel=kernel, waits=waits)
    return simulate(trial, folder)


@pytest.mark.timeout(120 + 10 * SEEDS)
@pytest.mark.parametrize("claim", CLAIMS)
def test_no_claim_breaks_when_every_store_call_lets_others_run(claim, tmp_path):
    found = Counter()
    for seed in range(1, SEEDS + 1):
        # four kernels on one file, and one kernel that serves everybody
        home = "one" if claim in IN_NO_STORE or seed % 2 == 0 else "each"
        folder = tmp_path / str(seed)
        verdict = judged(claim, folder, home=home, seed=seed, kernel="mutants.switching:build_kernel")
        found[home, verdict.validity] += 1
        assert verdict.validity is Validity.VALID, (home, seed, verdict.reason, verdict.anomalies[:1])
        for path in sorted(folder.rglob("*"), reverse=True):
            path.rmdir() if path.is_dir() else path.unlink()
    print(f"{claim}: {dict(found)}")


@pytest.mark.parametrize("kind", UNSAFE)
def test_a_store_that_relies_on_not_being_interrupted_is_caught(kind, tmp_path):
    claim, anomaly = BREAKS[kind]
    kernel = f"mutants.switching:build_unsafe_{kind}"
    broken = [
        judged(claim, tmp_path / f"w{seed}", home="one", seed=seed, kernel=kernel) for seed in range(1, 3)
    ]
    assert [verdict.validity for verdict in broken] == [Validity.INVALID] * 2
    assert anomaly in {one.kind for verdict in broken for one in verdict.anomalies}
    calm = judged(claim, tmp_path / "calm", home="one", seed=1, kernel=kernel, waits=False)
    assert calm.validity is Validity.VALID
