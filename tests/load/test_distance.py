"""The distance of a remote kernel is its whole answer's, however many pieces it comes in."""

import asyncio

from kernel_lab.faults.proxy import Proxy
from kernel_lab.load import distance


async def _in_two_pieces(reader, writer):
    while await reader.readuntil(b"\r\n\r\n"):
        writer.write(b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\n")
        await writer.drain()
        await asyncio.sleep(0.002)
        writer.write(b"ok")
        await writer.drain()


async def _serve(reader, writer):
    try:
        await _in_two_pieces(reader, writer)
    except (asyncio.IncompleteReadError, ConnectionError):
        writer.close()


async def test_no_ping_of_a_remote_kernel_is_faster_than_the_distance(monkeypatch):
    monkeypatch.setattr(distance, "_PINGS", 9)
    server = await asyncio.start_server(_serve, "127.0.0.1", 0)
    async with server, Proxy("127.0.0.1", server.sockets[0].getsockname()[1]) as proxy:
        await proxy.set_rtt(20.0)
        assert await asyncio.to_thread(distance._ping_remote, proxy.port) >= 20.0
