"""Free TCP ports on loopback."""

from __future__ import annotations

import random
import socket
from collections.abc import Collection
from pathlib import Path

LOOPBACK = "127.0.0.1"

_LOCAL_PORT_RANGE = Path("/proc/sys/net/ipv4/ip_local_port_range")
_ANY = range(10_000, 65_536)
_choice = random.SystemRandom().choice  # another run with the same seed must not draw the same ports


def ephemeral_range() -> range:
    """The ports the kernel gives to outgoing connections. Where the system does not tell them, it is IANA's range."""
    try:
        first, last = map(int, _LOCAL_PORT_RANGE.read_text(encoding="ascii").split())
    except (OSError, ValueError):
        first, last = 49_152, 65_535
    return range(first, last + 1)


def server_ports() -> list[int]:
    """The ports of servers: outside the ephemeral range, if any ports are left outside of it.

    An outgoing connection of our own traffic could otherwise take a port between its choice and its use.
    """
    ephemeral = ephemeral_range()
    return [port for port in _ANY if port not in ephemeral]


def free_port(avoid: Collection[int] = ()) -> int:
    """A port on which nobody listens, and which is not in `avoid`.

    Another server can still be quicker, so the code that binds it must be ready to ask again.

    Raises:
        OSError: A hundred ports in a row were taken.
    """
    ports = server_ports() or list(_ANY)
    for _ in range(100):
        port = _choice(ports)
        if port not in avoid and is_free(port):
            return port
    raise OSError(f"no free port on {LOOPBACK}: a hundred between {ports[0]} and {ports[-1]} were taken")


def is_free(port: int) -> bool:
    """Whether a server could bind `port` now."""
    with socket.socket() as tried:
        tried.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)  # as servers do: TIME_WAIT is no obstacle
        try:
            tried.bind((LOOPBACK, port))
        except OSError:
            return False
        return True
