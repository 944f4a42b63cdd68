"""What a scenario declares, its checker fills; what a checker returns, its scenario declares."""

import ast
import dataclasses
from pathlib import Path

import pytest

from kernel_lab.judge.verdict import Validity
from kernel_lab.run import registry
from kernel_lab.run.declaration import Multiple, Proportion, prediction_of
from kernel_lab.run.judging import judge_cell
from kernel_lab.run.measures import Kind, NotObserved, Observed, Quantity, Share, UndeclaredMeasure
from kernel_lab.run.scenario import COUNT_OF_ANOMALIES

SCENARIOS = registry.scenarios()
HISTORIES = Path(__file__).parents[1] / "histories"
EACH = pytest.mark.parametrize("name", SCENARIOS)


def verdicts(name):
    """The verdicts on the saved histories of a claim."""
    return [verdict for cell in sorted((HISTORIES / name).glob("*/")) for verdict in judge_cell(cell)]


def returned(name):
    return set().union(*(verdict.measures for verdict in verdicts(name))) - {COUNT_OF_ANOMALIES}


@EACH
def test_a_checker_returns_what_its_scenario_declares_and_nothing_else(name):
    scenario = SCENARIOS[name]
    promised = {one.name for one in scenario.measures if one.always}
    if scenario.predicted:
        promised.discard(scenario.predicted.quantity.name)
    declared = {one.name for one in scenario.measures}
    told = returned(name)
    assert promised - told == set(), "a declaration that no checker fills"
    assert told - declared == set(), "a measure that nobody declared"


@EACH
def test_every_measure_has_a_title_a_meaning_and_a_unit(name):
    for one in SCENARIOS[name].measures:
        assert one.title
        assert one.meaning.endswith(".")
        assert one.unit or one.kind in (Kind.RATE, Kind.MULTIPLE, Kind.SETTING), one.name
        assert one.of is not None or one.kind is not Kind.RATE, f"{one.name}: a rate of what?"
        assert one.of is None or one.of in SCENARIOS[name].measures, one.name


@EACH
def test_its_words_can_be_said_of_every_saved_history(name):
    scenario = SCENARIOS[name]
    for verdict in verdicts(name):
        seen = scenario.observed(verdict.measures, parameters={"token_ttl_s": 3600}, connections="fresh")
        assert scenario.finding(seen)
        tile = scenario.tile(seen) if scenario.tile else None
        assert tile is None or tile.said.endswith(".")
        if scenario.front:
            assert scenario.front.said(seen)


@EACH
def test_a_headline_is_of_the_saved_history(name):
    headline = SCENARIOS[name].headline
    broken = [verdict for verdict in verdicts(name) if verdict.validity is Validity.INVALID]
    for verdict in broken:
        seen = SCENARIOS[name].observed(verdict.measures)
        if isinstance(headline, Proportion):
            share = headline.share(seen)
            assert share is None or 0 <= share.hits <= share.of
        elif isinstance(headline, Multiple):
            assert seen.number(headline.factor) >= 0


def test_a_measure_that_the_scenario_does_not_declare_makes_the_cell_unknown():
    scenario = SCENARIOS["handles"]
    fewer = dataclasses.replace(
        scenario, measures=tuple(one for one in scenario.measures if one.name != "foreign")
    )
    (cell,) = sorted((HISTORIES / "handles").glob("good*"))[:1]
    (verdict,) = judge_cell(cell, fewer)
    assert verdict.validity is Validity.UNKNOWN
    assert verdict.reason == "the checker returned the measure 'foreign', which the scenario does not declare"


def test_a_declaration_that_contradicts_itself_is_refused():
    scenario = SCENARIOS["handles"]
    with pytest.raises(ValueError, match="declares the measure 'expansions' twice"):
        dataclasses.replace(scenario, measures=(*scenario.measures, scenario.measures[0]))
    with pytest.raises(ValueError, match="uses the measure 'misses' and does not declare it"):
        dataclasses.replace(scenario, measures=tuple(m for m in scenario.measures if m.name != "misses"))


COUNT = Quantity(name="n", title="n", meaning="N.", kind=Kind.COUNT, unit="calls")


def test_a_number_is_read_by_its_declaration():
    seen = Observed(values={"n": 3, "words": "x"}, declared=frozenset({"n", "words", "m"}))
    assert (seen.find(COUNT), seen.count(COUNT)) == (3.0, 3)
    with pytest.raises(NotObserved):
        seen.number(dataclasses.replace(COUNT, name="m"))
    assert seen.find(dataclasses.replace(COUNT, name="words")) is None
    with pytest.raises(UndeclaredMeasure, match="'misspelt'"):
        seen.find(dataclasses.replace(COUNT, name="misspelt"))


def test_a_share_of_an_older_run_is_made_of_its_rate():
    revocation = SCENARIOS["revocation"]
    old = revocation.observed({"leak_rate": 0.25, "invokes_after": 8})
    assert revocation.headline.share(old) == Share(2, 8)


def test_a_prediction_has_the_kind_of_what_it_predicts():
    rate = dataclasses.replace(COUNT, name="r", kind=Kind.RATE, of=COUNT)
    assert prediction_of(rate) == dataclasses.replace(
        rate, name="predicted_r", title="n, predicted", meaning=prediction_of(rate).meaning
    )


def test_the_columns_that_other_tools_read_keep_their_order():
    """docs/interfaces.md names them; new ones stand after `reason`."""
    assert SCENARIOS["rate_limit"].columns == (
        "limit", "window_s", "attempts", "admitted", "certain_max", "possible_max", "factor",
        "predicted_admitted", "wrongful_denials",
    )  # fmt: skip
    assert SCENARIOS["revocation"].columns == (
        "tokens", "leaked_tokens", "leak_rate", "predicted_leak_rate", "lag_lower_ms_p50", "lag_lower_ms_max",
        "lag_upper_ms_p50", "lag_upper_ms_max", "resurrected_tokens",
    )  # fmt: skip
    assert SCENARIOS["handles"].columns == ("expansions", "misses", "miss_rate", "predicted_miss_rate")


@pytest.mark.parametrize("package", ["publish", "run"])
def test_no_module_knows_a_claim_by_its_name(package):
    """A claim of somebody else is published like ours: from its declaration alone."""
    folder = registry.root() / "kernel_lab" / package
    found = []
    for path in [*folder.rglob("*.py"), registry.root() / "kernel_lab" / "load" / "costs" / "frontier.py"]:
        strings = [
            node.value
            for node in ast.walk(ast.parse(path.read_text("utf-8")))
            if isinstance(node, ast.Constant)
        ]
        found += [(path.name, value) for value in strings if value in SCENARIOS]
    assert [one for one in found if one not in ALLOWED] == []


ALLOWED = [("markers.py", "handles"), ("schedule.py", "capabilities")]
"""Not claims: a column of ``cost_size.csv``, and a key of the reply to ``GET /capabilities``."""


def test_a_verdict_without_measures_has_no_finding():
    assert SCENARIOS["handles"].finding(SCENARIOS["handles"].observed({})) == ""
