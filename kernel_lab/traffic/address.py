"""The address of an instrument's calls, and the headers of every call."""

from __future__ import annotations

import itertools
import ssl
from collections.abc import Awaitable, Callable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import cache

import httpx

from kernel_lab.traffic.between import Between
from kernel_lab.traffic.bounded import BoundedTransport

WORKER_HEADER = "x-lab-worker"


@dataclass(frozen=True, slots=True, kw_only=True)
class Address:
    """One deployment, at one URL or at several (one per host), and the headers that it asks for.

    Headers can be credentials: they are never written to a file, and never shown.
    """

    urls: tuple[str, ...]
    headers: Mapping[str, str] = field(default_factory=dict, repr=False)
    insecure: bool = False
    """TLS certificates are not verified."""
    worker_header: str = WORKER_HEADER
    """The header of a reply that names the worker."""
    between: Between | None = None
    """Watches for a proxy in between; None where nothing is in between."""
    _next: Iterator[int] = field(default_factory=itertools.count, repr=False)

    def next_url(self) -> str:
        """The URLs in turn."""
        return self.urls[next(self._next) % len(self.urls)]

    @staticmethod
    def of(place: Address | str) -> Address:
        """Return the address itself, or the address of one URL."""
        return place if isinstance(place, Address) else Address(urls=(place,))


def open_http(
    place: Address | str, *, kept: bool, timeout_s: float, url: str | None = None
) -> httpx.AsyncClient:
    """An httpx client that keeps one connection for ever, or none at all.

    It follows no redirect: a redirect is an answer of somebody who is not the lab.

    Args:
        place: Where the calls go; of several URLs the next one.
        kept: Whether the one connection is kept.
        timeout_s: From the start of a call to the last byte of its reply.
        url: The URL of `place` that is meant.
    """
    address = Address.of(place)
    base_url = url or address.next_url()
    limits = (
        httpx.Limits(max_connections=1, max_keepalive_connections=1, keepalive_expiry=None)
        if kept
        else httpx.Limits(max_connections=None, max_keepalive_connections=0)
    )
    hooks = {} if address.worker_header.lower() == WORKER_HEADER else {"response": [_named_by(address)]}
    # trust_env off: an HTTP_PROXY of the caller must not stand between us and loopback.
    # plain HTTP has nothing to verify, and a TLS context per client costs 20 ms.
    connections = httpx.AsyncHTTPTransport(
        limits=limits,
        trust_env=False,
        verify=_tls(insecure=address.insecure) if base_url.startswith("https:") else False,
    )
    return httpx.AsyncClient(
        base_url=base_url,
        headers=dict(address.headers),
        timeout=timeout_s,
        trust_env=False,
        follow_redirects=False,
        transport=BoundedTransport(connections, deadline_s=timeout_s),
        event_hooks=hooks,
    )


@cache
def _tls(*, insecure: bool) -> ssl.SSLContext:
    """The machine's certificate authorities, or those of SSL_CERT_FILE; one context for all clients."""
    context = ssl.create_default_context()
    if insecure:
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
    return context


def _named_by(address: Address) -> Callable[[httpx.Response], Awaitable[None]]:
    """Put the worker's name where the lab's own workers put it."""

    async def rename(response: httpx.Response) -> None:
        name = response.headers.get(address.worker_header)
        if name:
            response.headers[WORKER_HEADER] = name
        else:
            response.headers.pop(WORKER_HEADER, None)

    return rename
