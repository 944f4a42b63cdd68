"""The runs of right deployments with little room are as they are described. All of them: ``make right-runs``."""

import msgspec

from kernel_lab.judge.history import Outcome, parse_line
from kernel_lab.run import registry
from mutants import right_live
from mutants.right_live import WAYS, Judged, main

STREAM = {
    "index": 0, "client": "c0", "f": "invoke", "input": {"token_id": "t", "stream": True},
    "output": {"action_id": "a", "frames": 3, "final": True}, "outcome": "ok", "call_ns": 5, "return_ns": 9,
}  # fmt: skip


def test_there_are_twenty_runs_of_deployments_that_keep_their_state():
    assert len(WAYS) == 20
    assert len({(way.deployment, tuple(way.env.items())) for way in WAYS}) == 20
    assert {way.deployment for way in WAYS} <= set(registry.deployments())
    # what a worker alone remembers is lost with it, so nobody would be accused wrongly
    assert not [way for way in WAYS if way.deployment == "single" and "LAB_MAX_REQUESTS" in way.env]


def test_an_outcome_that_becomes_unknown_has_no_return_and_a_stream_keeps_what_came():
    op = parse_line(msgspec.json.encode(STREAM), where="here")
    less = right_live.unknown(op)
    assert (less.outcome, less.return_ns, less.output.frames) == (Outcome.INFO, None, 3)
    op = parse_line(msgspec.json.encode(STREAM | {"input": {"token_id": "t"}}), where="here")
    assert right_live.unknown(op).output is None


def test_an_accusation_is_told_and_ends_with_an_error(monkeypatch, capsys):
    accused = Judged(accused=["handles · single"])
    monkeypatch.setattr(right_live, "run_way", lambda way: accused if way is WAYS[0] else Judged())
    assert main(["--last", "2"]) == 1
    assert "ACCUSED  handles · single" in capsys.readouterr().out
    assert main(["--first", "2", "--last", "2"]) == 0
