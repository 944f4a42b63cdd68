"""Read a reply within limits, whatever a server sends.

Each call has one deadline, from its start to the last byte of its reply, and the body of a reply has a limit. A call
asks for no compression, and a compressed body is not unpacked, so a small reply cannot become a large one. Cookies are
dropped: a cookie of one principal would travel with the next principal's call, and a jar grows without end.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import httpx

MOST_BYTES = 1 << 20
"""The longest body of a reply, in bytes."""
LONGEST_NAME = 200
"""The longest name of a worker, in characters."""
DEADLINE = "kernel_lab.deadline_s"
"""The extension of a request that gives it another deadline, in seconds."""


class ReplyTooLarge(httpx.ReadError):
    """The body of a reply is longer than `MOST_BYTES`. The rest was not read."""


class DeadlinePassed(httpx.ReadTimeout):
    """A call was not answered in full by its deadline."""


class BoundedTransport(httpx.AsyncBaseTransport):
    """Hands each request to `inner`, and bounds how long it takes and how much of its reply is read.

    Args:
        inner: The transport that has the connections.
        deadline_s: Seconds from the start of a call to the last byte of its reply.
        most_bytes: The longest body that is read.
    """

    def __init__(
        self, inner: httpx.AsyncBaseTransport, *, deadline_s: float, most_bytes: int = MOST_BYTES
    ) -> None:
        self._inner = inner
        self._deadline_s = deadline_s
        self._most_bytes = most_bytes

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        """Send one request, and return its reply with a bounded body.

        Raises:
            DeadlinePassed: The head of the reply was not there in time.
        """
        request.headers["Accept-Encoding"] = "identity"
        within_s = request.extensions.get(DEADLINE, self._deadline_s)
        deadline_s = asyncio.get_running_loop().time() + within_s
        try:
            async with asyncio.timeout_at(deadline_s):
                response = await self._inner.handle_async_request(request)
        except TimeoutError:
            raise DeadlinePassed(f"no reply within {within_s:g} s", request=request) from None
        for name in ("Content-Encoding", "Set-Cookie"):
            response.headers.pop(name, None)
        # a character set that the reply names could be a codec that unpacks
        response.encoding = "utf-8"
        assert isinstance(response.stream, httpx.AsyncByteStream)  # noqa: S101 - as the transport's contract says
        response.stream = _BoundedBody(response.stream, deadline_s, self._most_bytes)
        return response

    async def aclose(self) -> None:
        """Close the connections."""
        await self._inner.aclose()


class _BoundedBody(httpx.AsyncByteStream):
    """The body of a reply, up to its limit and its deadline."""

    def __init__(self, body: httpx.AsyncByteStream, deadline_s: float, most_bytes: int) -> None:
        self._body = body
        self._deadline_s = deadline_s
        self._most_bytes = most_bytes

    async def __aiter__(self) -> AsyncIterator[bytes]:
        chunks = aiter(self._body)
        read = 0
        while True:
            try:
                async with asyncio.timeout_at(self._deadline_s):
                    chunk = await anext(chunks, None)
            except TimeoutError:
                raise DeadlinePassed("the reply had not ended by the deadline of its call") from None
            if chunk is None:
                return
            read += len(chunk)
            if read > self._most_bytes:
                raise ReplyTooLarge(f"the reply has more than {self._most_bytes:,} bytes")
            yield chunk

    async def aclose(self) -> None:
        await self._body.aclose()


def worker_of(response: httpx.Response, header: str) -> str | None:
    """The worker that a reply names; None where it names none, or where the name is no short printable text."""
    name: str | None = response.headers.get(header)
    if name is None or len(name) > LONGEST_NAME or not name.isprintable():
        return None
    return name
