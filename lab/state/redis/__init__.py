"""``redis://`` and its kin: all five kinds on a Redis or Valkey server, or a cluster, for every host."""

from __future__ import annotations

import re
from collections.abc import Callable
from functools import partial
from typing import Any, cast

from redis.connection import Connection, UnixDomainSocketConnection
from weaver_kernel._secrets import resolve_hmac_secret

from lab.state.redis.cluster import Address, Cluster
from lab.state.redis.feed import RedisFeed
from lab.state.redis.link import Link, Server, Unfit, Wire
from lab.state.redis.stores import RedisBudget, RedisHandles, RedisLimiter, RedisRevocations, RedisTraces
from lab.state.seam import State, StateOptions, StateUnavailable
from lab.state.url import StateURL

# the client library calls it abstract and makes it all the same
_UnixConnection = cast("Callable[..., Wire]", UnixDomainSocketConnection)
_PLACE = re.compile(r"(?:(?P<user>[^:@]*):(?P<password>.*)@)?(?P<nodes>[^/]*)(?:/(?P<db>.*))?", re.DOTALL)


def open_url(url: StateURL, options: StateOptions) -> State:
    """The five stores on the URL's server, which is asked once whether it is fit to keep them.

    Raises:
        BadStateURL: When the URL makes no sense, or the server answers and is not fit (see `link.unfit`). A
            server that does not answer is no reason: it may come back, and until then every call says so.
    """
    server = server_of(url, options)
    try:
        server.examine()
    except Unfit as error:
        url.wrong(str(error))
    except StateUnavailable:
        pass
    return stores(server, namespace_of(url), options)


def namespace_of(url: StateURL) -> str:
    """What every key begins with: deployments on one server are kept apart by it."""
    namespace = url.parameters.get("namespace", "lab")
    if not re.fullmatch(r"[\w.-]+", namespace):
        url.wrong(f"namespace={namespace!r} must be letters, digits, '.', '_' or '-'")
    return namespace


def stores(server: Server, namespace: str, options: StateOptions) -> State:
    """The five stores on a server."""
    traces = RedisTraces(
        server, namespace, cap=options.trace_cap, secret=partial(resolve_hmac_secret, options.secret)
    )
    return State(
        revocations=RedisRevocations(server, namespace),
        limiter=RedisLimiter(server, namespace),
        handles=RedisHandles(
            server,
            namespace,
            options.handle_ttl_s,
            max_entries=options.handle_cap,
            # a cluster keeps the two in different slots
            traces=traces if isinstance(server, Link) else None,
        ),
        traces=traces,
        budget=None
        if options.budget_total is None
        else RedisBudget(server, namespace, options.budget_total, default_request=options.budget_request),
        closers=(server.close,),
    )


def open_feed(url: StateURL, options: StateOptions) -> RedisFeed:
    """Where the URL's server tells of revocations."""
    server = server_of(url, options)
    return RedisFeed(server, RedisRevocations(server, namespace_of(url)).channel, options.timeout_ms / 1000)


def server_of(url: StateURL, options: StateOptions) -> Server:
    """The server, or the cluster, that a URL names."""
    how: dict[str, Any] = {
        "socket_timeout": options.timeout_ms / 1000,
        "socket_connect_timeout": options.timeout_ms / 1000,
        "driver_info": None,
    }
    probe_key = f"{namespace_of(url)}:probe"
    if url.scheme == "redis+unix":
        url.allow("db", "namespace")
        if not url.rest:
            url.wrong("no path to a socket in it")
        how |= {"path": url.rest, "db": url.number("db", 0, at_least=0)}
        return Link(url.rest, partial(_UnixConnection, **how), probe_key)

    url.allow("namespace")
    place = _PLACE.fullmatch(url.rest)
    assert place is not None  # noqa: S101 - the expression takes every text
    how |= {"username": place["user"] or None, "password": place["password"]}
    if url.scheme == "redis+cluster":
        if place["db"]:
            url.wrong(f"a cluster has no databases, there is {place['db']!r}")
        seeds = tuple(_address(url, node) for node in place["nodes"].split(","))

        def link(address: Address) -> Link:
            host, port = address
            return Link(f"{host}:{port}", partial(Connection, host=host, port=port, **how), probe_key)

        return Cluster(seeds, link)
    host, port = _address(url, place["nodes"])
    db = place["db"] or "0"
    if not (db.isascii() and db.isdigit()):
        url.wrong(f"database {db!r} is no number")
    return Link(f"{host}:{port}", partial(Connection, host=host, port=port, db=int(db), **how), probe_key)


def _address(url: StateURL, text: str) -> Address:
    host, colon, port = text.rpartition(":")
    if not colon:
        host, port = text, "6379"
    if not host:
        url.wrong(f"no host in {text!r}")
    if not (port.isascii() and port.isdigit() and 0 < int(port) < 65_536):
        url.wrong(f"port {port!r} is no number from 1 to 65535")
    return host.strip("[]"), int(port)
