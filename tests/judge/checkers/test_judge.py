"""judge: from files to verdicts; nothing that could not be judged is ever valid."""

import json

import msgspec
import pytest
from sketch import cell, expand, grant, history, invoke, revoke

from kernel_lab.judge.checkers import CHECKERS, revocation
from kernel_lab.judge.completeness import judge_history, most_in_flight
from kernel_lab.judge.history import MalformedHistory, write_history
from kernel_lab.judge.verdict import Assumptions, Validity
from kernel_lab.run.folder import CellFolder, NotARun
from kernel_lab.run.judging import judge_cell, judge_path

LEAK = [grant(0, 1), revoke(2, 3), invoke(4, 5, worker="r0/2/b")]
RIGHT = [grant(0, 1), revoke(2, 3), invoke(4, 5, error="token_revoked")]


def save(folder, operations, of=None):
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "cell.json").write_bytes(msgspec.json.encode(of or cell("revocation")))
    write_history(folder / "history.jsonl", history(*operations))
    return folder


def test_a_cell_is_judged_from_its_files(tmp_path):
    [verdict] = judge_cell(save(tmp_path, LEAK))
    assert (verdict.claim, verdict.validity) == ("revocation", Validity.INVALID)
    assert judge_cell(save(tmp_path, RIGHT))[0].validity is Validity.VALID


def test_a_run_is_judged_cell_by_cell_in_order(tmp_path):
    save(tmp_path / "cells/revocation/single-fresh", RIGHT)
    save(tmp_path / "cells/revocation/memory-4-fresh", LEAK)
    save(tmp_path / "cells/handles/single-fresh", [invoke(0, 1, handle="h"), expand(2, 3)], cell("handles"))
    judged = judge_path(tmp_path)
    assert [folder.path.parent.name + "/" + folder.path.name for folder, _, _ in judged] == [
        "handles/single-fresh",
        "revocation/memory-4-fresh",
        "revocation/single-fresh",
    ]
    assert [v.validity for _, _, [v] in judged] == [Validity.VALID, Validity.INVALID, Validity.VALID]


def test_a_written_verdict_is_read_back(tmp_path):
    verdicts = judge_cell(save(tmp_path, LEAK))
    CellFolder(tmp_path).write_verdict(verdicts)
    assert CellFolder(tmp_path).read_verdict() == verdicts
    written = json.loads((tmp_path / "verdict.json").read_text())
    assert written["validity"] == "invalid"
    assert written["verdicts"][0]["counterexample"][0]["f"] == "revoke"
    assert written["verdicts"][0]["story"]


@pytest.mark.parametrize(
    ("assumptions", "missing"),
    [
        (Assumptions(min_workers=3), "2 of the 3 workers"),
        (Assumptions(min_operations=4), "3 of the 4 operations"),
        (Assumptions(min_overlap=2), "1 of the 2 calls"),
        (
            Assumptions(min_workers=3, min_operations=9),
            "3 of the 9 operations it takes were answered; 2 of the 3",
        ),
    ],
)
def test_unmet_assumptions_make_valid_unknown_and_never_take_back_a_violation(tmp_path, assumptions, missing):
    held = [*RIGHT[:2], invoke(4, 5, error="token_revoked", worker="r0/2/b")]
    [verdict] = judge_cell(save(tmp_path / "held", held, cell("revocation", assumptions)))
    assert verdict.validity is Validity.UNKNOWN
    assert missing in verdict.reason
    [verdict] = judge_cell(save(tmp_path / "broke", LEAK, cell("revocation", assumptions)))
    assert verdict.validity is Validity.INVALID


def test_a_history_with_fewer_lines_than_were_recorded_is_unknown_whatever_it_shows(tmp_path):
    for name, operations in (("held", RIGHT), ("broke", LEAK)):
        recorded = msgspec.structs.replace(cell("revocation"), operations=4)
        [verdict] = judge_cell(save(tmp_path / name, operations, recorded))
        assert verdict.validity is Validity.UNKNOWN
        assert "3 of the 4 operations that were recorded" in verdict.reason


def test_assumptions_that_are_met_change_nothing(tmp_path):
    met = Assumptions(min_workers=2, min_operations=3, min_overlap=1)
    assert judge_cell(save(tmp_path, LEAK, cell("revocation", met)))[0].validity is Validity.INVALID


def test_what_had_no_answer_meets_no_assumption():
    verdict = judge_history(
        history(*RIGHT, invoke(6, worker="r0/9/z")),
        cell("revocation", Assumptions(min_workers=2, min_operations=4)),
        CHECKERS["revocation"],
    )
    assert verdict.validity is Validity.UNKNOWN


def test_calls_in_flight_touch_or_overlap():
    assert most_in_flight(history(grant(0, 5), grant(5, 6), grant(7, 8))) == 2
    assert most_in_flight(history(grant(0), grant(5, 6))) == 1
    assert most_in_flight([]) == 0
    assert most_in_flight(history(*(grant(0, 9) for _ in range(5))), enough=3) == 3


