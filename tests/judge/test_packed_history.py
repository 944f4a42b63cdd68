"""A history that was packed for git is judged as it was before."""

import gzip

import pytest

from kernel_lab.judge.history import MalformedHistory, read_history
from kernel_lab.run import judging as judge

CELL = '{"scenario":"handles","deployment":{"name":"memory-2"},"connections":"fresh"}'
LINES = (
    b'{"index":0,"client":"c0","f":"invoke","input":{"token_id":"t","principal":"p","capability":"c"},'
    b'"output":{"handle_id":"h"},"outcome":"ok","call_ns":0,"return_ns":1,"worker":"r0/1/a"}\n'
    b'{"index":1,"client":"c0","f":"expand","input":{"handle_id":"h","principal":"p"},"outcome":"fail",'
    b'"error":"handle_not_found","call_ns":2,"return_ns":3,"worker":"r0/2/b"}\n'
)


def test_a_packed_history_is_judged_as_the_recorded_one(tmp_path):
    (tmp_path / "cell.json").write_text(CELL)
    (tmp_path / "history.jsonl").write_bytes(LINES)
    recorded = judge.judge_cell(tmp_path)
    (tmp_path / "history.jsonl").unlink()
    (tmp_path / "history.jsonl.gz").write_bytes(gzip.compress(LINES))
    assert judge.judge_cell(tmp_path) == recorded
    assert [verdict.validity for verdict in recorded] == ["invalid"]


@pytest.mark.parametrize(
    ("damage", "said"),
    [
        (lambda packed: packed[:-12], "history.jsonl.gz: Compressed file ended"),
        (lambda packed: b"{}" + packed, "history.jsonl.gz: Not a gzipped file"),
        (lambda packed: packed[:12] + b"\xff" * 8 + packed[20:], "history.jsonl.gz: Error -3"),
    ],
    ids=["cut off", "not packed", "overwritten"],
)
def test_a_damaged_pack_is_one_line(tmp_path, damage, said):
    path = tmp_path / "history.jsonl.gz"
    path.write_bytes(damage(gzip.compress(LINES)))
    with pytest.raises(MalformedHistory, match=said):
        read_history(path)


def test_a_bad_line_of_a_pack_keeps_its_number(tmp_path):
    path = tmp_path / "history.jsonl.gz"
    path.write_bytes(gzip.compress(LINES + b"{}\n"))
    with pytest.raises(MalformedHistory, match=r"history\.jsonl\.gz:3: "):
        read_history(path)
