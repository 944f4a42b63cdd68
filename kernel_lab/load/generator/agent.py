"""The work of an agent, as sessions of calls, without a connection and without a clock. Locust carries it out.

A session is a generator: it yields a `Step`, is sent the `Reply`, and goes on. One principal makes one
session's calls one after another, so what it has seen is enough to know that some replies are wrong: its own
token refused as forged, its own handle gone. `Step.wrong` names them. That is a first look: the checkers
judge the recorded history as a whole afterwards.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Generator
from dataclasses import dataclass, field
from typing import Any

from kernel_lab.judge.operation import Outcome
from kernel_lab.traffic import call
from kernel_lab.traffic.call import Call, Reply

LISTING = "billing.list_invoices"
READING = "billing.get_invoice"
LIMITED = "billing.update_invoice"

POOL = 10_000
"""Principals that the ``grant`` mix spreads its grants over."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Step:
    """One call, and a function that names the anomaly in its reply, or returns None."""

    call: Call
    wrong: Callable[[Reply], str | None]


Session = Generator[Step, Reply, None]


@dataclass(frozen=True, slots=True, kw_only=True)
class Agent:
    """The principal of one session."""

    principal: str
    number: int
    """The number of the session. Some sessions, by their number, revoke a token or run into their limit."""
    rng: random.Random
    limit: int
    """Grants of `LIMITED` in `window_s` seconds, as the deployment states them."""
    window_s: float


def read_heavy(agent: Agent) -> Session:
    """One grant, eight invokes of 200 rows, two expansions, an explanation; every eighth session revokes."""
    token = yield from _granted(agent, LISTING)
    if token is None:
        return
    for step in range(8):
        done = yield from _invoked(agent, token, {})
        if done.ok and step in (1, 5):
            yield Step(
                call=call.expand(agent.principal, done.body["handle_id"]),
                wrong=_refused("handle_not_found", "handle_miss"),
            )
        if done.ok and step == 3:
            yield Step(
                call=call.explain(done.body["action_id"], agent.principal),
                wrong=_refused("trace_not_found", "trace_miss"),
            )
        if step == 3 and agent.number % 8 == 0:
            yield from _revoked(agent, token, {})
            return


def grant_heavy(agent: Agent) -> Session:
    """Eight times a grant and one invoke of one row; every fourth session revokes or runs into its limit."""
    for turn in range(8):
        token = yield from _granted(agent, READING)
        if token is None:
            return
        yield from _invoked(agent, token, {"id": f"INV-{agent.rng.randint(1, 200):04d}"})
        if agent.number % 4 == 0 and turn == 0:
            yield from _revoked(agent, token, {})
    if agent.number % 4 == 2:
        yield from _limited(agent)


def invoke_200(agent: Agent) -> Session:
    """Fifty invokes of 200 rows with one token."""
    yield from _only_invokes(agent, 200)


def invoke_10(agent: Agent) -> Session:
    """Fifty invokes of 10 rows with one token."""
    yield from _only_invokes(agent, 10)


def grant(agent: Agent) -> Session:
    """Grants, each to the next of `POOL` principals."""
    yield from _granted(agent, READING, principal=f"pool-{agent.number % POOL}")


def grant_one(agent: Agent) -> Session:
    """Grants, all to one principal: its window grows."""
    yield from _granted(agent, READING, principal="hoarder")


def limit_one(agent: Agent) -> Session:
    """Grants under a small limit, all to one principal, whichever generator asks."""
    yield from _granted(agent, LIMITED, principal="everybody")


MIXES: dict[str, Callable[[Agent], Session]] = {
    "read-heavy": read_heavy,
    "grant-heavy": grant_heavy,
    "invoke-200": invoke_200,
    "invoke-10": invoke_10,
    "grant": grant,
    "grant-one": grant_one,
    "limit-one": limit_one,
}


def _granted(
    agent: Agent, capability: str, *, principal: str = ""
) -> Generator[Step, Reply, dict[str, Any] | None]:
    reply = yield Step(call=call.grant(principal or agent.principal, capability), wrong=_nothing)
    return reply.body["token"] if reply.ok else None


def _invoked(agent: Agent, token: dict[str, Any], args: dict[str, Any]) -> Generator[Step, Reply, Reply]:
    return (
        yield Step(
            call=call.invoke(agent.principal, token, args), wrong=_refused("token_invalid", "token_rejected")
        )
    )


def _only_invokes(agent: Agent, rows: int) -> Session:
    token = yield from _granted(agent, LISTING)
    if token is not None:
        for _ in range(50):
            yield from _invoked(agent, token, {"rows": rows})


def _revoked(agent: Agent, token: dict[str, Any], args: dict[str, Any]) -> Session:
    """Revoke, and then try the token on whichever workers come next."""
    done = yield Step(call=call.revoke(agent.principal, token["token_id"]), wrong=_nothing)
    for _ in range(4):
        yield Step(
            call=call.invoke(agent.principal, token, args), wrong=_accepted("leak") if done.ok else _nothing
        )


def _limited(agent: Agent) -> Session:
    """Ask for two grants more than the limit allows."""
    window = Window(limit=agent.limit, window_ns=round(agent.window_s * 1e9))
    for _ in range(min(agent.limit + 2, 16)):
        yield Step(call=call.grant(agent.principal, LIMITED), wrong=window.wrong)


_NEVER = 1 << 63
"""An instant later than any that the clock can show."""


@dataclass(slots=True, kw_only=True)
class Window:
    """The grants one principal has asked for, one after another: who counts alone can tell a wrong answer."""

    limit: int
    window_ns: int
    _admitted: list[int] = field(default_factory=list)
    """The calls of the grants that were admitted."""
    _last: list[int] = field(default_factory=list)
    """The last instant at which each that may have been admitted can have been."""

    def wrong(self, reply: Reply) -> str | None:
        """Whether more grants than the limit lie in one window, or one was denied when fewer can have counted."""
        if reply.outcome is Outcome.FAIL:
            counted = sum(last > reply.call_ns - self.window_ns for last in self._last)
            return "wrongful_denial" if reply.error == "rate_limited" and counted < self.limit else None
        if reply.outcome is Outcome.INFO:
            self._last.append(_NEVER)
            return None
        self._last.append(reply.return_ns)
        self._admitted.append(reply.call_ns)
        inside = sum(call_ns > reply.return_ns - self.window_ns for call_ns in self._admitted)
        return "over_admission" if inside > self.limit else None


def _nothing(_reply: Reply) -> str | None:
    return None


def _refused(error: str, anomaly: str) -> Callable[[Reply], str | None]:
    return lambda reply: anomaly if reply.error == error else None


def _accepted(anomaly: str) -> Callable[[Reply], str | None]:
    return lambda reply: anomaly if reply.ok else None
