"""A careful HTTP client: one operation over one connection, with a deadline and a limit on bytes.

Whatever a service sends, the client goes on: a reply that is too large is cut off, one that is too slow is
given up, redirects are not followed, cookies are not kept, and a proxy in the environment is not asked.
"""

from __future__ import annotations

import json as jsonlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import httpx

from kernel_lab.traffic.bounded import BoundedTransport, worker_of

MOST_BYTES = 1 << 20
"""The most of a reply that is read."""
DEADLINE_S = 10.0
"""The longest that an operation may take, with all of its requests."""
WORKER_HEADER = "x-lab-worker"


class Unclear(Exception):  # noqa: N818 - it names a thing
    """A reply that proves nothing: the operation may have had its effect, or not; the message is a short reason."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Reply:
    """The reply of a service."""

    status: int
    headers: Mapping[str, str]
    """Names in lower case."""
    body: bytes
    cut: bool = False
    """The reply was larger than `MOST_BYTES`: `body` is its beginning."""

    @property
    def text(self) -> str:
        """The body as text; bytes that are not UTF-8 are replaced."""
        return self.body.decode("utf-8", errors="replace")

    def json(self) -> Any:
        """The body as JSON.

        Raises:
            Unclear: It is none.
        """
        try:
            return jsonlib.loads(self.body)
        except (ValueError, RecursionError):
            raise Unclear(f"http_{self.status}_no_json") from None

    def means(self, *, ok: int | tuple[int, ...], refused: int | tuple[int, ...]) -> bool:
        """True for a status in `ok`, False for one in `refused`.

        Raises:
            Unclear: The status is in neither, or the reply was cut off.
        """
        if self.cut:
            raise Unclear("reply_too_large")
        for statuses, meaning in ((ok, True), (refused, False)):
            if self.status in ((statuses,) if isinstance(statuses, int) else statuses):
                return meaning
        raise Unclear(f"http_{self.status}")

    def expect(self, *statuses: int) -> Reply:
        """Return the reply itself, if its status is one of these.

        Raises:
            Unclear: The status is none of these, or the reply was cut off.
        """
        self.means(ok=statuses, refused=())
        return self


@dataclass(slots=True)
class Http:
    """Requests of one operation. They share a connection; the last reply that names a worker says who answered."""

    client: httpx.AsyncClient
    headers: Mapping[str, str] = field(default_factory=dict)
    """Sent with every request."""
    workers: list[str] = field(default_factory=list)
    """The workers that answered, each once, in their order."""
    last: Reply | None = None
    """The last reply."""
    address: object = None
    """The local end of the connection of the last reply."""

    async def get(self, path: str, *, headers: Mapping[str, str] | None = None) -> Reply:
        """GET a path."""
        return await self.request("GET", path, headers=headers)

    async def post(
        self,
        path: str,
        *,
        json: Any = None,
        form: Mapping[str, str] | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> Reply:
        """POST JSON or a form."""
        return await self.request("POST", path, json=json, form=form, headers=headers)

    async def request(
        self,
        method: str,
        path: str,
        *,
        json: Any = None,
        form: Mapping[str, str] | None = None,
        content: str | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> Reply:
        """Send one request and read its reply."""
        async with self.client.stream(
            method, path, json=json, data=form, content=content, headers={**self.headers, **(headers or {})}
        ) as response:
            worker = worker_of(response, WORKER_HEADER)
            if worker and worker not in self.workers:
                self.workers.append(worker)
            self._remember(response)
            body, cut = b"", False
            async for chunk in response.aiter_bytes():
                body += chunk
                if len(body) > MOST_BYTES:
                    body, cut = body[:MOST_BYTES], True
                    break
        self.client.cookies.clear()  # a cookie of one caller must not become the next one's
        headers_ = {name.lower(): value for name, value in response.headers.items()}
        self.last = Reply(status=response.status_code, headers=headers_, body=body, cut=cut)
        return self.last

    def _remember(self, response: httpx.Response) -> None:
        try:
            self.address = response.extensions["network_stream"].get_extra_info("client_addr")
        except (OSError, KeyError):
            self.address = None


def open_client(base_url: str, *, insecure: bool = False, address: str | None = None) -> httpx.AsyncClient:
    """A client that keeps one connection.

    Args:
        base_url: Where the service is.
        insecure: Do not verify its TLS certificate.
        address: The local address to call from; None: the system chooses one.
    """
    transport = httpx.AsyncHTTPTransport(
        limits=httpx.Limits(max_connections=1, max_keepalive_connections=1, keepalive_expiry=None),
        # plain HTTP needs no TLS context, and making one takes 20 ms
        verify=base_url.startswith("https:") and not insecure,
        local_address=address,
    )
    # a reply that is too large is cut off by its reader, which says so; the transport's limit lies above
    bounded = BoundedTransport(transport, deadline_s=DEADLINE_S, most_bytes=2 * MOST_BYTES)
    return httpx.AsyncClient(base_url=base_url, timeout=DEADLINE_S, trust_env=False, transport=bounded)
