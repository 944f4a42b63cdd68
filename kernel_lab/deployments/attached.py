"""An attached deployment: somebody else started it, and the lab learns about it from its replies."""

from __future__ import annotations

import asyncio
import math
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from itertools import count, cycle
from secrets import token_hex
from typing import Any

import httpx

from kernel_lab.deployments.deployment import Deployment
from kernel_lab.deployments.live import SpannedHosts
from kernel_lab.redaction import without_credentials
from kernel_lab.traffic.address import WORKER_HEADER, Address, open_http
from kernel_lab.traffic.between import Between, InTheWay
from kernel_lab.traffic.bounded import LONGEST_NAME
from kernel_lab.traffic.client import Principal
from kernel_lab.traffic.connections import CALL_TIMEOUT_S

CONFIDENCE, SHARE = 0.99, 0.01
"""New connections are opened until it is this certain that no unmet worker gets this share of the connections."""
QUIET = math.ceil(math.log(1 - CONFIDENCE) / math.log(1 - SHARE))
"""Fresh connections in a row that meet no new worker, after which all are taken as met: a worker that gets
a share s of the connections is missed by all of them with probability (1 - s) ** QUIET."""
QUIET_S = 1.5
"""The least number of seconds over which these connections are spread, because a worker may be busy or wait for
a processor."""
AT_ONCE = (8, 32)
"""The numbers of connections that are opened at once, used in turn. On a shared socket, some workers answer
only when many connections come at once."""
PAUSE_S = 0.02
MOST_CONNECTIONS = 20_000
"""The number of connections after which the lab no longer waits for the stated number of workers."""
MOST_S = 180.0
"""Seconds after which the lab gives up an attached deployment that has not answered every question."""
TOLD = (
    "kernel_version", "rate_limits", "token_ttl_s", "token_ttls", "handle_ttl_s", "handle_cap", "trace_cap",
    "budget_total",
)  # fmt: skip
"""The fields of ``GET /worker`` that the run folder keeps."""
ADAPTERS = "a service with routes of its own is measured through an adapter (docs/any-app.md)"


class NotALab(ValueError):  # noqa: N818 - it names a thing
    """Nothing at the URL speaks the lab's routes; the message says what answered."""


@dataclass(frozen=True, slots=True, kw_only=True)
class AttachedStack:
    """A running deployment that somebody else started; its processes are theirs."""

    deployment: Deployment
    base_url: str
    expected_workers: int
    replica_urls: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()
    servers: None = None
    hosts: SpannedHosts | None = None
    address: Address | None = None
    """The way in which it is reached, where a URL alone does not say it."""
    facts: Mapping[str, Any] = field(default_factory=dict)
    """The reply to ``GET /worker``."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Asked:
    """The facts that are known before the first call: the number of workers, and the form of a caller."""

    workers: int | None = None
    """The number of workers in all. Without it, workers are counted until their number is certain enough."""
    caller: Principal = field(default_factory=lambda: Principal(name=f"attach-{token_hex(4)}"))
    capabilities: Sequence[str] = ()
    """The capabilities for which a grant is asked. Without any, these are the ones that the deployment lists."""


async def attach(address: Address, asked: Asked | None = None, *, name: str = "attached") -> AttachedStack:
    """Find out how many workers answer, on how many replicas, and whether a connection stays with one worker.

    Raises:
        NotALab: Nothing answers there, or something else does, or a proxy changes or refuses the calls.
    """
    asked = asked or Asked()
    between = address.between or Between()
    shown = without_credentials(", ".join(address.urls))
    try:
        async with asyncio.timeout(MOST_S):
            for url in address.urls:
                facts, listed = await _ask_routes(address, url)
            await _compare_principal(address, between, asked, listed)
            by_url = [await _meet_all(address, url, between, asked.workers) for url in address.urls]
            pinned = all([await _stays(address, url) for url in address.urls])
    except TimeoutError:
        raise NotALab(
            f"--attach {shown}: not every question was answered within {MOST_S:g} s; it should answer as a running "
            "deployment does"
        ) from None
    except InTheWay as error:
        raise NotALab(f"--attach {shown}: {error}") from None
    except _AnsweredError as error:
        raise NotALab(f"--attach {shown}: no lab answers there: {error}") from None
    met: set[str] = set().union(*by_url)
    workers = min(len(met), between.workers())  # a worker that was recycled meanwhile has two names
    if asked.workers is not None and workers < asked.workers:
        raise NotALab(
            f"--attach {shown}: --workers {asked.workers}, and {workers} of them answered "
            f"{MOST_CONNECTIONS:,} connections; state the number that answers"
        )
    replicas = max(len({worker.split("/", 1)[0] for worker in met}), len(address.urls))
    if address.worker_header.lower() != WORKER_HEADER:  # the operator's own name does not tell the replica
        replicas = len(address.urls)
    return AttachedStack(
        deployment=Deployment(
            name=name,
            title=f"attached: {shown}",
            state=without_credentials(str(facts.get("state", "")))[:LONGEST_NAME],
            workers=per_replica(workers, replicas),
            replicas=replicas,
            routing="direct" if pinned else "round_robin",
        ),
        base_url=address.urls[0],
        expected_workers=workers,
        notes=(_how_certain(workers, asked.workers),),
        address=address,
        facts={name: facts.get(name) for name in TOLD},
    )


def per_replica(workers: int, replicas: int) -> int:
    """The number of workers of each replica, given the number in all."""
    return max(1, -(-workers // max(1, replicas)))


def _how_certain(met: int, stated: int | None) -> str:
    if stated is not None:
        more = f", though --workers says {stated}" if met > stated else ""
        return f"{met} workers answered{more}"
    return (
        f"{met} workers answered; {CONFIDENCE:.0%} certain that no other gets {SHARE:.0%} or more of the connections "
        "(--workers N states the number)"
    )


class _AnsweredError(Exception):
    """A route does not answer as the lab's does; the message names it."""


