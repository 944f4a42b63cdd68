"""Wrong reactions to a fault: kernels that are right in fair weather and go wrong when their store or worker does.

Each is the lab's own kernel on one Redis with one part spoiled, as in the other modules here. It runs on a real stack
under a real fault (`mutants.under_fault`), and is caught when the claim is judged invalid with one of the anomalies
that it names, while the right kernel under the same fault is judged valid.

The kinds of state that a reaction is not about are in the worker's memory (`alone`): a store that is away would refuse
before the spoiled part is asked.
"""

from __future__ import annotations

import secrets
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from weaver_kernel import AgentKernelError, HandleExpired, HandleNotFound
from weaver_kernel.rate_limit import RateLimiter
from weaver_kernel.stores import InMemoryRevocationStore

from lab.settings import Settings
from lab.state import StateUnavailable
from mutants.mutant import Mutant, Part, Wrap, elsewhere

BEHIND_S = 60.0
"""How long a reaction that writes behind holds back what it has acknowledged."""
UNASKED_S = 1.0
"""How long after an outage one that lets everything through does so."""


@dataclass(frozen=True, kw_only=True)
class Reaction(Mutant):
    """A wrong kernel, and the fault under which it shows."""

    fault: str
    """The name of the fault."""
    also: tuple[str, ...] = ()
    """Other anomalies that show it as well; which one comes first is chance."""
    alone: tuple[str, ...] = ()
    """The kinds of state that are in the worker's memory."""

    @property
    def kinds(self) -> frozenset[str]:
        """The anomalies of which one must be found."""
        return frozenset({self.finds, *self.also})


REACTIONS: dict[str, Reaction] = {}
"""Every reaction, by name."""


def reaction(
    part: Part,
    breaks: str,
    finds: str,
    fault: str,
    *also: str,
    alone: tuple[str, ...] = (),
    patient: bool = False,
) -> Callable[[Callable[..., Any]], Reaction]:
    """List what is decorated; see `mutants.mutant.mutant`."""

    def listed(wrap: Callable[..., Any]) -> Reaction:
        name, wrong = wrap.__name__, " ".join((wrap.__doc__ or "").split())
        if not wrong or name in REACTIONS:
            raise TypeError(
                f"reaction {name}: needs a docstring that says what is wrong, and a name of its own"
            )
        env = {f"LAB_STATE_{kind.upper()}": "memory://" for kind in alone}
        if patient:  # no call may fail because its store is slow
            env["LAB_STORE_TIMEOUT_MS"] = "3000"
        REACTIONS[name] = Reaction(
            name=name, module=wrap.__module__, wrong=wrong, part=part, wrap=wrap, breaks=breaks, finds=finds,
            fault=fault, also=also, alone=alone, env=env,
        )  # fmt: skip
        return REACTIONS[name]

    return listed


def _later(effect: Callable[[Any], object], what: Any) -> None:
    """Have an effect after `BEHIND_S`, if the worker still lives."""
    timer = threading.Timer(BEHIND_S, effect, (what,))
    timer.daemon = True
    timer.start()


REST = ("limiter", "handles", "traces", "budget")
"""What a reaction of the revocations leaves in memory."""


class Tracks(Wrap):
    """Grants go on while the store is away: a token that cannot be tracked is granted all the same."""

    def track(self, *args: Any) -> None:
        try:
            self.right.track(*args)
        except StateUnavailable:
            return


class GoodWithoutAStore(Wrap):
    """A store that cannot be asked has revoked nothing."""

    def is_revoked(self, token_id: str) -> bool:
        try:
            return bool(self.right.is_revoked(token_id))
        except StateUnavailable:
            return False


@reaction("revocations", "revocation", "leak", "stop_store", "resurrection", alone=REST)
class AnswersNotRevokedWhileAway(GoodWithoutAStore):
    """Treats every token as good while the store is away, as a breaker with a default answer does."""


@reaction("revocations", "revocation", "leak", "kill_store", "resurrection", alone=REST)
class AnswersNotRevokedOfADeadStore(GoodWithoutAStore):
    """Treats every token as good as soon as the store has died."""


@reaction("revocations", "revocation", "leak", "stop_store", "resurrection", alone=REST)
class ServesStaleBeyondItsBound(Wrap):
    """Remembers for ever that a token was good when it was issued, and answers so while the store is away."""

    def __init__(self, right, settings):
        super().__init__(right, settings)
        self.good = set()

    def track(self, principal_id, token_id, expires_at):
        self.right.track(principal_id, token_id, expires_at)
        self.good.add(token_id)

    def is_revoked(self, token_id):
        try:
            return self.right.is_revoked(token_id)
        except StateUnavailable:
            if token_id in self.good:
                return False
            raise


@reaction("revocations", "revocation", "leak", "stop_store", "phantom", "resurrection", alone=REST)
class AnswersFromTheLastReply(Wrap):
    """Gives the last answer that the store gave, to whatever question, while the store is away."""

    last = False

    def is_revoked(self, token_id):
        try:
            self.last = self.right.is_revoked(token_id)
        except StateUnavailable:
            return self.last
        return self.last


