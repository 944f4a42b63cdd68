"""history: one operation a line, whole or not at all; what is wrong is said with its line number."""

import gc
import json

import pytest

from kernel_lab.judge.history import (
    FOREVER,
    Budget,
    Grant,
    HistoryWriter,
    Invoke,
    MalformedHistory,
    Outcome,
    collector_paused,
    ends_ns,
    iter_history,
    read_history,
    to_line,
    write_history,
)

LINE = {
    "index": 0, "client": "c0", "f": "grant", "input": {"principal": "p", "capability": "c"},
    "output": {"token_id": "t"}, "outcome": "ok", "call_ns": 5, "return_ns": 9, "worker": "r0/1/a",
    "connection": "k0", "error": None,
}  # fmt: skip


@pytest.fixture
def saved(tmp_path):
    def save(*lines, end="\n"):
        path = tmp_path / "history.jsonl"
        path.write_text(
            "\n".join(json.dumps(line) if isinstance(line, dict) else line for line in lines) + end
        )
        return path

    return save


def test_what_is_written_is_read_back(tmp_path, saved):
    [operation] = read_history(saved(LINE))
    assert to_line(operation) == LINE
    write_history(tmp_path / "again/history.jsonl", [operation])
    assert read_history(tmp_path / "again/history.jsonl") == [operation]


def test_a_writer_appends_whole_lines(tmp_path):
    for _ in range(2):
        with HistoryWriter(tmp_path / "cell/history.jsonl") as writer:
            writer.write({**LINE, "index": writer.next_index()})
            writer.write({**LINE, "index": writer.next_index()})
    assert [op.index for op in iter_history(tmp_path / "cell/history.jsonl")] == [0, 1, 0, 1]


@pytest.mark.parametrize(
    "changes",
    [
        {"output": None, "outcome": "fail", "error": "rate_limited"},
        {"output": {}, "outcome": "fail", "error": "rate_limited"},
        {"outcome": "info", "return_ns": None, "worker": None, "connection": None},
        {"output": {"token_id": "t", "expires_at": "2026"}, "note": {"any": ["thing"]}},
        {"call_ns": -(10**15), "return_ns": 10**18},
        {"call_ns": 9},
    ],
)
def test_what_is_not_needed_may_be_there_or_not(saved, changes):
    assert len(read_history(saved({**LINE, **changes}))) == 1


def test_worker_connection_error_and_output_may_be_left_out(saved):
    bare = {key: LINE[key] for key in ("index", "client", "f", "input", "outcome", "call_ns", "return_ns")}
    [operation] = read_history(saved(bare))
    assert (operation.worker, operation.output) == (None, None)


@pytest.mark.parametrize(
    "f", ["revoke", "explain", "import_capability", "audit", "budget", "stats", "list_traces"]
)
def test_what_no_checker_reads_may_be_anything(saved, f):
    asked = {"token_id": "t", "action_id": "a", "capability": "c", "by": "admin"}
    read = read_history(
        saved(*({**LINE, "index": n, "f": f, "input": asked, "output": o} for n, o in enumerate([None, {}])))
    )
    assert len(read) == 2


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("{", "Input data was truncated"),
        ("[]", "Expected `object`"),
        ({**LINE, "f": "colour"}, "no operation is called 'colour'; one of: grant, invoke"),
        ({key: value for key, value in LINE.items() if key != "f"}, "an operation has an f: grant"),
        ({**LINE, "input": {"principal": "p"}}, "missing required field `capability`"),
        ({**LINE, "outcome": "maybe"}, "Invalid enum value 'maybe'"),
        ({**LINE, "call_ns": 1.5}, "Expected `int`"),
        ({**LINE, "return_ns": 4}, "return_ns 4 is before call_ns 5"),
        ({**LINE, "return_ns": None}, "outcome ok without return_ns; only an info has no return"),
        ({**LINE, "f": "fault.kill", "client": 5}, "Expected `str`, got `int` - at `$.client`"),
    ],
)
def test_a_malformed_line_is_named_with_its_number(saved, line, said):
    path = saved({**LINE, "index": 1}, "", line, {**LINE, "index": 2})
    with pytest.raises(MalformedHistory) as error:
        read_history(path)
    assert str(error.value).startswith("history.jsonl:3: ")
    assert said in str(error.value)
    assert "\n" not in str(error.value)


def test_an_index_names_one_operation(saved):
    path = saved(LINE, "", {**LINE, "index": 1}, LINE)
    with pytest.raises(MalformedHistory, match=r"history\.jsonl:4: index 0 is taken by an earlier line"):
        read_history(path)


def test_what_a_reader_needs_and_misses_is_named_with_its_line(saved):
    path = saved(LINE, "", {**LINE, "index": 1})
    with pytest.raises(MalformedHistory, match=r"history\.jsonl:3: second"):
        read_history(path, lacks=lambda op: "second" if op.index == 1 else None)


def test_a_torn_last_line_is_passed_over(saved):
    assert len(read_history(saved(LINE, '{"index":1,"cli', end=""))) == 1
    assert len(read_history(saved(LINE, {**LINE, "index": 1}, end=""))) == 2


def test_a_line_number_counts_across_what_is_read_at_once(saved):
    good = [{**LINE, "index": n, "client": "c" * 500} for n in range(2000)]
    with pytest.raises(MalformedHistory, match=r"history\.jsonl:2001: "):
        read_history(saved(*good, "{"))
    assert len(read_history(saved(*good))) == 2000


def test_names_that_repeat_are_kept_once(saved):
    one, other = read_history(saved(LINE, {**LINE, "index": 1}))
    assert one.worker is other.worker
    assert one.input.principal is other.input.principal


@pytest.mark.parametrize("outcome", Outcome)
def test_ends_of_many_are_those_of_each(saved, outcome):
    history = read_history(saved({**LINE, "outcome": outcome}, {**LINE, "index": 1, "outcome": "ok"}))
    assert ends_ns(history) == [op.end_ns for op in history]


def test_faults_stand_among_the_calls(saved):
    fault = {**LINE, "index": 1, "f": "fault.kill_worker", "input": {"pid": 1}, "output": None}
    call, event = read_history(saved(LINE, fault))
    assert (call.f, event.f) == ("grant", "fault.kill_worker")
    assert to_line(event)["input"] == {"pid": 1}


def test_an_info_never_ends():
    ended = Budget(index=0, client="c", outcome=Outcome.OK, call_ns=0, return_ns=3)
    lost = Budget(index=0, client="c", outcome=Outcome.INFO, call_ns=0, return_ns=3)
    assert (ended.end_ns, lost.end_ns) == (3, FOREVER)


def test_the_collector_is_put_back_as_it_was():
    with collector_paused():
        assert not gc.isenabled()
        with collector_paused():
            pass
        assert not gc.isenabled()
    assert gc.isenabled()


def test_kinds_are_told_apart(saved):
    invoke = {**LINE, "index": 1, "f": "invoke", "input": {"token_id": "t"}, "output": {"action_id": "a"}}
    kinds = [type(op) for op in read_history(saved(LINE, invoke))]
    assert kinds == [Grant, Invoke]
