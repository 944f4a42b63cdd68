"""A simulation in words: the question, the result, and the assumptions."""

from __future__ import annotations

from collections.abc import Iterator

from kernel_lab.run.measures import Share, percent
from kernel_lab.scale.simulate import PAIRS, Asked, Told, by_repeating, converges_ms, store_load

Row = tuple[str, str]


def rows(asked: Asked, told: Told, *, revokes_per_s: float) -> Iterator[Row]:
    """Each figure with its name."""
    yield "workers", _fleet(asked)
    yield "grants admitted", f"{told.admitted:,} of {told.attempts:,} attempts in {asked.seconds:g} s"
    times = told.worst_window / asked.limit
    bound = "no fixed bound, as the fleet changes"
    if told.bound is not None:
        bound = f"at most {told.bound:,} under any routing"
    yield (
        "worst window of one principal",
        f"{told.worst_window:,} grants, × {times:.1f} the limit of {asked.limit}; {bound}",
    )
    yield "revoked tokens accepted", _share(told.leaks, "invokes after the revoke")
    yield "handles missed", _share(told.misses, "expansions")
    yield "actions not explained", _share(told.lost_traces, "explanations")
    yield "a revocation holds everywhere", _converges(asked, told)
    load = store_load(asked, told, revokes_per_s=revokes_per_s)
    if load.total:
        parts = {
            "grants": load.grants, "invokes": load.invokes, "expansions": load.expansions,
            "revocations": load.revocations, "heartbeats of caches": load.heartbeats, "news to caches": load.news,
        }  # fmt: skip
        said = ", ".join(f"{name} {value:,.1f}" for name, value in parts.items() if value)
        yield "store, round trips per second", f"{load.total:,.1f} ({said})"
    else:
        yield "store, round trips per second", "none: no store is shared"


def assumptions(asked: Asked, *, revokes_per_s: float) -> list[str]:
    """Return the conditions under which the figures hold."""
    one = asked.deployment
    alike = f"{asked.keys:,} principals alike" if asked.keys > 1 else "one principal"
    shared = ", ".join(one.shares) or "nothing"
    said = [
        f"Attempts arrive at random (Poisson), {asked.rate:g} per second in all, of {alike}.",
        f"Calls are spread by this policy: {asked.balance}. No worker fails, and no call is repeated.",
        f"State is kept as in `{one.name}`: all workers share {shared}.",
        f"A later call comes at any instant of the token's life of {asked.life_s:g} s, within the simulated time.",
        f"Each share is of {PAIRS:,} simulated pairs of calls, and its interval is the simulation's own.",
        "For the store's load, one invoke and one expansion follow each grant, and the store keeps up.",
        f"Tokens revoked per second: {revokes_per_s:g}.",
    ]
    if asked.scaled_to is not None:
        said += [
            f"In the middle third of the time {asked.scaled_to} replicas are live, else {one.replicas}.",
            "A replica that was stopped comes back without its state, and calls are spread over the live ones at once.",
        ]
    if asked.rolling:
        said.append("In the middle third each replica is replaced in turn, with one more replica than usual.")
    return said


def _fleet(asked: Asked) -> str:
    one = asked.deployment
    count = f"{one.replicas:,} replica{'s' if one.replicas > 1 else ''} × {one.workers:,} = {one.processes:,} processes"
    if asked.scaled_to is not None:
        count += f"; {asked.scaled_to * one.workers:,} in the middle third"
    return count + ("; replaced one replica at a time" if asked.rolling else "")


def _share(share: Share, of: str) -> str:
    low, high = share.interval
    if not share.hits:
        return f"0 % of {of}"
    return f"{percent(share.value)} of {of} (95 %: {percent(low)} to {percent(high)})"


def _converges(asked: Asked, told: Told) -> str:
    longest_ms = converges_ms(asked)
    if longest_ms is None:
        return (
            f"only when the token expires, after {asked.life_s:g} s: one of {told.homes:,} places knows of it. "
            f"Repeating the revoke over random connections takes {by_repeating(told.homes):,.0f} calls on average"
        )
    if longest_ms:
        return f"at most {longest_ms:g} ms after it was acknowledged; sooner where the news arrives"
    return "when it is acknowledged: every check asks the one place that knows"
