"""``?wait=N``: no answer is given that a replica could contradict after its promotion."""

from __future__ import annotations

import signal
import time

import pytest
from bridged import PREFIX, open_state
from places import PATIENT

from beside_upstream.servers import server, until
from kernel_lab.deployments.ports import LOOPBACK
from lab.state import BadStateURL, StateOptions, StateUnavailable

OPTIONS = StateOptions(timeout_ms=2_000, secret=PATIENT.secret)


def told(call, *arguments):
    """The answer, once the replica keeps up: on a busy machine it may be late."""
    for _ in range(50):
        try:
            return call(*arguments)
        except StateUnavailable:
            time.sleep(0.1)
    raise AssertionError("the replica does not keep up")


def test_what_no_replica_has_is_not_acknowledged():
    with (
        server() as primary,
        server("--replicaof", LOOPBACK, str(primary.port)) as replica,
        replica.client() as client,
    ):
        until(lambda: client.info("replication")["master_link_status"] == "up", "the replica follows")
        url = f"redis://{LOOPBACK}:{primary.port}/0?wait=1"
        plain, held = open_state(url, OPTIONS), open_state(PREFIX + url, OPTIONS)
        try:
            told(plain.revocations.revoke, "t")
            told(held.revocations.revoke, "u")
            assert [client.get(f"{{lab:revocations}}:token:{one}") for one in "tu"] == ["1", "1"]
            assert told(held.revocations.is_revoked, "t")
            replica.signal(signal.SIGSTOP)
            said = "0 of 1 replicas confirmed it within 1000 ms|no reply within|not asked again yet"
            with pytest.raises(StateUnavailable, match=said):
                plain.revocations.revoke("v")
            with pytest.raises(StateUnavailable, match=said):
                held.revocations.revoke("w")
            with pytest.raises(StateUnavailable, match=said):
                held.revocations.is_revoked("v")  # it is revoked, and a promotion would undo it
            replica.signal(signal.SIGCONT)
            assert told(held.revocations.is_revoked, "v")
            assert client.get("{lab:revocations}:token:v") == "1"
        finally:
            replica.signal(signal.SIGCONT)
            plain.close()
            held.close()


@pytest.mark.parametrize(
    ("url", "said"),
    [
        ("cached+redis://h:1/0?wait=1", "cannot be combined with cached+"),
        ("redis+cluster://h:1?wait=1", "no parameter 'wait' here"),
        ("redis://h:1/0?wait=some", "wait='some' is no whole number"),
    ],
)
def test_a_wait_that_could_not_be_kept_is_refused(url, said):
    with pytest.raises(BadStateURL) as error:
        open_state(url)
    assert said in str(error.value)
