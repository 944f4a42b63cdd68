"""The part that every replay has in common. It is copied into the script, which imports nothing of the lab."""

from __future__ import annotations

import itertools
import sys
import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

import httpx

# --- from here on the text is copied ---


class CannotTell(Exception):  # noqa: N818 - it names a thing
    """A part that the story needs is not there, so it shows neither that the guarantee holds nor that it is broken."""


@dataclass
class Reply:
    """The answer of a worker, and its time."""

    status: int
    body: Any
    called: float
    returned: float

    @property
    def ok(self) -> bool:
        """The worker did what it was asked."""
        return 200 <= self.status < 300

    @property
    def reason(self) -> str:
        """The reason of the refusal."""
        return (
            ""
            if self.ok or not isinstance(self.body, dict)
            else str(self.body.get("reason_code", self.status))
        )


def need(reply: Reply) -> Reply:
    """The reply, which the story cannot do without."""
    if not reply.ok:
        raise CannotTell(f"the story needs this call, and it was answered with {reply.status} {reply.reason}")
    return reply


def refused(reply: Reply, reason: str) -> bool:
    """Whether a worker refused for this very reason."""
    return not reply.ok and reply.reason == reason


@dataclass
class Caller:
    """A caller, as an authenticating proxy would describe it."""

    name: str
    roles: str

    def headers(self) -> dict[str, str]:
        """The headers of the proxy."""
        return {"X-Principal-Id": self.name, "X-Principal-Roles": self.roles, "X-Principal-Tenant": "acme"}


@dataclass
class Worker:
    """One process of the deployment: kept connections that lead to it. Behind a balancer they may lead elsewhere."""

    lab: Lab
    letter: str
    name: str

    def grant(self, caller: Caller, capability: str) -> Reply:
        """Ask for a token."""
        asked = {"capability_id": capability, "goal": "replay", "justification": "replay of a recorded run"}
        return self.call(caller, f"grant {capability}", "POST", "/grants", asked)

    def invoke(
        self, caller: Caller, token: dict[str, Any], args: dict[str, Any] | None = None, mode: str = "summary"
    ) -> Reply:
        """Present a token."""
        asked = {"token": token, "args": args or {}, "response_mode": mode}
        return self.call(caller, "invoke", "POST", "/invocations", asked)

    def stream(self, caller: Caller, token: dict[str, Any], args: dict[str, Any] | None = None) -> Reply:
        """Present a token and read the frames; the body of the reply is the last frame."""
        asked = {"token": token, "args": args or {}, "response_mode": "summary"}
        return self.call(caller, "invoke, streamed", "POST", "/invocations/stream", asked)

    def expand(self, caller: Caller, handle: str, rows: int = 5) -> Reply:
        """Ask for the rows behind a handle."""
        return self.call(
            caller, "expand the handle", "POST", f"/handles/{handle}/expansions", {"limit": rows}
        )

    def explain(self, caller: Caller, action: str) -> Reply:
        """Ask for the trace of an action."""
        return self.call(caller, "explain the action", "GET", f"/traces/{action}")

    def list_traces(self, caller: Caller) -> Reply:
        """List the caller's actions."""
        return self.call(caller, "list the traces", "GET", f"/traces?principal_id={caller.name}&fields=ids")

    def revoke(self, caller: Caller, token: dict[str, Any]) -> Reply:
        """Revoke one token."""
        return self.call(caller, "revoke the token", "POST", f"/tokens/{token['token_id']}/revocation")

    def revoke_all(self, caller: Caller, whose: Caller) -> Reply:
        """Revoke every token of a principal."""
        return self.call(caller, "revoke all tokens", "POST", f"/principals/{whose.name}/revocation")

    def budget(self, caller: Caller) -> Reply:
        """Read the budget."""
        return self.call(caller, "read the budget", "GET", "/budget")

    def stats(self, caller: Caller) -> Reply:
        """Read the worker's counters."""
        return self.call(caller, "read the counters", "GET", "/stats")

    def import_capability(self, caller: Caller, capability: str) -> Reply:
        """Import a capability of a peer."""
        described = {
            "capability_id": capability,
            "name": capability,
            "description": "of a peer",
            "safety_class": "READ",
        }
        asked = {
            "kernel_id": "peer", "version": "1", "endpoint": "https://peer.example/kernel",
            "trust_level": "verified", "capabilities": [described],
        }  # fmt: skip
        return self.call(caller, f"import {capability}", "POST", "/capabilities", asked)

    def call(self, caller: Caller, what: str, method: str, path: str, asked: object = None) -> Reply:
        """Make one call over a connection that nobody else uses meanwhile, and tell what came back."""
        client = self.lab.borrow(self.name)
        called = time.monotonic()
        answer = client.request(method, path, json=asked, headers=caller.headers())
        returned = time.monotonic()
        self.lab.give_back(self.name, client)
        lines = [line for line in answer.text.splitlines() if line.strip()]
        try:
            # a stream answers one frame a line
            body = httpx.Response(200, text=lines[-1]).json() if lines else None
        except ValueError:
            body = answer.text
        if isinstance(body, dict) and "error" in body and len(lines) > 1:
            body = body["error"]
        reply = Reply(answer.status_code, body, called, returned)
        if reply.status >= 500:
            raise CannotTell(f"{what} was answered with {reply.status}")
        met = answer.headers.get(Lab.HEADER, "?")
        self.lab.say(
            f"worker {self.letter} ({met}): {what} -> {'ok' if reply.ok else f'refused, {reply.reason}'}"
        )
        return reply


