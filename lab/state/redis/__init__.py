"""``redis://`` and related schemes: all five kinds of state on a Redis or Valkey server, or on a cluster."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from typing import Any, cast

from redis.connection import Connection, UnixDomainSocketConnection
from weaver_kernel._secrets import resolve_hmac_secret

from lab.state.redis.channel import Place
from lab.state.redis.cluster import Address, Cluster, Node
from lab.state.redis.feed import RedisFeed
from lab.state.redis.link import Confirmation, Link, Restarted, Server, Unfit, Wire
from lab.state.redis.multiplexed import MultiplexedLink
from lab.state.redis.stores import RedisBudget, RedisHandles, RedisLimiter, RedisRevocations
from lab.state.redis.traces import RedisTraces
from lab.state.seam import State, StateOptions, StateUnavailable
from lab.state.url import StateURL

# the client library declares the class abstract, but makes objects of the class itself
_UnixConnection = cast("Callable[..., Wire]", UnixDomainSocketConnection)
_PARAMETERS = ("namespace", "blocking", "restarted")
_ONE_SERVER = (*_PARAMETERS, "wait")
_PLACE = re.compile(r"(?:(?P<user>[^:@]*):(?P<password>.*)@)?(?P<nodes>[^/]*)(?:/(?P<db>.*))?", re.DOTALL)


def open_url(url: StateURL, options: StateOptions) -> State:
    """Open the five stores on the URL's server. The server is asked once whether it is fit to keep them.

    Raises:
        BadStateURL: The URL is wrong, or the server answers and is not fit (see `link.unfit`). A server that does not
            answer is no error here: it may come back, and until then every call raises `StateUnavailable`.
    """
    server = server_of(url, options)
    try:
        server.examine()
    except Unfit as error:
        url.wrong(str(error))
    except StateUnavailable:
        pass
    return replace(stores(server, namespace_of(url), options), waits=not blocking_of(url))


def blocking_of(url: StateURL) -> bool:
    """Return whether calls hold the event loop while they wait, which is how the stores worked before `lab.bridge`."""
    return bool(url.number("blocking", 0, at_least=0))


def confirmation_of(url: StateURL, key: str, options: StateOptions) -> Confirmation | None:
    """Return the confirmation that ``wait=N`` asks for.

    Every answer waits for N replicas, for at most half of the time that a call may take.
    """
    replicas = url.number("wait", 0, at_least=0)
    if replicas and url.cached:
        url.wrong("wait= cannot be combined with cached+, which hears of revocations that no replica has yet")
    if not replicas:
        return None
    return Confirmation(replicas=replicas, within_ms=max(1, options.timeout_ms // 2), key=key)


def namespace_of(url: StateURL) -> str:
    """Return the prefix of every key. It keeps the deployments on one server apart."""
    namespace = url.parameters.get("namespace", "lab")
    if not re.fullmatch(r"[\w.-]+", namespace):
        url.wrong(f"namespace={namespace!r} must be letters, digits, '.', '_' or '-'")
    return namespace


def stores(server: Server, namespace: str, options: StateOptions) -> State:
    """Return the five stores on a server."""
    traces = RedisTraces(
        server, namespace, cap=options.trace_cap, secret=partial(resolve_hmac_secret, options.secret)
    )
    return State(
        revocations=RedisRevocations(server, namespace),
        limiter=RedisLimiter(server, namespace),
        handles=RedisHandles(server, namespace, options.handle_ttl_s, max_entries=options.handle_cap),
        traces=traces,
        budget=None
        if options.budget_total is None
        else RedisBudget(server, namespace, options.budget_total, default_request=options.budget_request),
        closers=(server.close,),
        warners=(server.warnings,),
    )


def open_feed(url: StateURL, options: StateOptions) -> RedisFeed:
    """Open the feed of revocations of the URL's server."""
    server = server_of(url, options)
    return RedisFeed(server, RedisRevocations(server, namespace_of(url)).channel, options.timeout_ms / 1000)


def server_of(url: StateURL, options: StateOptions) -> Server:
    """Return the server, or the cluster, that a URL names.

    Calls made inside `lab.bridge.bridged` do not hold the event loop, unless the URL says ``blocking=1``.
    """
    timeout_s = options.timeout_ms / 1000
    blocking = blocking_of(url)
    restarted = url.choice("restarted", ("persistent", "accept", "refuse"))

    def linked(name: str, connect: Callable[..., Wire], place: Place) -> Node:
        plain = Link(
            name, connect, probe_key, restarted=cast("Restarted", restarted), confirmation=confirmation
        )
        return plain if blocking else MultiplexedLink(name, place, plain, timeout_s)

    how: dict[str, Any] = {
        "socket_timeout": timeout_s,
        "socket_connect_timeout": timeout_s,
        "driver_info": None,
    }
    namespace = namespace_of(url)
    probe_key = f"{namespace}:probe"
    confirmation = confirmation_of(url, f"{namespace}:confirmed", options)
    if url.scheme == "redis+unix":
        url.allow("db", *_ONE_SERVER)
        if not url.rest:
            url.wrong("no path to a socket in it")
        db = url.number("db", 0, at_least=0)
        how |= {"path": url.rest, "db": db}
        return linked(url.rest, partial(_UnixConnection, **how), Place(path=url.rest, db=db))

    url.allow(*(_PARAMETERS if url.scheme == "redis+cluster" else _ONE_SERVER))
    place = _PLACE.fullmatch(url.rest)
    assert place is not None  # noqa: S101 - the expression takes every text
    login: dict[str, Any] = {"username": place["user"] or None, "password": place["password"]}
    how |= login
    if url.scheme == "redis+cluster":
        if place["db"]:
            url.wrong(f"a cluster has no databases, there is {place['db']!r}")
        seeds = tuple(_address(url, node) for node in place["nodes"].split(","))

        def link(address: Address) -> Node:
            host, port = address
            connect = partial(Connection, host=host, port=port, **how)
            return linked(f"{host}:{port}", connect, Place(host=host, port=port, **login))

        return Cluster(seeds, link)
    host, port = _address(url, place["nodes"])
    text = place["db"] or "0"
    if not (text.isascii() and text.isdigit()):
        url.wrong(f"database {text!r} is no number")
    where: dict[str, Any] = {"host": host, "port": port, "db": int(text)}
    return linked(f"{host}:{port}", partial(Connection, **where, **how), Place(**where, **login))


def _address(url: StateURL, text: str) -> Address:
    host, colon, port = text.rpartition(":")
    if not colon:
        host, port = text, "6379"
    if not host:
        url.wrong(f"no host in {text!r}")
    if not (port.isascii() and port.isdigit() and 0 < int(port) < 65_536):
        url.wrong(f"port {port!r} is no number from 1 to 65535")
    return host.strip("[]"), int(port)