def test_a_cell_may_say_null_for_what_is_not_there(tmp_path):
    save(tmp_path, RIGHT)
    said = json.loads((tmp_path / "cell.json").read_text())
    (tmp_path / "cell.json").write_text(
        json.dumps({**said, "assumptions": None, "parameters": None, "seed": None})
    )
    assert judge_cell(tmp_path)[0].validity is Validity.VALID


def test_times_may_be_any_integers(tmp_path):
    far = [
        msgspec.structs.replace(op, call_ns=op.call_ns + 2**63 - 9, return_ns=op.return_ns + 2**63 - 9)
        for op in LEAK
    ]
    assert judge_cell(save(tmp_path, far))[0].validity is Validity.INVALID
    for claim, checker in CHECKERS.items():
        verdict = checker.check(history(*far), cell(claim, limit=1, window_s=1, total=1))
        assert verdict.claim == claim


def test_a_cell_that_was_cut_off_is_unknown(tmp_path):
    cut = msgspec.structs.replace(cell("revocation"), finished=False)
    [verdict] = judge_cell(save(tmp_path, RIGHT, cut))
    assert verdict.validity is Validity.UNKNOWN
    assert "cut off" in verdict.reason


def test_a_checker_that_crashes_is_unknown(tmp_path, monkeypatch):
    monkeypatch.setattr(revocation, "cases", lambda history: 1 / 0)
    [verdict] = judge_cell(save(tmp_path, RIGHT))
    assert verdict.validity is Validity.UNKNOWN
    assert "ZeroDivisionError" in verdict.reason


def test_further_operations_and_fields_are_passed_over(tmp_path):
    save(tmp_path, RIGHT)
    lines = (tmp_path / "history.jsonl").read_text().splitlines()
    lines[0] = lines[0].replace('"input":{', '"extra":[1],"input":{"why":"not",')
    fault = {
        "index": 90,
        "client": "nemesis",
        "f": "fault.kill",
        "outcome": "ok",
        "call_ns": 1,
        "return_ns": 2,
    }
    lines.append(json.dumps({**fault, "input": {"pid": 4711}}))
    lines.append('{"index":91,"client":"c","f":"stats","outcome":"info","call_ns":7}')
    (tmp_path / "history.jsonl").write_text("\n".join(lines) + "\n")
    assert judge_cell(tmp_path)[0].validity is Validity.VALID


@pytest.mark.parametrize(
    ("spoil", "said"),
    [
        (lambda f: (f / "cell.json").unlink(), "neither a run nor a cell"),
        (lambda f: (f / "history.jsonl").unlink(), "no history.jsonl"),
        (lambda f: (f / "cell.json").write_text("{"), "cell.json: Input data was truncated"),
        (lambda f: (f / "cell.json").write_text('{"scenario":"x"}'), "missing required field `deployment`"),
        (
            lambda f: (f / "cell.json").write_bytes(msgspec.json.encode(cell("colour"))),
            "no scenario 'colour' is installed; one of: tokens, rate_limit",
        ),
    ],
)
def test_what_cannot_be_judged_is_said_in_one_line(tmp_path, spoil, said):
    folder = save(tmp_path / "run", LEAK)
    spoil(folder)
    with pytest.raises(NotARun) as error:
        judge_path(folder)
    assert said in str(error.value)
    assert str(folder) in str(error.value)
    assert "\n" not in str(error.value)


def test_a_path_that_is_not_there_is_said_so(tmp_path):
    with pytest.raises(NotARun, match="no such folder"):
        judge_path(tmp_path / "nowhere")


def test_an_ok_operation_that_lacks_what_is_needed_is_named_with_its_line(tmp_path):
    folder = save(tmp_path, [*RIGHT, grant(6, 7, token=None)])
    with pytest.raises(
        MalformedHistory, match=r"^history\.jsonl:4: a grant that is ok has an output\.token_id$"
    ):
        judge_cell(folder)


def test_each_claim_has_a_checker_that_says_what_it_judges():
    for claim, checker in CHECKERS.items():
        assert claim == checker.CLAIM
        assert checker.JUDGES
        assert "cannot see" in (checker.__doc__ or "")


def test_every_checker_has_a_verdict_on_an_empty_history():
    for claim, checker in CHECKERS.items():
        verdict = checker.check([], cell(claim, limit=1, window_s=1, total=1))
        assert verdict.validity is Validity.UNKNOWN
        assert "nothing to judge" in verdict.reason


@pytest.mark.parametrize("claim", ["rate_limit", "tokens", "handles", "traces"])
@pytest.mark.parametrize("tolerance", [1e300, 10_001])
def test_a_tolerance_that_would_excuse_everything_is_refused(claim, tolerance):
    known = cell(claim, limit=1, window_s=60, tolerance_ms=tolerance)
    verdict = CHECKERS[claim].check(history(*LEAK), known)
    assert verdict.validity is Validity.UNKNOWN
    assert "parameters.tolerance_ms is" in verdict.reason


def test_a_tolerance_as_long_as_the_window_is_refused():
    verdict = CHECKERS["rate_limit"].check(
        history(grant(0, 1)), cell("rate_limit", limit=1, window_s=1, tolerance_ms=1000)
    )
    assert verdict.validity is Validity.UNKNOWN
    assert "less than the window is needed" in verdict.reason