@reaction("revocations", "revocation", "leak", "stop_store", alone=REST)
class AcknowledgesARevokeThatWasNotStored(Tracks):
    """Acknowledges a revocation that the store, which is away, never heard of."""

    def revoke(self, token_id):
        try:
            self.right.revoke(token_id)
        except StateUnavailable:
            return


@reaction("revocations", "revocation", "leak", "stop_store", "resurrection", alone=REST)
class ForgetsOnRecovery(Tracks):
    """Keeps revocations in memory while the store is away, and drops them when it is back."""

    def __init__(self, right, settings):
        super().__init__(right, settings)
        self.own = set()

    def revoke(self, token_id):
        try:
            self.right.revoke(token_id)
        except StateUnavailable:
            self.own.add(token_id)

    def is_revoked(self, token_id):
        try:
            found = self.right.is_revoked(token_id)
        except StateUnavailable:
            if token_id in self.own:
                return True
            raise
        self.own.clear()
        return found


@reaction("revocations", "revocation", "leak", "kill_worker", "resurrection", alone=REST)
class RevokesBehind(Wrap):
    """Acknowledges a revocation, refuses the token at once, and tells the store a minute later, if it still lives."""

    def __init__(self, right, settings):
        super().__init__(right, settings)
        self.own = set()

    def revoke(self, token_id):
        self.own.add(token_id)
        _later(self.right.revoke, token_id)

    def is_revoked(self, token_id):
        return token_id in self.own or self.right.is_revoked(token_id)


@reaction("revocations", "revocation", "leak", "stop_store", "resurrection", alone=REST)
class LetsThroughAfterAnOutage(Wrap):
    """Refuses while the store is away, and asks nothing in the second after it came back."""

    away_s = float("-inf")
    back_s = float("-inf")

    def is_revoked(self, token_id):
        try:
            found = self.right.is_revoked(token_id)
        except StateUnavailable:
            self.away_s = time.monotonic()
            raise
        if self.away_s > self.back_s:
            self.back_s = time.monotonic()
        return found and time.monotonic() - self.back_s > UNASKED_S


@reaction("revocations", "revocation", "leak", "slow_store", "resurrection", alone=REST)
class TakesASlowAnswerForNo(Wrap):
    """Treats a token as good where the answer took longer than 20 ms."""

    def is_revoked(self, token_id):
        asked_s = time.monotonic()
        try:
            found = self.right.is_revoked(token_id)
        except StateUnavailable:
            return False
        return found and time.monotonic() - asked_s < 0.02


def goes_on_after_a_restart(settings: Settings) -> Settings:
    """The settings, changed so that a store that came back empty is used as it is."""
    return settings.model_copy(update={"state": f"{settings.state}?restarted=accept"})


@reaction("settings", "revocation", "leak", "kill_store", "resurrection", alone=REST)
def trusts_a_store_that_came_back_empty(settings):
    """Goes on with a store that was restarted and has kept nothing."""
    return goes_on_after_a_restart(settings)


@reaction("settings", "revocation", "leak", "kill_worker", "resurrection", alone=REST)
def keeps_revocations_in_the_worker(settings):
    """Keeps revocations in the worker's memory, because that is quicker."""
    return elsewhere(settings, "revocations")


@reaction("tokens", "revocation", "leak", "stop_store", "resurrection", alone=REST)
class VerifiesTheSignatureAlone(Wrap):
    """Treats a token that it cannot look up as good, because the signature is right."""

    def verify(self, token, **expected):
        try:
            return self.right.verify(token, **expected)
        except StateUnavailable:
            return None


@reaction("revocations", "revocation", "leak", "stop_store", "resurrection", alone=REST)
class StartsOverWhileAway(Tracks):
    """Revokes and looks up in an empty store of its own while the shared one is away."""

    def __init__(self, right, settings):
        super().__init__(right, settings)
        self.own = InMemoryRevocationStore()

    def is_revoked(self, token_id):
        try:
            return self.right.is_revoked(token_id)
        except StateUnavailable:
            return self.own.is_revoked(token_id)


NO_LIMITER = ("revocations", "handles", "traces", "budget")


@reaction("limiter", "rate_limit", "over_admission", "stop_store", alone=NO_LIMITER)
class AdmitsWhileAway(Wrap):
    """Admits every grant while the store is away."""

    def acquire(self, key, limit, window_seconds):
        try:
            return self.right.acquire(key, limit, window_seconds)
        except StateUnavailable:
            return True


