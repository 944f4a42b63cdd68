"""A writer killed at any moment: nothing acknowledged is lost, nothing is left locked."""

import os
import random
import signal
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from bridged import open_state
from places import PATIENT, Process

KILLS = int(os.environ.get("LAB_TEST_KILLS", "10"))
"""200 are asked for where thoroughness is worth a minute."""


@pytest.mark.timeout(60 + KILLS)
@pytest.mark.parametrize("name", ["sqlite", "redis", "bridged+redis", "bridged+sqlite"])
def test_a_killed_writer_loses_nothing_it_acknowledged_and_leaves_no_lock(
    name: str, url_of: Callable[[str], str], tmp_path: Path, processes: list[Process]
) -> None:
    url = url_of(name)
    state = open_state(url, PATIENT)
    traces: Any = state.traces
    seed = random.randrange(2**32)
    moments = random.Random(seed)
    parent = processes[0]
    recorded: list[str] = []
    for round_ in range(KILLS):
        acknowledged = tmp_path / f"acknowledged{round_}"
        parent.ask("write_until_killed", url, again=url, principal=str(acknowledged))
        pid = parent.answer()
        while not acknowledged.exists():
            time.sleep(0.002)
        time.sleep(moments.uniform(0, 0.03))
        os.kill(pid, signal.SIGKILL)
        parent.ask("reap", url, pid=pid)
        assert parent.answer() == signal.SIGKILL, "the writer ended before it was killed"

        lines = acknowledged.read_text().splitlines()
        pairs = [line.split() for line in lines if len(line.split()) == 2]
        good = [token for token, _ in pairs if not state.revocations.is_revoked(token)]
        assert not good, f"seed {seed}, round {round_}: acknowledged and lost"
        # no lock was left: each of these would wait for it
        state.revocations.revoke(f"after-{round_}")
        assert state.limiter.check(str(acknowledged), 10**6, 60)
        recorded += [action for _, action in pairs]
    listed = {trace.action_id for trace in traces.list_all()[-10_000:]}
    missing = [action for action in recorded[-1000:] if action not in listed]
    assert not missing, f"seed {seed}: acknowledged and lost"
    result = traces.verify_chain()
    assert result.ok, result.detail
    state.close()
