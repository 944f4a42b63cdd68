"""A real server whose replies are meant to harm whoever reads them. One path, one kind of reply."""

import asyncio
import bz2
import gzip
import itertools
import random
import threading
from collections.abc import AsyncIterator, Callable
from functools import cache
from typing import Self

import brotli

MEGABYTE = 1 << 20
PLAIN = b"HTTP/1.1 200 OK\r\nX-Lab-Worker: w/1/a\r\n"
END = b"Connection: close\r\n\r\n"
names = itertools.count()

Kind = Callable[[], AsyncIterator[bytes]]


def whole(body: bytes, *headers: bytes) -> bytes:
    """A reply with a body of stated length."""
    lines = b"".join(header + b"\r\n" for header in headers)
    return PLAIN + lines + b"Content-Length: %d\r\n" % len(body) + END + body


def quick_brotli(data: bytes) -> bytes:
    """Brotli at its quickest."""
    return brotli.compress(data, quality=1)


@cache
def packed(pack: Callable[[bytes], bytes]) -> bytes:
    """128 megabytes of nothing, in less than one."""
    return pack(bytes(128 * MEGABYTE))


def bomb(pack: Callable[[bytes], bytes], *headers: bytes) -> Kind:
    """A body that unpacks to 500 times its length and more."""

    sent = whole(packed(pack), *headers)

    async def reply() -> AsyncIterator[bytes]:
        yield sent

    return reply


async def dripped_head() -> AsyncIterator[bytes]:
    yield b"HTTP/1.1 200 OK\r\n"
    while True:
        yield b"X-More: 1\r\n"
        await asyncio.sleep(0.05)


async def dripped_body() -> AsyncIterator[bytes]:
    yield PLAIN + b"Content-Length: 1000000\r\n" + END
    while True:
        yield b"x"
        await asyncio.sleep(0.05)


async def endless_body() -> AsyncIterator[bytes]:
    yield PLAIN + b"Transfer-Encoding: chunked\r\n" + END
    while True:
        yield b"10000\r\n" + b"x" * 65536 + b"\r\n"


async def endless_frames() -> AsyncIterator[bytes]:
    yield PLAIN + END
    while True:
        yield b'{"action_id": "a", "is_final": false}\n'
        await asyncio.sleep(0.01)


async def hundred_megabytes() -> AsyncIterator[bytes]:
    yield PLAIN + b"Content-Length: %d\r\n" % (100 * MEGABYTE) + END
    for _ in range(100):
        yield b" " * MEGABYTE


async def endless_head() -> AsyncIterator[bytes]:
    yield b"HTTP/1.1 200 OK\r\nX-Long: "
    while True:
        yield b"x" * 65536


async def endless_information() -> AsyncIterator[bytes]:
    while True:
        yield b"HTTP/1.1 103 Early Hints\r\n\r\n"


async def another_name() -> AsyncIterator[bytes]:
    yield b"HTTP/1.1 200 OK\r\nX-Lab-Worker: w/%d/a\r\nContent-Length: 2\r\n" % next(names) + END + b"{}"


async def cookies() -> AsyncIterator[bytes]:
    jar = (b"Set-Cookie: c%d=%s" % (next(names), b"x" * 30_000) for _ in range(2))
    yield whole(b"{}", *jar)


async def deep() -> AsyncIterator[bytes]:
    yield whole(b"[" * MEGABYTE)


async def many_objects() -> AsyncIterator[bytes]:
    yield whole(b"[" + b"{}," * 340_000 + b"{}]")


async def not_http() -> AsyncIterator[bytes]:
    yield b"\x00" * 1000


def kinds() -> dict[str, Kind]:
    """Every kind of reply, by name."""
    return {
        "dripped_head": dripped_head,
        "dripped_body": dripped_body,
        "endless_body": endless_body,
        "endless_frames": endless_frames,
        "endless_head": endless_head,
        "endless_information": endless_information,
        "hundred_megabytes": hundred_megabytes,
        "gzip_bomb": bomb(gzip.compress, b"Content-Encoding: gzip"),
        "brotli_bomb": bomb(quick_brotli, b"Content-Encoding: br"),
        "charset_bomb": bomb(bz2.compress, b"Content-Type: text/plain; charset=bz2"),
        "another_name": another_name,
        "cookies": cookies,
        "deep": deep,
        "many_objects": many_objects,
        "not_http": not_http,
    }