@reaction("limiter", "rate_limit", "over_admission", "stop_store", alone=NO_LIMITER)
class CountsAloneWhileAway(Wrap):
    """Counts in an empty window of its own while the store is away."""

    def __init__(self, right, settings):
        super().__init__(right, settings)
        self.own = RateLimiter()

    def acquire(self, key, limit, window_seconds):
        try:
            return self.right.acquire(key, limit, window_seconds)
        except StateUnavailable:
            fits = self.own.check(key, limit, window_seconds)
            if fits:
                self.own.record(key)
            return fits


@reaction("limiter", "rate_limit", "over_admission", "stop_store", alone=NO_LIMITER)
class BeginsANewWindowAfterAnOutage(Wrap):
    """Refuses while the store is away, and counts from zero when it is back."""

    outages = 0
    away = False

    def acquire(self, key, limit, window_seconds):
        try:
            fits = self.right.acquire(f"{key}#{self.outages}", limit, window_seconds)
        except StateUnavailable:
            self.away = True
            raise
        if self.away:
            self.away, self.outages = False, self.outages + 1
        return fits


@reaction("limiter", "rate_limit", "wrongful_denial", "stop_store", alone=NO_LIMITER)
class DeniesWhileAway(Wrap):
    """Says that the limit is reached while the store is away, instead of that nobody knows."""

    def acquire(self, key, limit, window_seconds):
        try:
            return self.right.acquire(key, limit, window_seconds)
        except StateUnavailable:
            return False


@reaction("settings", "rate_limit", "over_admission", "kill_worker", alone=NO_LIMITER)
def keeps_windows_in_the_worker(settings):
    """Keeps the windows in the worker's memory, because that is quicker."""
    return elsewhere(settings, "limiter")


NO_HANDLES = ("revocations", "limiter", "traces", "budget")


@reaction("handles", "handles", "miss", "stop_store", alone=NO_HANDLES)
class SaysNotFoundWhileAway(Wrap):
    """Says that there is no such handle while the store is away."""

    def get_meta(self, handle_id):
        try:
            return self.right.get_meta(handle_id)
        except StateUnavailable:
            raise HandleNotFound(handle_id) from None


@reaction("handles", "handles", "early_expiry", "stop_store", alone=NO_HANDLES)
class SaysExpiredWhileAway(Wrap):
    """Says that a handle has expired while the store is away."""

    def get_meta(self, handle_id):
        try:
            return self.right.get_meta(handle_id)
        except StateUnavailable:
            raise HandleExpired(handle_id) from None


@reaction("settings", "handles", "miss", "kill_store", alone=NO_HANDLES)
def returns_handles_of_a_store_that_was_reset(settings):
    """Goes on with a store that was restarted empty, and has handed out handles whose data is gone."""
    return goes_on_after_a_restart(settings)


@reaction("settings", "handles", "miss", "kill_worker", alone=NO_HANDLES)
def keeps_handles_in_the_worker(settings):
    """Keeps handles in the worker's memory, because they are large."""
    return elsewhere(settings, "handles")


NO_TRACES = ("revocations", "limiter", "handles", "budget")


@reaction("traces", "traces", "lost_trace", "stop_store", alone=NO_TRACES)
class DropsTracesWhileAway(Wrap):
    """Carries out what it is asked while the store is away, and records nothing of it."""

    def record(self, trace):
        try:
            self.right.record(trace)
        except StateUnavailable:
            return


@reaction("traces", "traces", "lost_trace", "stop_store", alone=NO_TRACES)
class SaysNoTraceWhileAway(Wrap):
    """Says that nothing was ever done while the store is away."""

    def get(self, action_id):
        try:
            return self.right.get(action_id)
        except StateUnavailable:
            raise AgentKernelError(f"No action trace found for action_id='{action_id}'.") from None


@reaction("traces", "traces", "lost_trace", "kill_worker", alone=NO_TRACES)
class RecordsBehind(Wrap):
    """Acknowledges an action, and records it a minute later, if it still lives."""

    def __init__(self, right, settings):
        super().__init__(right, settings)
        self.own = {}

    def record(self, trace):
        self.own[trace.action_id] = trace
        _later(self.right.record, trace)

    def get(self, action_id):
        return self.own.get(action_id) or self.right.get(action_id)


NO_BUDGET = ("revocations", "limiter", "handles", "traces")


# a call that failed may have been charged, which would hide the second charge
@reaction("budget", "budget", "inflated_use", "slow_store", alone=NO_BUDGET, patient=True)
class RetriesASlowCharge(Wrap):
    """Charges once more where the charge took longer than 5 ms, as a client with a retry does."""

    async def record_usage(self, actual, *, reserved=None):
        asked_s = time.monotonic()
        await self.right.record_usage(actual, reserved=reserved)
        if time.monotonic() - asked_s > 0.005:
            await self.right.record_usage(actual, reserved=0)


@reaction("settings", "tokens", "rejected", "kill_worker", alone=(*REST, "revocations"))
def signs_with_a_secret_of_its_own_life(settings):
    """Draws its secret when the worker starts, so the tokens of the worker before it are worth nothing."""
    return settings.model_copy(update={"secret": secrets.token_hex(32)})
