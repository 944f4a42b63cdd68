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