JSON = (
    "null", "[]", "{}", "1e999", "-1", "1" * 400, '"x"', '"\\u0000"', '"a\\nb"', '"../.."', '"[/red]"',
    '"\\u001b[2J"', "[[[]]]", "true", '{"token": {"token_id": 1}}', '{"reason_code": [1]}', '"=1+1"', '"\\ud800"',
)  # fmt: skip
FIELDS = (
    "token", "token_id", "capability_id", "capabilities", "principal_id", "state", "reason_code", "action_id",
    "handle_id", "rows", "tokens", "response_mode", "revoked", "action_ids", "valid", "records", "total", "used",
    "window_s", "limits", "rate_limits", "version", "error", "is_final", "grants", "safety_class", "sensitivity",
)  # fmt: skip
HEADERS = (
    b"Content-Encoding: gzip", b"Content-Encoding: br", b"Content-Type: text/html; charset=punycode",
    b"Retry-After: \xc2\xb2", b"Retry-After: 99999999", b"Location: http://[", b"Location: //evil",
    b"Set-Cookie: a=b", b"X-Lab-Worker: \x1b[2J", b"X-Lab-Worker: " + b"n" * 5000, b"X-Lab-Worker: =1+1",
    b"Transfer-Encoding: chunked", b"Content-Length: 5", b"Content-Length: -1", b"Connection: upgrade", b"\xff: \xff",
)  # fmt: skip
STATUSES = (200, 200, 200, 200, 200, 201, 204, 101, 302, 304, 400, 401, 404, 409, 429, 500, 503, 999)


def value(rng: random.Random, depth: int = 0) -> str:
    """Some JSON, or nearly."""
    if depth > 3 or rng.random() < 0.4:
        return rng.choice(JSON)
    if rng.random() < 0.2:
        return "[" + ",".join(value(rng, depth + 1) for _ in range(rng.randint(0, 3))) + "]"
    pairs = (f'"{rng.choice(FIELDS)}":{value(rng, depth + 1)}' for _ in range(rng.randint(1, 8)))
    return "{" + ",".join(pairs) + "}"


def spoilt(rng: random.Random, right: bytes = b"") -> bytes:
    """One reply: a right body or a random one, with a status, headers and damage by chance."""
    body = right if right and rng.random() < 0.5 else value(rng).encode("utf-8", "surrogatepass")
    if rng.random() < 0.2 and body:
        at = rng.randrange(len(body))
        body = body[:at] + rng.randbytes(rng.randint(0, 4)) + body[at + 1 :]
    head = b"HTTP/1.1 %d X\r\nX-Lab-Worker: w/%d/a\r\n" % (rng.choice(STATUSES), rng.randint(1, 2))
    for header in rng.sample(HEADERS, rng.choice((0, 0, 0, 1, 2))):
        head += header + b"\r\n"
    raw = head + b"Content-Length: %d\r\n" % len(body) + END + body
    if rng.random() < 0.1:
        raw = raw[: rng.randrange(len(raw))]
    return raw


class HostileServer:
    """Answers each connection with what `reply` makes for its request, from a thread of its own.

    A connection is closed after its first reply, unless they are `kept`.
    """

    def __init__(self, reply: Callable[[bytes], AsyncIterator[bytes]], *, kept: bool = False) -> None:
        self._reply = reply
        self._kept = kept
        self._ready = threading.Event()
        self._thread = threading.Thread(target=lambda: asyncio.run(self._serve()), daemon=True)
        self.url = ""

    async def _serve(self) -> None:
        self._loop, self._ended = asyncio.get_running_loop(), asyncio.Event()
        server = await asyncio.start_server(self._answer, "127.0.0.1", 0, limit=MEGABYTE, backlog=512)
        self.url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
        self._ready.set()
        await self._ended.wait()
        server.close()

    def __enter__(self) -> Self:
        self._thread.start()
        assert self._ready.wait(10)
        return self

    def __exit__(self, *_: object) -> None:
        self._loop.call_soon_threadsafe(self._ended.set)
        self._thread.join(10)

    async def _answer(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while True:
                request = await reader.readuntil(b"\r\n\r\n")
                async for part in self._reply(request):
                    writer.write(part)
                    await writer.drain()
                if not self._kept:
                    break
            writer.close()
            await writer.wait_closed()
        except (OSError, asyncio.IncompleteReadError, asyncio.LimitOverrunError, asyncio.CancelledError):
            pass  # the client has hung up, or the test has ended
        finally:
            writer.transport.abort()
