"""Histories of several processes, merged and judged."""

import json

from kernel_lab.judge.history import read_history
from kernel_lab.judge.verdict import Cell, DeploymentFacts, Validity, Verdict
from kernel_lab.load.judged import columns, judge_load, merge_histories
from kernel_lab.run import registry
from kernel_lab.run.folder import RunFolder


def written(path, *operations):
    path.write_text("".join(json.dumps(operation) + "\n" for operation in operations))
    return path


def call(
    index: int, f: str, call_ns: int, asked: dict, output: dict, *, worker: str = "r0/1/a", **more
) -> dict:
    return {
        "index": index, "client": "g0.c0", "f": f, "input": asked, "output": output, "outcome": "ok",
        "call_ns": call_ns, "return_ns": call_ns + 5, "worker": worker, "connection": "k1", "error": None,
        "intended_ns": call_ns - 1, "anomaly": None, **more,
    }  # fmt: skip


GRANTED = call(0, "grant", 10, {"principal": "ada", "capability": "c"}, {"token_id": "t1"})
REVOKED = call(0, "revoke", 20, {"token_id": "t1"}, {"revoked": True})
PRESENTED = {"token_id": "t1", "principal": "ada", "capability": "c"}
ACCEPTED = call(1, "invoke", 30, PRESENTED, {"action_id": "a"}, worker="r0/2/b")


def test_histories_of_several_processes_become_one_in_the_order_of_the_calls(tmp_path):
    parts = [written(tmp_path / "a.jsonl", GRANTED, ACCEPTED), written(tmp_path / "b.jsonl", REVOKED)]
    assert merge_histories(parts, tmp_path / "merged" / "all.jsonl") == 3
    history = read_history(tmp_path / "merged" / "all.jsonl")
    assert [(op.index, op.f, op.call_ns) for op in history] == [
        (0, "grant", 10),
        (1, "revoke", 20),
        (2, "invoke", 30),
    ]


def test_what_is_judged_can_be_judged_again_from_its_cell(tmp_path):
    history = tmp_path / "load" / "memory-4.jsonl"
    merge_histories([written(tmp_path / "a.jsonl", GRANTED, REVOKED, ACCEPTED)], history)
    cell = Cell(scenario="revocation", deployment=DeploymentFacts(name="memory-4"))
    verdicts = judge_load(RunFolder(tmp_path), "memory-4", history, [cell])
    assert verdicts["revocation"].validity is Validity.INVALID
    folder = tmp_path / "cells" / "revocation" / "memory-4-load"
    assert json.loads((folder / "verdict.json").read_text())["validity"] == "invalid"
    assert len(read_history(folder / "history.jsonl")) == 3
    assert columns(verdicts, registry.scenarios()) == {
        "validity": Validity.INVALID,
        "broken": "revocation",
        "lag_at_least_ms": verdicts["revocation"].measures["lag_lower_ms_max"],
        "lag_at_most_ms": None,
    }


def test_the_weakest_verdict_stands_for_all():
    verdicts = {
        "tokens": Verdict(claim="tokens", validity=Validity.VALID),
        "handles": Verdict(claim="handles", validity=Validity.UNKNOWN),
    }
    assert columns(verdicts, registry.scenarios())["validity"] is Validity.UNKNOWN


def test_nothing_judged_is_no_verdict():
    assert columns({}, {}) == {"validity": "", "broken": ""}
