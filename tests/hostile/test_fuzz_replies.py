"""Random replies, many of them nearly right: attach refuses in one sentence, and each call is recorded readably.

``KERNEL_LAB_FUZZ=20000`` asks for more replies than the 500 of every run.
"""

import asyncio
import itertools
import os
import random
from collections.abc import AsyncIterator
from pathlib import Path

import orjson
import pytest
from hostile_server import HostileServer, spoilt

from kernel_lab.deployments import attached
from kernel_lab.deployments.attached import NotALab, attach
from kernel_lab.judge.history import HistoryWriter, Outcome, read_history
from kernel_lab.traffic import between as between_module
from kernel_lab.traffic import client, connections
from kernel_lab.traffic.address import Address
from kernel_lab.traffic.between import Between, InTheWay
from kernel_lab.traffic.client import Principal, Recorder, RecordingClient
from kernel_lab.traffic.connections import Fresh, KeepAlive

REPLIES = int(os.environ.get("KERNEL_LAB_FUZZ", "500"))
pytestmark = [pytest.mark.timeout(60 + REPLIES // 20)]

TOKEN = {"token_id": "t1", "capability_id": "c.read"}
INVOKED = {
    "action_id": "a1",
    "handle_id": "h1",
    "tokens": None,
    "response_mode": "table",
    "table_preview": [{}],
}
RIGHT = {
    b"/worker": {"state": "memory://", "window_s": 2.0, "rate_limits": {"READ": 10}, "version": "0.12.0"},
    b"/capabilities": {"capabilities": [{"capability_id": "c.read", "safety_class": "READ"}]},
    b"/healthz": {},
    b"/grants": {"token": TOKEN, "principal_id": "p0"},
    b"/invocations": INVOKED,
    b"/invocations/stream": {"action_id": "a1", "is_final": True},
    b"/handles/h1/expansions": {"rows": [{"x": 1}], "action_id": "a2"},
    b"/traces/a1": {"principal_id": "p0", "args": {}},
    b"/traces": {"action_ids": ["a1"]},
    b"/audit": {"valid": True, "records": 3},
    b"/budget": {"total": 10, "used": 1},
    b"/stats": {"grants": 1, "invocations": 1, "expansions": 0},
    b"/tokens/t1/revocation": {"revoked": True},
    b"/principals/p0/revocation": {"revoked": 1},
}


class Spoiler:
    """Makes one random reply for each request, and counts them."""

    def __init__(self, seed: int) -> None:
        self._rng = random.Random(seed)
        self.made = 0
        self.kind = 0.0
        """The share of replies that are right."""

    async def reply(self, request: bytes) -> AsyncIterator[bytes]:
        self.made += 1
        path = request.split(b" ", 2)[1].partition(b"?")[0]
        right = orjson.dumps(RIGHT.get(path, {}))
        if self._rng.random() < self.kind:
            head = b"HTTP/1.1 200 OK\r\nX-Lab-Worker: w/1/a\r\nContent-Length: %d\r\n" % len(right)
            yield head + b"Connection: close\r\n\r\n" + right
        else:
            yield spoilt(self._rng, right)


async def calls(one: RecordingClient) -> None:
    """Each kind of call once."""
    for made in (
        one.grant("c.read"), one.invoke(TOKEN), one.stream(TOKEN), one.expand("h1"), one.revoke("t1"),
        one.revoke_all("p0"), one.explain("a1"), one.list_traces("p0"), one.audit(), one.budget(), one.stats(),
        one.import_capability("c.read", {}),
    ):  # fmt: skip
        try:
            await made
        except InTheWay as told:
            assert "\n" not in str(told)  # noqa: PT017


async def test_random_replies_break_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for module in (attached, connections):
        monkeypatch.setattr(module, "CALL_TIMEOUT_S", 1.0)
    monkeypatch.setattr(client, "STREAM_DEADLINE_S", 1.0)
    monkeypatch.setattr(attached, "QUIET_S", 0.0)
    monkeypatch.setattr(attached, "QUIET", 8)
    monkeypatch.setattr(between_module, "LONGEST_WAIT_S", 0.0)
    spoiler = Spoiler(seed=13)
    names = (f"k{number}" for number in itertools.count())
    refused = recorded = 0
    with HostileServer(spoiler.reply) as server:
        for turn in itertools.count():
            if spoiler.made >= REPLIES:
                break
            spoiler.kind = (0.0, 0.5, 0.9, 0.98)[turn % 4]
            try:
                await attach(Address(urls=(server.url,), between=Between()))
            except NotALab as told:
                refused += 1
                assert "\n" not in str(told)  # noqa: PT017
                assert str(told).isprintable()  # noqa: PT017
            path = tmp_path / f"{turn}" / "history.jsonl"
            with HistoryWriter(path) as writer:
                connector = (Fresh, KeepAlive)[turn % 2](server.url, names)
                recorder = Recorder(writer, between=Between())
                await asyncio.gather(
                    *(calls(RecordingClient(recorder, connector, Principal(name=f"p{n}"))) for n in range(2))
                )
                await connector.aclose()
            operations = list(read_history(path))
            recorded += len(operations)
            assert len(operations) == 24
    assert refused
    assert recorded
    assert any(operation.outcome is Outcome.INFO for operation in operations)
