"""The proxy, between real sockets."""

import asyncio
import subprocess
import sys
import time
from collections.abc import AsyncIterator
from pathlib import Path

import psutil
import pytest

from kernel_lab.faults import proxy as module
from kernel_lab.faults.proxy import LOOPBACK, Counts, Proxy

Streams = tuple[asyncio.StreamReader, asyncio.StreamWriter]


@pytest.fixture
async def echo() -> AsyncIterator[int]:
    """A store that answers with what it was asked."""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while data := await reader.read(65_536):
            writer.write(data)
        writer.close()

    server = await asyncio.start_server(serve, LOOPBACK, 0)
    yield server.sockets[0].getsockname()[1]
    server.close()


async def ask(streams: Streams, what: bytes) -> bytes:
    reader, writer = streams
    writer.write(what)
    return await reader.readexactly(len(what))


async def connect(proxy: Proxy) -> Streams:
    return await asyncio.open_connection(LOOPBACK, proxy.port)


async def test_at_no_distance_it_is_as_if_to_the_target(echo):
    async with Proxy(LOOPBACK, echo) as proxy:
        streams = await connect(proxy)
        assert await ask(streams, b"x" * 300_000) == b"x" * 300_000
        streams[1].close()


async def test_new_connections_go_to_the_server_that_the_address_has_moved_to(echo):
    async def shout(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write((await reader.read(65_536)).upper())
        writer.close()

    other = await asyncio.start_server(shout, LOOPBACK, 0)
    async with Proxy(LOOPBACK, echo) as proxy:
        before = await connect(proxy)
        assert await ask(before, b"ping") == b"ping"
        await proxy.lead_to(other.sockets[0].getsockname()[1])
        after = await connect(proxy)
        assert await ask(after, b"ping") == b"PING"
        assert await ask(before, b"ping") == b"ping"
        for _, writer in (before, after):
            writer.close()
    other.close()


@pytest.mark.parametrize("rtt_ms", [0.5, 5.0])
async def test_no_answer_comes_back_before_its_round_trip(echo, rtt_ms):
    async with Proxy(LOOPBACK, echo) as proxy:
        await proxy.set_rtt(rtt_ms)
        streams = await connect(proxy)
        for _ in range(3):
            began = time.monotonic()
            await ask(streams, b"ping")
            assert time.monotonic() - began >= rtt_ms / 1000
        streams[1].close()


async def test_a_distance_that_shrinks_reorders_nothing(echo):
    async with Proxy(LOOPBACK, echo) as proxy:
        await proxy.set_rtt(200)
        reader, writer = await connect(proxy)
        writer.write(b"first ")
        await writer.drain()
        while (await proxy.counts()).requests == 0:
            pass
        await proxy.set_rtt(0)
        writer.write(b"second")
        assert await reader.readexactly(12) == b"first second"
        writer.close()


async def test_a_partition_that_holds_keeps_the_bytes_for_later(echo):
    async with Proxy(LOOPBACK, echo) as proxy:
        before = await connect(proxy)
        await ask(before, b"hello")
        await proxy.partition("hold")
        during = await connect(proxy)
        waiting = [asyncio.create_task(ask(streams, b"anybody?")) for streams in (before, during)]
        while (await proxy.counts()).requests < 3:
            pass
        assert not any(task.done() for task in waiting)
        await proxy.heal()
        assert await asyncio.gather(*waiting) == [b"anybody?"] * 2
        for _, writer in (before, during):
            writer.close()


async def test_a_partition_that_resets_breaks_what_is_there_and_what_comes(echo):
    async with Proxy(LOOPBACK, echo) as proxy:
        before = await connect(proxy)
        await ask(before, b"hello")
        await proxy.partition("reset")
        during = await connect(proxy)
        for reader, writer in (before, during):
            with pytest.raises((ConnectionError, asyncio.IncompleteReadError)):
                await reader.readexactly(1)
            writer.close()
        await proxy.heal()
        after = await connect(proxy)
        assert await ask(after, b"again") == b"again"
        after[1].close()


async def test_a_large_request_is_one_round_trip():
    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        for _ in range(2):
            await reader.readexactly(500_000)
            writer.write(b"+")
        writer.close()

    server = await asyncio.start_server(serve, LOOPBACK, 0)
    async with server, Proxy(LOOPBACK, server.sockets[0].getsockname()[1]) as proxy:
        reader, writer = await connect(proxy)
        for _ in range(2):
            writer.write(b"x" * 500_000)
            assert await reader.readexactly(1) == b"+"
        assert (await proxy.counts()).requests == 2
        writer.close()


async def test_it_counts_connections_and_requests(echo):
    async with Proxy(LOOPBACK, echo) as proxy:
        for _ in range(2):
            streams = await connect(proxy)
            for _ in range(3):
                await ask(streams, b"ping")
            streams[1].close()
        assert await proxy.counts() == Counts(connections=2, requests=6)


async def test_a_store_that_is_not_there_is_a_broken_connection(echo):
    async with Proxy(LOOPBACK, 1) as proxy:
        reader, writer = await connect(proxy)
        with pytest.raises((ConnectionError, asyncio.IncompleteReadError)):
            await reader.readexactly(1)
        writer.close()


async def test_it_is_gone_afterwards(echo):
    async with Proxy(LOOPBACK, echo) as proxy:
        pid = proxy.pid
    assert not psutil.pid_exists(pid)


def test_it_ends_with_its_standard_input():
    """However the harness dies, the pipe is closed."""
    program = subprocess.Popen(
        [sys.executable, "-I", "-S", Path(module.__file__), LOOPBACK, "1"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    )
    assert program.stdout is not None
    assert b"port" in program.stdout.readline()
    program.communicate()
    assert program.returncode == 0
