"""``client-clock+redis://``: a limiter that is right as long as all clocks agree, and wrong afterwards."""

from __future__ import annotations

import time

from places import PATIENT

from kernel_lab.deployments.ports import LOOPBACK
from lab.state import open_state
from lab.state.client_clock import ClientClockLimiter
from lab.state.redis import server_of
from lab.state.url import parse

LIMIT, WINDOW_S = 2, 20.0


def test_it_is_right_while_clocks_agree(opened):
    limiter = opened("client-clock+redis").limiter
    assert limiter.peek("k", LIMIT, WINDOW_S)
    assert [limiter.check("k", LIMIT, WINDOW_S) for _ in range(4)] == [True, True, False, False]
    assert not limiter.peek("k", LIMIT, WINDOW_S)
    assert limiter.check("other", LIMIT, WINDOW_S)
    assert limiter.check("empty", 0, WINDOW_S), "an empty window admits one grant"


def test_a_clock_that_is_ahead_admits_the_whole_limit_once_more_and_then_the_others_are_denied(valkey):
    url = parse(f"redis://{LOOPBACK}:{valkey.port}/0?namespace=skewed")
    server = server_of(url, PATIENT)
    try:
        right = ClientClockLimiter(server, "skewed")
        ahead = ClientClockLimiter(server, "skewed", clock=lambda: time.time() + 30)
        assert [right.check("k", LIMIT, WINDOW_S) for _ in range(3)] == [True, True, False]
        assert [ahead.check("k", LIMIT, WINDOW_S) for _ in range(3)] == [True, True, False]
        assert not right.check("k", LIMIT, WINDOW_S)
        later = ClientClockLimiter(server, "skewed", clock=lambda: time.time() + WINDOW_S + 1)
        assert not later.check("k", LIMIT, WINDOW_S), "a window later, and what the other wrote still counts"
    finally:
        server.close()


def test_the_state_is_a_redis_in_everything_else(url_of):
    state = open_state(url_of("client-clock+redis"), PATIENT)
    try:
        state.revocations.revoke("t")
        assert state.revocations.is_revoked("t")
        assert state.waits
    finally:
        state.close()
