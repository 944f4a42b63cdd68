"""The command writes one row a case, and bad input is one sentence."""

import csv

import pytest

from kernel_lab.bad_input import BadInput
from kernel_lab.convergence import command
from kernel_lab.convergence.measure import COLUMNS
from kernel_lab.convergence.table import table, without_lifetimes
from kernel_lab.run.folder import NotARun
from kernel_lab.run.saved import SavedRun


@pytest.mark.live
async def test_the_rows_are_written_with_what_they_were_measured_on(tmp_path, capsys):
    out = tmp_path / "out"
    await command.run(names=["single"], revocations=3, out=out, least=3)
    with (out / "convergence.csv").open(newline="") as file:
        (row,) = csv.DictReader(file)
    assert tuple(row) == COLUMNS
    assert (row["deployment"], row["revocations"], row["end"], row["not_seen"]) == (
        "single",
        "3",
        "refusal",
        "0",
    )
    assert "single: every worker refused after p50" in capsys.readouterr().out
    assert (out / "environment.json").exists()
    with pytest.raises(NotARun, match="already holds a run"):
        await command.run(names=["single"], revocations=3, out=out, least=3)


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"names": ["redsi"]}, "no deployment is named 'redsi'"),
        ({"revocations": 199}, "at least 200 are needed"),
    ],
)
async def test_bad_input_is_one_sentence(tmp_path, given, said):
    with pytest.raises(BadInput, match=said):
        await command.run(**{"names": [], "revocations": 300, "out": tmp_path / "out", **given})
    assert not (tmp_path / "out").exists()


def row(**given):
    return dict.fromkeys(COLUMNS, "") | {"revocations": "300", "expired": "0", "not_seen": "0"} | given


def test_the_life_of_our_own_token_is_no_figure_of_a_deployment():
    refused = row(deployment="redis", end="refusal", p50_ms="5", max_ms="12", max_covers="0.9901")
    before = row(
        deployment="memory-4", end="expiry", p50_ms="1990", max_ms="2001", max_covers="0.9901", expired="229"
    )
    kept, today = without_lifetimes([refused, before])
    assert kept == refused
    assert today == before | dict.fromkeys(("p50_ms", "p99_ms", "max_ms", "p99_high_ms", "max_covers"), "")


def test_one_line_says_how_many_revocations_ended_by_expiry_alone():
    counts = {"revocations": 300, "expired": 229, "not_seen": 0}
    told = dict.fromkeys(COLUMNS) | {"deployment": "memory-4"} | counts
    assert command.said(told) == (
        "memory-4: 229 of 300 revocations were not refused everywhere; 229 ended only when the token expired"
    )


def test_the_table_promises_nothing_where_only_expiry_ends_a_token(tmp_path):
    rows = [
        row(deployment="redis-cached", max_stale_ms="5000", end="refusal", p50_ms="5", p99_ms="9", max_ms="12",
            max_covers="0.9901", width_p50_ms="3"),
        row(deployment="memory-4", end="expiry", p50_ms="1990", p99_ms="2000", max_ms="2001", expired="300",
            width_p50_ms="4"),
        row(deployment="stash", end="not seen", not_seen="2"),
        row(deployment="redis-cluster", reason="no store here"),
    ]  # fmt: skip
    said = table(SavedRun(path=tmp_path, environment={}, cells=(), tables={"convergence": tuple(rows)}))
    assert (
        "| `redis-cached` | 5,000 ms | 5.0 ms | 9.0 ms | 12.0 ms | 99.0 % of all (n = 300) | 3.0 ms |" in said
    )
    assert "| `memory-4` |  | 300 of 300 ended by expiry alone | no bound but expiry |" in said
    assert "2 of 300 not seen to end" in said
    assert "not measured: no store here" in said
    assert "2001" not in said
