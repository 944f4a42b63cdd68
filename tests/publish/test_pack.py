"""A run packed for git is small, judged as before, and held to what others will read in it."""

import gzip
import json
import shutil

import making
import pytest

from kernel_lab.publish.pack import CannotPack, pack
from kernel_lab.publish.reference import complaints
from kernel_lab.publish.report import write_report
from kernel_lab.run import judging as judge
from kernel_lab.run import registry
from kernel_lab.run.saved import read_run

SCENARIOS = registry.scenarios()


@pytest.fixture
def packed(folder, tmp_path):
    """A packed run with its page, to be spoilt."""
    pack(folder, tmp_path / "packed")
    write_report(tmp_path / "packed", making.subjects())
    return tmp_path / "packed"


def test_a_packed_run_is_judged_as_the_recorded_one(packed, folder):
    def verdicts(path):
        return {str(cell.path.relative_to(path)): verdict for cell, _, verdict in judge.judge_path(path)}

    assert verdicts(packed) == verdicts(folder)


def test_packing_twice_gives_the_same_bytes(packed, tmp_path):
    again = tmp_path / "again"
    pack(packed, again)
    for path in packed.rglob("*"):
        if path.is_file() and path.name != "report.html":
            assert (again / path.relative_to(packed)).read_bytes() == path.read_bytes(), path.name


def test_a_pack_holds_no_probe_no_log_and_no_path_of_this_machine(folder, tmp_path):
    whole = tmp_path / "whole"
    shutil.copytree(folder, whole)
    for cell in whole.glob("cells/*/*"):
        (cell / "probe.jsonl").write_text("{}\n")
        (cell / "server.log").write_text("started in /home/somebody\n")
    pack(whole, tmp_path / "packed")
    names = {path.name for path in (tmp_path / "packed").rglob("*") if path.is_file()}
    assert {"cell.json", "verdict.json", "history.jsonl.gz"} <= names
    verdicts = [path.read_text() for path in (tmp_path / "packed").rglob("verdict.json")]
    assert verdicts
    assert {text.count("\n") for text in verdicts} == {1}
    assert not names & {"probe.jsonl", "server.log", "history.jsonl"}
    told = json.loads((tmp_path / "packed" / "environment.json").read_text())
    assert told["arguments"] == ["run", "--quick"]


def test_where_histories_are_too_much_some_deployments_keep_their_verdicts_only(folder, tmp_path):
    single = {cell.name for cell in read_run(folder).cells if cell.deployment == "single"}
    pack(folder, tmp_path / "thin", histories_of=single)
    write_report(tmp_path / "thin", making.subjects())
    kept = {path.parent.name for path in (tmp_path / "thin").glob("cells/*/*/history.jsonl.gz")}
    assert {name.split("-")[0] for name in kept} == {"single"}
    assert complaints(tmp_path / "thin", SCENARIOS) == []
    page = (tmp_path / "thin" / "report.html").read_text(encoding="utf-8")
    assert page.count('class="sequence"') == (folder / "report.html").read_text().count('class="sequence"')


def test_figures_of_another_measurement_come_along_with_their_environment(folder, tmp_path):
    load = tmp_path / "load-1"
    load.mkdir()
    (load / "cost.csv").write_text("deployment,mix\nredis,read-heavy\n")
    (load / "environment.json").write_text('{"cores": 2, "arguments": ["load", "--out=/home/x"]}')
    pack(folder, tmp_path / "packed", beside=[load])
    assert (tmp_path / "packed" / "cost.csv").read_text().startswith("deployment,mix")
    about = json.loads((tmp_path / "packed" / "environment-load-1.json").read_text())
    assert about == {"cores": 2, "arguments": ["load"]}


