"""Measure how long a revoked token is still accepted: the watch until it expires, its measures, and its chart."""

from __future__ import annotations

import time
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from kernel_lab.judge.history import AnyOperation
from kernel_lab.judge.staleness import Since, since_revoke
from kernel_lab.run.declaration import Lag, OverTime
from kernel_lab.run.measures import Column, Kind, Observed, Quantity, duration
from kernel_lab.run.scenario import Session, life_left_s, pause_until
from kernel_lab.traffic.client import RecordingClient

INVOKES = 4
"""Invokes after a revoke where the connection policy cannot choose the worker."""
POLL_EVERY_S = 0.1
AFTER_EXPIRY_S = 0.4


async def watch(
    session: Session,
    agent: RecordingClient,
    token: dict[str, Any],
    *,
    beside: dict[str, Any] | None,
    lane: int,
) -> None:
    """Present a revoked token on every worker, ten times a second, until it has expired.

    Args:
        session: The cell.
        agent: Who presents it.
        token: The revoked token.
        beside: A token that nobody has revoked, presented once in each round.
        lane: The worker that is asked first.
    """
    stop_ns = time.monotonic_ns() + int((life_left_s(token) + AFTER_EXPIRY_S) * 1e9)
    while time.monotonic_ns() < stop_ns:
        round_ns = time.monotonic_ns()
        for step in range(max(session.lanes, INVOKES)):
            await agent.invoke(token, lane=lane + step)
        if beside is not None:
            await agent.invoke(beside, lane=lane)
        await pause_until(round_ns + int(POLL_EVERY_S * 1e9))


TOKENS_REVOKED = Quantity(
    name="tokens", title="tokens revoked", kind=Kind.COUNT, unit="tokens",
    meaning="Tokens whose revoke certainly took effect.",
)  # fmt: skip
LAG_LOWER_P50 = Quantity(
    name="lag_lower_ms_p50", title="seen accepted for, median", kind=Kind.LAG, unit="ms", of=TOKENS_REVOKED,
    meaning="How long a token was *seen* accepted after its revoke had returned: the median over the tokens.",
)  # fmt: skip
LAG_LOWER_MAX = Quantity(
    name="lag_lower_ms_max", title="seen accepted for, longest", kind=Kind.LAG, unit="ms", of=TOKENS_REVOKED,
    meaning="The same, the longest over the tokens.",
)  # fmt: skip
LAG_UPPER_P50 = Quantity(
    name="lag_upper_ms_p50", title="refused everywhere by, median", kind=Kind.LAG, unit="ms",
    of=TOKENS_REVOKED,
    meaning="Within what time of the revoke's call every worker that was asked had refused: the median over "
    "the tokens. Empty where the median falls on a token whose end was not seen (`lag_open_tokens`).",
)  # fmt: skip
LAG_UPPER_MAX = Quantity(
    name="lag_upper_ms_max", title="refused everywhere by, latest", kind=Kind.LAG, unit="ms",
    of=TOKENS_REVOKED,
    meaning="The same, the latest over the tokens. Empty where the end of one token was not seen.",
)  # fmt: skip
LAG_OPEN = Quantity(
    name="lag_open_tokens", title="tokens that one worker never refused", kind=Kind.COUNT, unit="tokens",
    of=TOKENS_REVOKED, column=Column.AFTER,
    meaning="Of `tokens`, those that at least one worker never refused while the lab looked. `lag_lower_ms_max` "
    "then says how long it looked, and not how long the token lives.",
)  # fmt: skip
LAG_EXPIRED = Quantity(
    name="lag_expired_tokens", title="tokens that only expiry ended", kind=Kind.COUNT, unit="tokens",
    of=TOKENS_REVOKED, column=Column.AFTER,
    meaning="Of `tokens`, those that at least one worker accepted until they expired.",
)  # fmt: skip
LAG_WIDTH = Quantity(
    name="lag_width_ms_p50", title="width of the bracket, median", kind=Kind.LAG, unit="ms",
    of=TOKENS_REVOKED, column=Column.AFTER,
    meaning="How well the end of a token is known: upper less lower end, the median over the tokens whose end "
    "was seen.",
)  # fmt: skip
LAG_END = Quantity(
    name="lag_end", title="what ended it", kind=Kind.SETTING, column=Column.AFTER,
    meaning="The worst end over the tokens: `refusal`, `expiry`, or `not seen` while the lab looked.",
)  # fmt: skip


def _life_s(seen: Observed) -> float | None:
    """Return the lifetime of a token, in seconds. A token that is never refused ends then."""
    return seen.parameter("token_ttl_s")


def ends(seen: Observed) -> str:
    """A sentence that says when the last worker refused, or that this was not seen."""
    lasted, latest_ms = duration(seen.number(LAG_LOWER_MAX)), seen.find(LAG_UPPER_MAX)
    if not seen.find(LAG_OPEN) and latest_ms is not None:
        by_expiry = ", because they expired" if seen.find(LAG_EXPIRED) else ""
        return f"every worker refused them {duration(latest_ms)} after the revoke at the latest{by_expiry}"
    life_s = _life_s(seen)
    expires = f" ({life_s:,g} s)" if life_s else ""
    return f"never refused while we looked ({lasted}); ends only when the token expires{expires}"


def _lives(parameters: Mapping[str, Any]) -> dict[str, float]:
    """The capabilities whose tokens live for seconds: such a token is watched until it has expired."""
    return dict(parameters.get("token_ttls") or {})


def _watched(parameters: Mapping[str, Any]) -> Iterable[float]:
    return _lives(parameters).values()


def _since(history: Sequence[AnyOperation], parameters: Mapping[str, Any]) -> list[Since]:
    return since_revoke(history, _lives(parameters))


LAG = Lag(
    lower_p50=LAG_LOWER_P50,
    lower_max=LAG_LOWER_MAX,
    upper_p50=LAG_UPPER_P50,
    upper_max=LAG_UPPER_MAX,
    open=LAG_OPEN,
    of=TOKENS_REVOKED,
    width=LAG_WIDTH,
    life=_life_s,
)
OVER_TIME = OverTime(
    title="How long stale authority survives",
    x="seconds since the revoke returned",
    y="workers that still accept the token",
    end="expires",
    caption="Tokens that live for {life_s} s are revoked, and every worker goes on being asked. A mark "
    "is the share accepted in its slice of time, the shade its 95 % interval.",
    watched=_watched,
    since=_since,
    picture="survival",
)
