"""Revoke tokens one after the other, and ask every worker until each has refused.

A worker is asked with a dry run: its token is verified as in any invoke, and nothing is carried out. That is
the cheapest call that tells whether a token counts. Each worker has a loop of its own that asks it without a
pause. As many calls are in flight as there are cores: more calls would only wait for one another.

Where the workers share no revocations, only expiry ends a token. There many tokens of short life are watched
at once: each without a pause for `SOON_S` after its revoke and around its expiry. In between a worker is asked each
time that half of what was left of the token's life has passed. So where a busy machine delays the calls around the
expiry, the bracket grows by that delay, and not to the length of the token's life.
"""

from __future__ import annotations

import asyncio
import itertools
import os
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from kernel_lab.convergence.lanes import Lane
from kernel_lab.judge.history import Outcome
from kernel_lab.run.scenario import life_left_s
from kernel_lab.traffic import call
from kernel_lab.traffic.client import Principal

SOON_S = 0.01
EDGE_S = 0.015
"""The time before a token's expiry at which its workers are asked again."""
STAGGER_S = 0.05
"""The seconds between the starts of two tokens that are watched at once, so that they do not expire at the same
time."""
AFTER_EXPIRY_S = 1.0
SAID = frozenset({"token_revoked", "token_expired", "token_invalid"})
"""Reason codes after which a worker never accepts the token again."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Watch:
    """The settings for watching the revocations of one deployment."""

    capability: str
    revocations: int
    within_s: float
    """The most seconds for which a worker is asked, counted from the revoke's return."""
    expiring: bool
    """Tokens are watched at once until they expire."""


async def watch(lanes: Sequence[Lane], plan: Watch) -> None:
    """Make all the revocations; every call goes into the lanes' history."""
    tag = f"{time.time_ns() & 0xFFFFFFFF:x}"
    if not plan.expiring:
        for number in range(plan.revocations):
            await _one(lanes, plan, number, tag)
        return
    begin_s = time.monotonic()
    async with asyncio.TaskGroup() as group:
        for number in range(plan.revocations):
            await asyncio.sleep(max(0.0, begin_s + number * STAGGER_S - time.monotonic()))
            group.create_task(_one(lanes, plan, number, tag))


async def _one(lanes: Sequence[Lane], plan: Watch, number: int, tag: str) -> None:
    principal = Principal(name=f"p{number}-{tag}")
    home, revoker = lanes[number % len(lanes)], lanes[(number + 1) % len(lanes)]
    clients = (f"t{number}.{part}" for part in itertools.count())
    granted = await home.change.send(
        principal, call.grant(principal.name, plan.capability), client=next(clients)
    )
    if not granted.ok:
        return
    token = granted.body["token"]
    present = call.invoke(principal.name, token, dry_run=True)
    # ask once before the revoke, so that a worker with a cache has this token in it
    await asyncio.gather(*(lane.ask.send(principal, present, client=next(clients)) for lane in lanes))
    revoke = call.revoke(principal.name, token["token_id"])
    revoked = await revoker.change.send(principal, revoke, client=next(clients))
    if not revoked.ok:
        return
    expires_ns = _on_our_clock(token) if plan.expiring else None
    turn = asyncio.Semaphore(os.cpu_count() or 1)
    asked = [
        _ask(lane, plan, principal, present, revoked.return_ns, expires_ns, next(clients), turn)
        for lane in lanes
    ]
    await asyncio.gather(*asked)


async def _ask(
    lane: Lane,
    plan: Watch,
    principal: Principal,
    present: call.Call,
    revoked_ns: int,
    expires_ns: int | None,
    client: str,
    turn: asyncio.Semaphore,
) -> None:
    """Ask one worker until it has refused, or for as long as the plan says."""
    until_ns = revoked_ns + plan.within_s * 1e9 if expires_ns is None else expires_ns + AFTER_EXPIRY_S * 1e9
    for attempt in itertools.count():
        now_ns = time.monotonic_ns()
        if now_ns > until_ns:
            return
        if expires_ns is not None and revoked_ns + SOON_S * 1e9 < now_ns < expires_ns - EDGE_S * 1e9:
            await asyncio.sleep(pause_s((expires_ns - now_ns) / 1e9))
        async with turn:
            reply = await lane.ask.send(principal, present, client=f"{client}.{attempt}")
        if reply.outcome is Outcome.FAIL and reply.error in SAID:
            return


def pause_s(left_s: float) -> float:
    """Return the pause before a worker is asked again: half of the life that is left, but not into `EDGE_S`."""
    return max(0.0, min(left_s / 2, left_s - EDGE_S))


def _on_our_clock(token: dict[str, Any]) -> int:
    """Return the time at which a token expires, on the monotonic clock."""
    return time.monotonic_ns() + int(life_left_s(token) * 1e9)