def test_the_life_of_a_token_that_was_published_as_a_lag_is_left_out(folder, tmp_path):
    beside = tmp_path / "convergence1"
    beside.mkdir()
    head = "deployment,end,p50_ms,p99_ms,max_ms,p99_high_ms,max_covers,width_p50_ms\n"
    (beside / "convergence.csv").write_text(
        f"{head}memory-4,expiry,1990,2000,2001,2001,0.99,4\nredis,refusal,5,9,12,12,0.99,3\n"
    )
    pack(folder, tmp_path / "packed", beside=[beside])
    told = (tmp_path / "packed" / "convergence.csv").read_text()
    assert told == f"{head}memory-4,expiry,,,,,,4\nredis,refusal,5,9,12,12,0.99,3\n"


def test_a_cell_whose_prediction_missed_keeps_its_history(folder, tmp_path):
    name = "handles-memory-2-round_robin"
    pack(folder, tmp_path / "thin", histories_of={name})
    kept = [path.parent.name for path in (tmp_path / "thin").glob("cells/handles/*/history.jsonl.gz")]
    assert kept == ["memory-2-round_robin"]
    assert complaints(tmp_path / "thin", SCENARIOS) == []


@pytest.mark.parametrize(
    ("prepare", "said"),
    [
        (lambda run, tmp: (tmp / "none", tmp / "out", []), "there is no such folder"),
        (lambda run, tmp: (run, tmp, []), "is there already"),
        (lambda run, tmp: (run, tmp / "out", [tmp]), "holds no CSV"),
        (lambda run, tmp: (run, tmp / "out", [run]), "the run has a handles.csv too"),
    ],
)
def test_what_cannot_be_packed_is_one_line(folder, tmp_path, prepare, said):
    run, out, beside = prepare(folder, tmp_path)
    with pytest.raises(CannotPack, match=said) as told:
        pack(run, out, beside=beside)
    assert len(str(told.value).splitlines()) == 1


def test_nothing_is_wrong_with_a_good_pack(packed):
    assert complaints(packed, SCENARIOS) == []


def edit(name, old, new):
    def spoil(packed):
        path = packed / name
        text = path.read_text()
        assert old in text
        path.write_text(text.replace(old, new))

    return spoil


def rewrite_history(packed):
    path = packed / "cells/handles/memory-2-round_robin/history.jsonl.gz"
    lines = gzip.decompress(path.read_bytes())
    path.write_bytes(gzip.compress(lines.replace(b"handle_not_found", b"handle_expired  ")))


@pytest.mark.parametrize(
    ("spoil", "said"),
    [
        (edit("environment.json", '"commit"', '"commits"'), "environment.json: no commit"),
        (edit("environment.json", '"changed_files": 0', '"changed_files": 3'), "3 changed files"),
        (edit("handles.csv", "miss_rate", "missed"), "handles.csv: its columns are not those"),
        (lambda packed: (packed / "odd.csv").write_text("a,b\n"), "odd.csv: no rows"),
        (lambda packed: (packed / "odd.csv").write_text("a,b\n1,2,3\n"), "odd.csv:2: not as many fields"),
        (rewrite_history, "judged again, its verdict is another"),
        (edit("verdicts.csv", "handles,memory-2,fresh", "handles,memory-2,odd"), "memory-2-fresh: no row"),
        (edit("verdicts.csv", "no redis-server on this machine", ""), "neither a folder nor a reason"),
        (
            edit("report.html", "handles/memory-2-fresh/cell.json", "handles/gone.json"),
            "gone.json leads nowhere",
        ),
        (edit("report.html", "#claim-handles", "#claim-hands"), "#claim-hands leads nowhere"),
        (edit("environment.json", "Linux 6", "/home/me"), "a path of somebody's machine"),
        (lambda packed: (packed / "big").write_bytes(bytes(7_000_000)), "bytes, where"),
        (lambda packed: (packed / "verdicts.csv").unlink(), "has no verdicts.csv"),
    ],
)
def test_what_is_wrong_with_a_pack_is_found(packed, spoil, said):
    spoil(packed)
    assert any(said in one for one in complaints(packed, SCENARIOS)), complaints(packed, SCENARIOS)
