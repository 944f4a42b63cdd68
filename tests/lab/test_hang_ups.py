"""Callers who hang up, in the middle of their request or of their reply, leave the log as it was."""

import json
import os
import socket
import struct
from pathlib import Path

import pytest
from serving import serving

HANG_UPS = int(os.environ.get("KERNEL_LAB_HANG_UPS", "100"))
pytestmark = [pytest.mark.live, pytest.mark.timeout(120)]


def hang_up(address: tuple[str, int], path: str, body: bytes, sent: int, *, reset: bool) -> None:
    """Send the first bytes of a request and close the connection, by a reset or in order."""
    head = (
        f"POST {path} HTTP/1.1\r\nHost: lab\r\nX-Principal-Id: alice\r\nContent-Type: application/json\r\n"
        f"Content-Length: {len(body)}\r\n\r\n"
    )
    with socket.create_connection(address, timeout=10) as connection:
        connection.sendall(head.encode() + body[:sent])
        if reset:
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))


@pytest.mark.parametrize("sidecar", ["0", pytest.param("1", marks=pytest.mark.slow)])
def test_hang_ups_write_nothing_to_the_log(tmp_path: Path, sidecar: str) -> None:
    with serving(tmp_path / "log", workers="1", sidecar=sidecar, stream_chunk_ms="1") as server:
        client = server.client_as("alice")
        token = client.post("/grants", json={"capability_id": "billing.export_invoices"}).json()["token"]
        body = json.dumps({"token": token}).encode()
        host, port = server.url.removeprefix("http://").split(":")
        before = server.log.stat().st_size
        for number in range(HANG_UPS):
            path = ("/invocations", "/invocations/stream")[number % 2]
            sent = (0, 50, len(body))[number % 3]
            hang_up((host, int(port)), path, body, sent, reset=number % 4 < 2)
        assert client.post("/invocations", json={"token": token}).status_code == 200
    written = server.log.read_bytes()[before:]
    assert written.count(b"Traceback") == 0, written[:2000]
    assert len(written) < 10_000