async def _call(
    http: httpx.AsyncClient, method: str, path: str, between: Between, **more: Any
) -> httpx.Response:
    """One call over a connection of its own, once more where its rate was refused."""
    headers = {"Connection": "close", **more.pop("headers", {})}
    while True:
        await between.may_call()
        called_ns = time.monotonic_ns()
        try:
            reply = await http.request(method, path, headers=headers, **more)
        except (httpx.HTTPError, httpx.InvalidURL, OSError) as error:
            raise _AnsweredError(f"{method} {path}: {_cause(error)}") from None
        between.met(_worker(reply, method, path), called_ns, time.monotonic_ns())
        retry_after = reply.headers.get("Retry-After")
        if not between.answered(
            reply.status_code, by_kernel=b"reason_code" in reply.content, retry_after=retry_after
        ):
            return reply


def _worker(reply: httpx.Response, method: str, path: str) -> str | None:
    name: str | None = reply.headers.get(WORKER_HEADER)
    if name is not None and not (name.isprintable() and len(name) <= LONGEST_NAME):
        raise _AnsweredError(f"{method} {path}: the name of its worker is no short printable text")
    return name


def _cause(error: Exception) -> str:
    said = without_credentials(" ".join(str(error).split()))[:200]
    help_ = ""
    if "CERTIFICATE_VERIFY_FAILED" in said:
        help_ = (
            "; SSL_CERT_FILE names a certificate authority of yours, and --insecure asks for no certificate"
        )
    return (
        f"{type(error).__name__}: {said}{help_}; it should be the address of a running deployment, such as "
        "http://127.0.0.1:8000"
    )


async def _ask_routes(address: Address, url: str) -> tuple[dict[str, Any], list[str]]:
    """Return the reply to ``GET /worker``, and the names of the listed capabilities.

    Raises:
        _AnsweredError: One of the lab's routes answers otherwise than the lab does.
    """
    between = Between()
    async with open_http(address, kept=False, timeout_s=CALL_TIMEOUT_S, url=url) as http:
        facts = _document(await _call(http, "GET", "/worker", between), "GET /worker")
        reply = await _call(http, "GET", "/capabilities", between)
        listed = _document(reply, "GET /capabilities").get("capabilities")
        if not isinstance(listed, list) or not all(isinstance(one, dict) for one in listed):
            raise _AnsweredError(f"GET /capabilities has no list of capabilities; {ADAPTERS}")
        health = await _call(http, "GET", "/healthz", between)
        if not health.is_success:
            raise _AnsweredError(f"GET /healthz answered {health.status_code}; {ADAPTERS}")
        if WORKER_HEADER not in health.headers:
            named = address.worker_header
            raise _AnsweredError(
                f"GET /healthz has no header {named}; --worker-header names the one that tells the worker"
            )
    plain = [
        str(one["capability_id"])
        for one in sorted(listed, key=lambda one: one.get("safety_class") != "READ")
        if "capability_id" in one and one.get("sensitivity", "NONE") == "NONE"
    ]
    return facts, plain


