"""``fallback+redis://``: wrong on purpose, and only while its store is away."""

from __future__ import annotations

from kernel_lab.deployments.ports import free_port
from lab.state import StateOptions, open_state


def test_without_its_store_it_counts_and_remembers_alone():
    port = free_port()
    state = open_state(f"fallback+redis://127.0.0.1:{port}/0", StateOptions())
    other = open_state(f"fallback+redis://127.0.0.1:{port}/0", StateOptions())
    try:
        assert [state.limiter.check("k", 2, 60.0) for _ in range(3)] == [True, True, False]
        assert other.limiter.check("k", 2, 60.0), "another process counts alone"
        state.revocations.revoke("t")
        assert state.revocations.is_revoked("t")
        assert not other.revocations.is_revoked("t"), "another process has not heard of it"
    finally:
        state.close()
        other.close()