class Lab:
    """A live deployment, met by its base URL."""

    HEADER = "X-Lab-Worker"
    MOST_CONNECTIONS = 400

    def __init__(self, base_url: str) -> None:
        self.base_url = base_url.rstrip("/")
        self.tls = httpx.create_ssl_context()
        self.idle: dict[str, list[httpx.Client]] = {}
        self.lock = threading.Lock()
        self.lines: list[str] = []
        self.numbers = itertools.count()
        self.tag = f"{time.time_ns() & 0xFFFFFFFF:x}"

    def open(self) -> None:
        """Open one more kept connection. Its first reply names the worker that it leads to."""
        client = httpx.Client(base_url=self.base_url, timeout=10, trust_env=False, verify=self.tls)
        name = str(client.get("/healthz").headers.get(self.HEADER, "?"))
        self.give_back(name, client)

    def give_back(self, name: str, client: httpx.Client) -> None:
        """Give back this connection."""
        with self.lock:
            self.idle.setdefault(name, []).append(client)

    def borrow(self, name: str) -> httpx.Client:
        """A connection to this worker: connections are opened until one leads there, as the kernel likes."""
        for _ in range(self.MOST_CONNECTIONS):
            with self.lock:
                if self.idle.get(name):
                    return self.idle[name].pop()
            self.open()
        raise CannotTell(f"{self.MOST_CONNECTIONS} connections did not lead to worker {name} again")

    def workers(self, wanted: int) -> list[Worker]:
        """Workers, `wanted` of them. Where fewer workers answer, the list has some of them twice."""
        while len(self.idle) < wanted and sum(map(len, self.idle.values())) < self.MOST_CONNECTIONS:
            # several at once: one after the other they would all lead to the same idle worker
            with ThreadPoolExecutor(8) as opening:
                list(opening.map(lambda _: self.open(), range(8)))
        names = sorted(self.idle)
        if len(names) < wanted:
            self.say(f"(only {len(names)} of {wanted} workers answered)")
        return [Worker(self, "ABCDEFGH"[number % 8], names[number % len(names)]) for number in range(wanted)]

    def caller(self, name: str, roles: str = "reader,writer") -> Caller:
        """Somebody who has never called before."""
        return Caller(f"{name}-{next(self.numbers)}-{self.tag}", roles)

    def limit(self, capability: str) -> tuple[int, float]:
        """The limit that this deployment promises for a capability: a number of grants in a number of seconds."""
        with httpx.Client(base_url=self.base_url, timeout=10, trust_env=False, verify=self.tls) as client:
            limits = client.get("/worker").json().get("rate_limits") or {}
            listed = client.get("/capabilities").json()["capabilities"]
        classes = {one["capability_id"]: one["safety_class"] for one in listed}
        found = limits.get(capability) or limits.get(classes.get(capability, ""))
        if not found:
            raise CannotTell(f"this deployment tells no limit for {capability}")
        return int(found["limit"]), float(found["window_s"])

    def together(self, calls: Sequence[Callable[[], Reply]]) -> list[Reply]:
        """Make calls at the same moment."""
        with ThreadPoolExecutor(len(calls)) as at_once:
            return list(at_once.map(lambda call: call(), calls))

    def say(self, line: str) -> None:
        """Keep a line of the story."""
        self.lines.append(line)


def main(story: Callable[[Lab], bool], *, tries: int) -> None:
    """Tell the story until the anomaly shows, at most `tries` times: exit code 1 if it does, 0 if not."""
    if len(sys.argv) != 2 or not sys.argv[1].startswith(("http://", "https://")):
        print(f"usage: python {sys.argv[0]} http://HOST:PORT", file=sys.stderr)
        sys.exit(64)
    told, why = 0, ""
    try:
        lab = Lab(sys.argv[1])
        for number in range(1, tries + 1):
            lab.lines = []
            try:
                shows = story(lab)
            except CannotTell as reason:
                why = str(reason)
                continue
            told += 1
            if shows:
                print("\n".join(lab.lines))
                print(f"The anomaly shows, at try {number} of {tries}.")
                sys.exit(1)
    except httpx.HTTPError as error:
        print(f"{sys.argv[1]}: {type(error).__name__}: {error}", file=sys.stderr)
        sys.exit(2)
    if not told:
        print(f"It cannot be told: {why}.", file=sys.stderr)
        sys.exit(2)
    print("\n".join(lab.lines))
    print(f"The anomaly does not show in {told} tries. The last one is above.")
    sys.exit(0)