def _document(reply: httpx.Response, route: str) -> dict[str, Any]:
    if reply.is_redirect:
        to = without_credentials(reply.headers.get("Location", "nowhere"))[:LONGEST_NAME]
        raise _AnsweredError(
            f"{route} is redirected to {to}, and redirects are not followed; name the final address"
        )
    if reply.status_code in (401, 403, 407):
        raise _AnsweredError(
            f"{route} answered {reply.status_code}; --token-env NAME sends a bearer token and --header any other "
            "credential"
        )
    if not reply.is_success:
        raise _AnsweredError(f"{route} answered {reply.status_code}; {ADAPTERS}")
    try:
        document = reply.json()
    except (ValueError, RecursionError):
        raise _AnsweredError(f"{route} answered with no JSON; {ADAPTERS}") from None
    if not isinstance(document, dict):
        raise _AnsweredError(f"{route} answered with no JSON object; {ADAPTERS}")
    return document


async def _compare_principal(address: Address, between: Between, asked: Asked, listed: Sequence[str]) -> None:
    """Ask for a grant, and compare the principal that it names with the principal that was sent.

    Where no grant is given, each grant of the run is held against its own principal.

    Raises:
        InTheWay: It names another principal.
        _AnsweredError: The route answers otherwise than the lab does.
    """
    headers = asked.caller.headers()
    async with open_http(address, kept=False, timeout_s=CALL_TIMEOUT_S) as http:
        for capability in (asked.capabilities or listed)[:4]:
            body = {"capability_id": capability, "goal": "attach", "justification": "one grant before a run"}
            reply = await _call(http, "POST", "/grants", between, headers=headers, json=body)
            if reply.status_code in (404, 405) and b"reason_code" not in reply.content:
                raise _AnsweredError(f"POST /grants answered {reply.status_code}; {ADAPTERS}")
            if reply.is_success:
                between.compare(asked.caller.name, _document(reply, "POST /grants"))
                return


async def _meet_all(address: Address, url: str, between: Between, stated: int | None) -> set[str]:
    """Open connections until enough of them in a row met no new worker, or the stated number of workers was met.

    Each asks as another principal, so that a balancer that hashes the principal shows all of its workers.
    """
    met: set[str] = set()
    quiet = asked = 0
    quiet_since_s = time.monotonic()
    numbers = count()
    async with open_http(address, kept=False, timeout_s=CALL_TIMEOUT_S, url=url) as http:

        async def one() -> str:
            headers = {"X-Principal-Id": f"attach{next(numbers)}"}
            reply = await _call(http, "GET", "/healthz", between, headers=headers)
            return _worker(reply, "GET", "/healthz") or ""

        for at_once in cycle(AT_ONCE):
            answers = await asyncio.gather(*(one() for _ in range(at_once)), return_exceptions=True)
            for failure in answers:
                if isinstance(failure, BaseException):
                    raise failure
            fresh = {name for name in answers if isinstance(name, str) and name} - met
            met |= fresh
            asked += at_once
            quiet = 0 if fresh else quiet + at_once
            if fresh:
                quiet_since_s = time.monotonic()
            long_enough = time.monotonic() - quiet_since_s >= QUIET_S
            if quiet >= QUIET and long_enough and (stated is None or len(between.seen) >= stated):
                break
            if asked >= MOST_CONNECTIONS:
                break
            await asyncio.sleep(PAUSE_S)
    if not met:
        raise _AnsweredError(f"GET /healthz has no header {address.worker_header}")
    return met


async def meet(url: str, *, expected: int, within_s: float) -> set[str]:
    """Open connections until `expected` workers have answered at `url`. Return their names.

    Raises:
        TimeoutError: Not all of them answered within `within_s` seconds.
    """
    met: set[str] = set()
    async with open_http(url, kept=False, timeout_s=CALL_TIMEOUT_S) as http:

        async def ask() -> str:
            try:
                reply = await http.get("/healthz", headers={"Connection": "close"})
            except (httpx.HTTPError, OSError):
                return ""
            return str(reply.headers.get(WORKER_HEADER, ""))

        try:
            async with asyncio.timeout(within_s):
                while len(met) < expected:
                    fresh = set(filter(None, await asyncio.gather(*(ask() for _ in range(8))))) - met
                    met |= fresh
                    if not fresh:
                        await asyncio.sleep(0.01)
        except TimeoutError:
            raise TimeoutError(
                f"{len(met)} of {expected} workers answered at {url} in {within_s:g} s"
            ) from None
    return met


async def _stays(address: Address, url: str) -> bool:
    """Whether one kept connection always reaches the same worker."""
    async with open_http(address, kept=True, timeout_s=CALL_TIMEOUT_S, url=url) as http:
        try:
            replies = [await http.get("/healthz") for _ in range(16)]
        except (httpx.HTTPError, OSError) as error:
            raise _AnsweredError(f"GET /healthz: {_cause(error)}") from None
        return len({reply.headers.get(WORKER_HEADER) for reply in replies}) == 1
