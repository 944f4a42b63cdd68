"""The lab bites wrong kernels and lets right ones pass. All of them: ``make teeth``."""

from __future__ import annotations

import inspect
import logging
import re
from pathlib import Path

import pytest

from kernel_lab.judge.history import Outcome, read_history
from kernel_lab.judge.verdict import Validity
from kernel_lab.run import registry
from lab.worker import CHATTY
from mutants import page, teeth
from mutants.bite import taste
from mutants.catalogue import ALL, SIMULATED
from mutants.clock import WHO_ASKS
from mutants.live import SAMPLE, run_one
from mutants.simulation import Trial, simulate

RIGHT_RUNS = 24
FEW_RIGHT_RUNS = 6

_first, _first_of_home = {}, {}
for _name, _one in SIMULATED.items():
    _first.setdefault((_one.breaks, _one.finds), _name)
    _first_of_home.setdefault((_one.breaks, _one.finds, _one.home), _name)
HALF = [
    name for name, one in SIMULATED.items() if one.bitten or one.lag_ms or name in _first_of_home.values()
]
"""Of every claim, anomaly and home the first, and whatever somebody was bitten by."""


def first_or_slow(name):
    """`make test` takes of every claim and anomaly the first."""
    return name if name in _first.values() else pytest.param(name, marks=pytest.mark.slow)


def few_or_slow(number):
    return number if number < FEW_RIGHT_RUNS else pytest.param(number, marks=pytest.mark.slow)


@pytest.fixture(autouse=True)
def _loggers_as_they_were():
    yield
    for name in CHATTY:
        logging.getLogger(name).setLevel(logging.NOTSET)


@pytest.mark.parametrize("name", [first_or_slow(name) for name in HALF])
def test_a_wrong_kernel_is_caught(name):
    assert teeth.bite(name).missed == ""


@pytest.mark.parametrize("number", [few_or_slow(number) for number in range(RIGHT_RUNS)])
def test_a_right_kernel_is_not_accused(number):
    validity, said = teeth.accuse(number)
    assert validity is Validity.VALID, said


def test_teeth_that_bite_on_nothing_say_so(tmp_path):
    verdict = simulate(Trial(scenario=registry.scenarios()["rate_limit"], home="each"), tmp_path)
    assert taste(ALL["OneMore"], verdict, tmp_path / "cell").missed == "judged valid"


def test_an_anomaly_of_another_kind_does_not_count(tmp_path):
    trial = Trial(
        scenario=registry.scenarios()["rate_limit"], home="each", kernel=ALL["OneFewer"].factory
    )  # fmt: skip
    verdict = simulate(trial, tmp_path)
    bite = taste(ALL["OneMore"], verdict, tmp_path / "cell")
    assert bite.missed == "found wrongful_denial, and no over_admission"


def test_a_seed_gives_the_same_history_again(tmp_path):
    def told(name):
        trial = Trial(scenario=registry.scenarios()["handles"], home="one", seed=5, loss=0.02)
        simulate(trial, tmp_path / name)
        history = read_history(tmp_path / name / "cell" / "history.jsonl")
        return [(op.index, op.f, op.call_ns, op.return_ns, op.outcome, op.connection) for op in history]

    assert told("once") == told("again")


def test_a_lost_call_is_recorded_as_one_that_may_have_happened(tmp_path):
    simulate(Trial(scenario=registry.scenarios()["traces"], home="each", loss=0.1), tmp_path)
    lost = [op for op in read_history(tmp_path / "cell" / "history.jsonl") if op.error == "ReadError"]
    assert lost
    assert {op.outcome for op in lost} == {Outcome.INFO}


def test_calls_of_a_simulated_cell_overlap(tmp_path):
    simulate(Trial(scenario=registry.scenarios()["rate_limit"], home="each"), tmp_path)
    history = read_history(tmp_path / "cell" / "history.jsonl")
    spans = [(op.call_ns, op.return_ns) for op in history if op.return_ns is not None]
    assert any(call < other < end for call, end in spans for other, _ in spans)


def test_a_restarted_worker_is_another_worker(tmp_path):
    trial = Trial(scenario=registry.scenarios()["stats"], home="single", workers=1, restarts_s=(0.02,))
    simulate(trial, tmp_path)
    workers = {op.worker for op in read_history(tmp_path / "cell" / "history.jsonl")}
    assert len(workers) == 2


def test_whatever_goes_by_the_date_is_on_the_simulated_clock():
    driving = {
        Path(inspect.getfile(part))
        for scenario in registry.scenarios().values()
        for part in (scenario.drive, type(scenario))
    }
    lab = set((registry.root() / "lab").rglob("*.py"))
    asking = {path for path in driving | lab if "datetime.now(" in path.read_text("utf-8")}
    assert asking
    assert asking <= {Path(inspect.getfile(module)) for module in WHO_ASKS}


def test_there_are_at_least_180_mutants_and_some_of_every_claim():
    assert len(ALL) >= 180
    assert {one.breaks for one in ALL.values()} == set(registry.scenarios())


@pytest.mark.skipif(not page.PAGE.exists(), reason="no docs/teeth.md in this checkout: make teeth writes it")
def test_the_page_tells_of_every_mutant_and_that_it_was_caught():
    rows = re.findall(r"^\| (.+?)(?: ●)? \| (.+?) \| `(\w+)`", page.PAGE.read_text("utf-8"), re.MULTILINE)
    assert rows == [(one.title, one.wrong, one.finds) for one in ALL.values()]


@pytest.mark.live
@pytest.mark.parametrize("name", SAMPLE[:1])
def test_a_wrong_kernel_is_caught_under_gunicorn(name):
    assert run_one(name).missed == ""
