"""Calls: one table from a reply to an outcome."""

import json

import pytest

from kernel_lab.judge.operation import Outcome
from kernel_lab.traffic import call
from kernel_lab.traffic.call import read

TOKEN = {"token_id": "t1", "capability_id": "billing.get_invoice", "signature": "s"}


@pytest.mark.parametrize(
    ("status", "body", "outcome", "error"),
    [
        (201, {"token": TOKEN}, Outcome.OK, None),
        (403, {"reason_code": "missing_role"}, Outcome.FAIL, "missing_role"),
        (429, {"reason_code": "rate_limited"}, Outcome.FAIL, "rate_limited"),
        # not the kernel's word: whatever stands in front may have passed the call on before it failed
        (404, "nobody here", Outcome.INFO, "http_404"),
        (502, None, Outcome.INFO, "http_502"),
        # the limiter may have been asked before the store went away
        (503, {"reason_code": "state_unavailable"}, Outcome.INFO, "state_unavailable"),
        (201, {"token": {}}, Outcome.INFO, "unreadable_reply"),
        (201, None, Outcome.INFO, "unreadable_reply"),
        (302, None, Outcome.INFO, "http_302"),
    ],
)
def test_only_a_kernels_refusal_certainly_had_no_effect(status, body, outcome, error):
    content = b"" if body is None else json.dumps(body).encode()
    reply = read(call.grant("ada", "billing.get_invoice"), status, content, call_ns=1, return_ns=2)
    assert (reply.outcome, reply.error) == (outcome, error)


def test_a_reply_that_is_no_json_is_unreadable():
    reply = read(call.explain("a1"), 404, b"<html>", call_ns=1, return_ns=2)
    assert (reply.outcome, reply.error, reply.body) == (Outcome.INFO, "http_404", None)


@pytest.mark.parametrize(
    ("made", "body", "output"),
    [
        (call.grant("ada", "c"), {"token": TOKEN}, {"token_id": "t1"}),
        (
            call.invoke("ada", TOKEN, {}),
            {"action_id": "a", "handle_id": "h", "tokens": None, "response_mode": "summary", "facts": []},
            {"action_id": "a", "handle_id": "h", "tokens": None, "response_mode": "summary"},
        ),
        (call.expand("ada", "h"), {"rows": 5}, {"rows": 5}),
        (
            call.expand("ada", "h"),
            {"rows": 0, "table_preview": [], "action_id": "b"},
            {"rows": 0, "digest": call.digest([]), "action_id": "b"},
        ),
        (call.explain("a"), {"action_id": "a"}, {}),
        (
            call.explain("a"),
            {"action_id": "a", "principal_id": "p", "capability_id": "c", "status": "failed"},
            {"principal": "p", "capability": "c", "status": "failed"},
        ),
        (call.revoke("ada", "t1"), {"revoked": True}, {"revoked": True}),
        (call.revoke_all("ada"), {"revoked": 3}, {"revoked": 3}),
    ],
)
def test_the_history_keeps_what_the_checkers_read(made, body, output):
    reply = read(made, 200, json.dumps(body).encode(), call_ns=1, return_ns=2)
    assert reply.ok
    assert reply.output == output


def test_equal_rows_have_equal_digests_and_others_do_not():
    rows = [{"id": number, "name": "n"} for number in range(9)]
    assert call.digest(rows) == call.digest([{"name": "n", "id": number} for number in range(9)])
    assert call.digest(rows) == call.digest(rows[: call.ROWS])
    assert call.digest(rows) != call.digest(rows[1:])
    assert call.digest(rows) != call.digest([])


def test_of_a_large_reply_only_names_and_ids_are_kept():
    large = {
        "action_id": "a1",
        "handle_id": None,
        "tokens": 3,
        "response_mode": "raw",
        "table_preview": [{}] * 20_000,
    }
    reply = read(call.invoke("ada", TOKEN), 200, json.dumps(large).encode(), call_ns=1, return_ns=2)
    assert reply.ok
    assert reply.body == {"action_id": "a1", "handle_id": None, "response_mode": "raw"}


def test_a_token_that_is_too_large_to_be_kept_is_told_by_name():
    large = json.dumps({"token": {**TOKEN, "more": [{}] * 20_000}}).encode()
    reply = read(call.grant("ada", "c"), 201, large, call_ns=1, return_ns=2)
    assert (reply.outcome, reply.error, reply.output) == (Outcome.INFO, "token_too_large", None)
    assert reply.body == {}


@pytest.mark.parametrize(
    "content", [b"\xff", b"[" * 100_000, b'{"reason_code":["x"]}', b'{"reason_code":"' + b"x" * 200 + b'"}']
)
def test_a_refusal_that_cannot_be_read_is_no_refusal_of_the_kernel(content):
    reply = read(call.grant("ada", "c"), 403, content, call_ns=1, return_ns=2)
    assert (reply.outcome, reply.error) == (Outcome.INFO, "http_403")


@pytest.mark.parametrize(
    "body", [{"total": "x", "used": 1}, {"total": 1.5, "used": 1}, [], {"total": None}, 7]
)
def test_a_value_that_a_history_cannot_hold_is_unreadable(body):
    reply = read(call.budget(), 200, json.dumps(body).encode(), call_ns=1, return_ns=2)
    assert (reply.outcome, reply.error, reply.output) == (Outcome.INFO, "unreadable_reply", None)
