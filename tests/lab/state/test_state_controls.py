"""gunicorn's stash as a state: shared, and wrong as soon as two workers ask at once."""

import json
import subprocess
import sys
import threading
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest

from beside_upstream.servers import until
from kernel_lab.deployments.ports import LOOPBACK, free_port
from lab.state import StateOptions, StateUnavailable, open_state

APP = """
import json, time
from lab.state import StateOptions, open_state

state = open_state("stash://", StateOptions(timeout_ms=20_000))

def app(environ, start_response):
    revocations, limiter = state.revocations, state.limiter
    path = environ["PATH_INFO"]
    if path.startswith("/acquire/"):
        answer = sum(limiter.check(path, 50, 3600) for _ in range(100))
    elif path == "/revoke":
        revocations.track("alice", "t1", None)
        answer = [revocations.is_revoked("t1"), revocations.revoke_principal("alice")]
    else:
        answer = [revocations.is_revoked("t1"), revocations.revoke_principal("alice")]
    start_response("200 OK", [("Content-Type", "application/json")])
    return [json.dumps(answer).encode()]
"""


@pytest.fixture
def base_url(tmp_path: Path) -> Iterator[str]:
    """Four plain workers of a gunicorn that keeps a stash."""
    (tmp_path / "stashing.py").write_text(APP)
    port = free_port()
    command = [
        sys.executable, "-m", "gunicorn", "stashing:app", "--workers", "4", "--bind", f"{LOOPBACK}:{port}",
        "--dirty-app", "lab.state.controls:Stash", "--dirty-workers", "1", "--name", f"lab-test-{port}",
        "--no-control-socket", "--graceful-timeout", "1",
    ]  # fmt: skip
    with (tmp_path / "log").open("wb") as log:
        gunicorn = subprocess.Popen(command, cwd=tmp_path, stdout=log, stderr=log)
    try:
        until(lambda: answered(f"http://{LOOPBACK}:{port}/look"), "gunicorn answers", within_s=90)
        yield f"http://{LOOPBACK}:{port}"
    finally:
        gunicorn.terminate()
        gunicorn.wait()


def answered(url: str) -> object:
    try:
        with urllib.request.urlopen(url, timeout=30) as reply:  # noqa: S310 - ours
            return json.loads(reply.read())
    except OSError:
        return None


def _together(url: str) -> int:
    """What eight callers at once were admitted in all."""
    admitted: list[object] = []
    threads = [threading.Thread(target=lambda: admitted.append(answered(url))) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return sum(n for n in admitted if isinstance(n, int))


def test_gunicorns_stash_is_shared_and_admits_too_many(base_url: str) -> None:
    # whether two workers ask at once is chance: one of many windows is enough
    totals = []
    for window in range(30):
        url = f"{base_url}/acquire/{window}"
        totals.append(_together(url))
        assert [answered(url) for _ in range(8)] == [0] * 8, "what all have seen, all count"
        if totals[-1] > 50:
            break
    assert totals[-1] > 50, f"{totals}: the limit was kept"

    assert answered(f"{base_url}/revoke") == [False, 1]
    assert [answered(f"{base_url}/look") for _ in range(4)] == [[True, 0]] * 4


def test_without_a_stash_the_state_is_unavailable() -> None:
    state = open_state("stash://", StateOptions(timeout_ms=50))
    with pytest.raises(StateUnavailable, match="dirty_workers"):
        state.revocations.is_revoked("t1")
    state.close()
