"""Ports for servers: free, ours, and out of the way of outgoing connections."""

import socket

import pytest

from kernel_lab.deployments import ports


@pytest.fixture
def local_port_range(monkeypatch, tmp_path):
    path = tmp_path / "ip_local_port_range"
    monkeypatch.setattr(ports, "_LOCAL_PORT_RANGE", path)
    return path


def test_a_port_with_a_listener_is_not_free():
    with socket.create_server((ports.LOOPBACK, 0)) as listener:
        assert not ports.is_free(listener.getsockname()[1])


def test_a_listener_that_would_share_its_port_is_still_a_listener():
    with socket.socket() as listener:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        listener.bind((ports.LOOPBACK, 0))
        listener.listen()
        assert not ports.is_free(listener.getsockname()[1])


def test_a_port_that_a_closed_connection_lingers_on_is_free():
    with socket.create_server((ports.LOOPBACK, 0)) as listener:
        address = listener.getsockname()
        client = socket.create_connection(address)
        accepted, _ = listener.accept()
        accepted.close()  # who closes first is left in TIME_WAIT, here the server's side
        client.close()
    assert ports.is_free(address[1])


@pytest.mark.parametrize(
    ("told", "first", "last"),
    [("32768\t60999\n", 32_768, 60_999), ("not numbers", 49_152, 65_535), (None, 49_152, 65_535)],
)
def test_the_ephemeral_range_is_the_kernels_or_else_ianas(local_port_range, told, first, last):
    if told is not None:
        local_port_range.write_text(told)
    ephemeral = ports.ephemeral_range()
    assert (ephemeral[0], ephemeral[-1]) == (first, last)


def test_servers_are_put_outside_the_ephemeral_range(local_port_range):
    local_port_range.write_text("10010 65000")
    assert ports.server_ports() == [*range(10_000, 10_010), *range(65_001, 65_536)]
    assert all(ports.free_port() in ports.server_ports() for _ in range(20))


def test_where_the_ephemeral_range_leaves_nothing_any_port_will_do(local_port_range):
    local_port_range.write_text("1024 65535")
    assert ports.server_ports() == []
    assert ports.free_port() >= 10_000


def test_a_port_that_is_to_be_avoided_is_not_given(local_port_range, monkeypatch):
    local_port_range.write_text("10002 65535")
    monkeypatch.setattr(ports, "is_free", lambda _port: True)
    assert {ports.free_port(avoid={10_000}) for _ in range(20)} == {10_001}


def test_when_every_port_is_taken_the_error_says_where_was_looked(local_port_range, monkeypatch):
    local_port_range.write_text("10003 65535")
    monkeypatch.setattr(ports, "is_free", lambda _port: False)
    with pytest.raises(OSError, match="a hundred between 10000 and 10002 were taken"):
        ports.free_port()
