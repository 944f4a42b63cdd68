"""A prediction is compared with its measurement, and a miss is listed with its reason."""

import msgspec
import pytest

from kernel_lab.publish.agreement import agreement, misses, sentence
from kernel_lab.publish.reporting import CONTROLS
from kernel_lab.run import registry
from kernel_lab.run.prediction import interval
from kernel_lab.run.results import columns_of


def test_a_result_that_is_certain_in_advance_is_left_out(run):
    found = agreement(run, CONTROLS)
    # handles: 1 of 2 measured, half predicted; revocation: 6 of 12 measured, half predicted; every window was full
    assert sorted(one.cell.scenario for one in found.cells) == ["handles", "revocation"]
    assert (found.median, found.p95, found.inside, found.misses) == (0, 0, 2, [])
    assert agreement(run, ("memory-2",)) is None
    assert sentence(run, ("memory-2",)) == "Nothing was predicted in this run."
    told = sentence(run, CONTROLS)
    assert "2 cells had a result that was not certain in advance. The median error is 0.0 points" in told


def test_a_miss_is_told_by_the_routing_of_the_cell_itself(run):
    (cell,) = [one for one in run.of("handles", "memory-2") if one.connections == "round_robin"]
    scenario = registry.scenarios()["handles"]
    wrong = {**cell.measures, "predicted_miss_rate": 0.0, "expansions": 400, "miss_rate": 0.5}
    missed = msgspec.structs.replace(cell, measures=wrong | scenario.compared(wrong))
    (row,) = misses(msgspec.structs.replace(run, cells=(missed,)), CONTROLS)
    assert row[:3] == ["handles", "memory-2", "round robin"]
    assert row[4:] == [
        "50 %",
        "50 points",
        "routing: the cell's connections met other workers than the probe's; from its own routing the model says 50 %",
    ]
    lost = msgspec.structs.replace(missed, files=())
    assert (
        misses(msgspec.structs.replace(run, cells=(lost,)), CONTROLS)[0][6]
        == "not known: its history was not kept"
    )
    # the kernel that does otherwise than the model: the routing does not explain it
    other = {**wrong, "miss_rate": 0.9}
    odd = msgspec.structs.replace(cell, measures=other | scenario.compared(other))
    assert misses(msgspec.structs.replace(run, cells=(odd,)), CONTROLS)[0][6].startswith("not the routing")


@pytest.mark.parametrize("name", ["tokens", "rate_limit", "revocation", "handles", "traces"])
def test_every_predicted_measure_has_its_interval_its_error_and_whether_it_lies_inside(name):
    scenario = registry.scenarios()[name]
    by = scenario.predicted
    assert {one.name for one in by.compared} <= set(columns_of(scenario))
    trials = {by.of.of.name: 100}
    whole = 100 if by.of.name == "admitted" else 1
    told = {**trials, by.quantity.name: 0.5 * whole, by.of.name: 0.6 * whole}
    compared = scenario.compared(told)
    assert compared[by.error.name] == pytest.approx(0.1 * whole)
    assert compared[by.low.name] < 0.5 * whole < compared[by.high.name]
    assert compared[by.inside.name] == 1
    assert scenario.compared(told | {by.of.name: 0.9 * whole})[by.inside.name] == 0
    assert scenario.compared(told | {by.of.name: None}) == {}
    assert scenario.compared({**told, by.of.of.name: 0}) == {}


def test_more_calls_make_a_narrower_interval():
    (few_low, few_high), (low, high) = interval(0.5, 20), interval(0.5, 2000)
    assert few_low < low < 0.5 < high < few_high
