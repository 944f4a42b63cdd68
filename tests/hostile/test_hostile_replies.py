"""Whatever a server replies, each call ends by its deadline and the harness stays small."""

import json
import subprocess
import sys
from contextlib import ExitStack
from pathlib import Path

import pytest
from hostile_server import HostileServer, Kind, kinds

MOST_MB = 300
CALLS = 32
READABLE = {"another_name", "cookies", "endless_frames", "endless_body", "deep", "many_objects"}
"""Kinds of replies to which a call may be judged as answered, or as refused."""
pytestmark = [pytest.mark.timeout(120)]


def answering(kind: Kind) -> HostileServer:
    return HostileServer(lambda _: kind())


def test_each_call_ends_and_memory_stays_bounded(tmp_path: Path) -> None:
    with ExitStack() as opened:
        servers = {name: opened.enter_context(answering(kind)) for name, kind in kinds().items()}
        reader = Path(__file__).with_name("reads_hostile_replies.py")
        done = subprocess.run(
            [sys.executable, reader, tmp_path, *(f"{name}={server.url}" for name, server in servers.items())],
            capture_output=True, text=True, check=False, timeout=100,
        )  # fmt: skip
    assert done.returncode == 0, done.stderr[-2000:]
    told = {(line := json.loads(text))["kind"]: line for text in done.stdout.splitlines()}
    assert set(told) == set(kinds())
    for name, line in told.items():
        assert line["calls"] == CALLS, line
        assert line["memory_mb"] < MOST_MB, line
        assert line["refused"], "attach says in one sentence what was wrong"
        assert "\n" not in line["refused"], line
        assert line["outcomes"] == ["info"] or name in READABLE, line
