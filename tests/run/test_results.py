"""CSVs: one row per cell, nothing left out."""

import csv

from kernel_lab.judge.verdict import Anomaly, Validity, Verdict
from kernel_lab.run import registry
from kernel_lab.run.folder import RunFolder
from kernel_lab.run.measures import percent
from kernel_lab.run.results import CellResult, with_verdict, write_csvs

CELL = CellResult(
    run="r",
    scenario="handles",
    deployment="memory-4",
    state="memory://",
    workers=4,
    replicas=1,
    routing="direct",
    connections="fresh",
    expected=Validity.INVALID,
)


def rows(path):
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


def test_a_row_holds_what_was_measured_beside_what_was_predicted(tmp_path):
    verdict = Verdict(
        claim="handles",
        validity=Validity.INVALID,
        measures={"expansions": 96, "misses": 72, "miss_rate": 0.75},
        anomalies=(Anomaly(kind="miss", message="op 7 missed", operations=(3, 7)),),
    )
    cell = with_verdict(CELL, verdict, {"predicted_miss_rate": 0.740741})
    write_csvs(RunFolder(tmp_path), [cell], [registry.scenarios()["handles"]])
    (row,) = rows(tmp_path / "handles.csv")
    assert (row["misses"], row["miss_rate"], row["predicted_miss_rate"]) == ("72", "0.75", "0.740741")
    assert (row["validity"], row["fault"]) == ("invalid", "")
    (row,) = rows(tmp_path / "verdicts.csv")
    assert (row["anomalies"], row["first_anomaly"], row["expected"]) == ("1", "op 7 missed", "invalid")


def test_what_was_not_observed_is_empty_and_a_skipped_cell_says_why(tmp_path):
    verdict = Verdict(claim="handles", validity=Validity.VALID, measures={"miss_rate": None})
    skipped = CellResult(**{**as_dict(CELL), "validity": Validity.SKIPPED, "reason": "no nginx on PATH"})
    write_csvs(
        RunFolder(tmp_path), [with_verdict(CELL, verdict, {}), skipped], [registry.scenarios()["handles"]]
    )
    judged, left_out = rows(tmp_path / "handles.csv")
    assert judged["miss_rate"] == ""
    assert (left_out["validity"], left_out["reason"]) == ("skipped", "no nginx on PATH")


def as_dict(cell):
    return {name: getattr(cell, name) for name in cell.__struct_fields__}


def test_shares_add_up_per_cell(tmp_path):
    cell = CellResult(**{**as_dict(CELL), "shares": {"r0/1/a": 30, "r0/2/b": 10}})
    write_csvs(RunFolder(tmp_path), [cell], [])
    assert [row["share"] for row in rows(tmp_path / "shares.csv")] == ["0.75", "0.25"]


def test_no_expectation_is_always_met_and_a_wrong_one_never():
    assert CellResult(**{**as_dict(CELL), "expected": None}).as_expected
    assert not CellResult(**{**as_dict(CELL), "validity": Validity.VALID}).as_expected
    assert not CellResult(**{**as_dict(CELL), "validity": Validity.UNKNOWN}).as_expected


def test_a_share_that_was_not_observed_reads_as_unknown():
    assert (percent(None), percent(0.745)) == ("?", "74 %")
