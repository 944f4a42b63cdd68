"""Revocation stores that lose, delay or invent revocations."""

from __future__ import annotations

import datetime as dt
import math
import time
from functools import partial

from lab.state import StateUnavailable
from mutants.mutant import Wrap, elsewhere, later, mutant

leaks = partial(mutant, breaks="revocation", finds="leak")
resurrects = partial(mutant, breaks="revocation", finds="resurrection")
invents = partial(mutant, breaks="revocation", finds="phantom")


@leaks("settings", bitten="https://github.com/benoitc/gunicorn/issues/2733")
def revocations_per_worker(settings):
    """Every worker has a list of its own."""
    return elsewhere(settings, "revocations")


@leaks("revocations")
class Deaf(Wrap):
    """Answers a revoke and does nothing."""

    def revoke(self, token_id):
        pass


class Delayed(Wrap):
    """Revokes some time after it has said so."""

    DELAY_S = 0.0

    def revoke(self, token_id):
        later(self.DELAY_S, self.right.revoke, token_id)

    def revoke_principal(self, principal_id):
        later(self.DELAY_S, self.right.revoke_principal, principal_id)
        return 0


@leaks("revocations", lag_ms=150)
class DelayedBy150Ms(Delayed):
    """Answers a revoke at once, and carries it out 150 ms later."""

    DELAY_S = 0.150


@leaks("revocations", lag_ms=15)
class DelayedBy15Ms(Delayed):
    """Answers a revoke at once, and carries it out 15 ms later."""

    DELAY_S = 0.015


class Cached(Wrap):
    """Each worker keeps the store's answer about a token."""

    KEPT_S = 0.3

    def __init__(self, right, settings):
        super().__init__(right, settings)
        self.known = {}

    def is_revoked(self, token_id):
        revoked, at_s = self.known.get(token_id, (False, -math.inf))
        if time.monotonic() - at_s > self.KEPT_S:
            revoked = self.right.is_revoked(token_id)
            self.known[token_id] = revoked, time.monotonic()
        return revoked


@leaks("revocations")
class CachesFor300Ms(Cached):
    """Each worker asks the store about a token only once in 300 ms."""


@leaks("revocations", bitten="https://github.com/BerriAI/litellm/issues/9820")
class CachesForEver(Cached):
    """Each worker asks the store about a token only once."""

    KEPT_S = math.inf


@leaks("revocations", bitten="https://github.com/wazuh/wazuh/pull/38616")
class LostWakeUp(Cached):
    """Remembers answers for 900 ms. One flag tells all workers of a change, and the first that sees it clears it."""

    KEPT_S = 0.9

    def __init__(self, right, settings):
        super().__init__(right, settings)
        self.flag = right._file.path.with_name("revoked.flag")

    def is_revoked(self, token_id):
        if self.flag.exists():
            self.flag.unlink(missing_ok=True)
            self.known.clear()
        return super().is_revoked(token_id)

    def revoke(self, token_id):
        self.right.revoke(token_id)
        self.flag.touch()


@leaks("revocations", home="one", bitten="https://github.com/BerriAI/litellm/issues/25553")
class WriteBack(Wrap):
    """A check writes its value back 50 ms later, when its invoke has ended, and overwrites a revoke in between."""

    def is_revoked(self, token_id):
        revoked = self.right.is_revoked(token_id)
        if not revoked:
            later(0.050, self.right._revoked.discard, token_id)
        return revoked


@leaks("revocations", home="one")
class LostUnderFire(Wrap):
    """Loses a revoke that arrives within 5 ms of a check of the same token."""

    def is_revoked(self, token_id):
        self.__dict__.setdefault("checked_s", {})[token_id] = time.monotonic()
        return self.right.is_revoked(token_id)

    def revoke(self, token_id):
        if time.monotonic() - self.__dict__.get("checked_s", {}).get(token_id, -1) > 0.005:
            self.right.revoke(token_id)


@resurrects("revocations", home="one")
class ForgetsAfterHalfASecond(Wrap):
    """Keeps a revocation for half a second."""

    def revoke(self, token_id):
        self.right.revoke(token_id)
        later(0.5, self.right._revoked.discard, token_id)


@resurrects("revocations", home="one")
class SweepsTooEarly(Wrap):
    """Sweeps the revocations of tokens that have another second to live."""

    def is_revoked(self, token_id):
        self.right.sweep_expired(dt.datetime.fromtimestamp(time.time() + 1, dt.UTC))
        return self.right.is_revoked(token_id)


@resurrects("settings", home="single", workers=1, restarts_s=(0.6,))
def restart_forgets_revocations(settings):
    """Keeps its revocations in memory, and is restarted."""
    return settings


@resurrects("revocations")
class Flaps(Wrap):
    """Asks two copies of the store in turn, of which one has never heard of any revocation."""

    def is_revoked(self, token_id):
        return self.right.is_revoked(token_id) and self.every(2)


@resurrects("revocations")
class HalfDone(Wrap):
    """Revokes on one worker only, because the store fails in between, and answers 503."""

    def is_revoked(self, token_id):
        return token_id in self.__dict__.setdefault("own", set())

    def revoke(self, token_id):
        self.__dict__.setdefault("own", set()).add(token_id)
        raise StateUnavailable("the store did not answer")


@leaks("revocations")
class RevokesAllOfItsOwn(Wrap):
    """Revokes only those of a principal's tokens that this worker has issued."""

    def track(self, principal_id, token_id, expires_at):
        self.__dict__.setdefault("issued", []).append((principal_id, token_id))
        self.right.track(principal_id, token_id, expires_at)

    def revoke_principal(self, principal_id):
        own = [token for principal, token in self.__dict__.get("issued", ()) if principal == principal_id]
        for token in own:
            self.right.revoke(token)
        return len(own)


@leaks("revocations", home="one")
class RevokesTheNewest(Wrap):
    """Keeps one token a principal in its index, the newest."""

    def track(self, principal_id, token_id, expires_at):
        self.right._principal_tokens.pop(principal_id, None)
        self.right.track(principal_id, token_id, expires_at)


@leaks("revocations")
class LosesOneInFive(Wrap):
    """Loses one revocation in five."""

    def revoke(self, token_id):
        if not self.every(5):
            self.right.revoke(token_id)


@invents("revocations", home="one")
class BansThePrincipal(Wrap):
    """Refuses every later token of a principal whose tokens were all revoked."""

    def track(self, principal_id, token_id, expires_at):
        self.right.track(principal_id, token_id, expires_at)
        if principal_id in self.__dict__.get("banned", ()):
            self.right.revoke(token_id)

    def revoke_principal(self, principal_id):
        self.__dict__.setdefault("banned", set()).add(principal_id)
        return self.right.revoke_principal(principal_id)


@invents("revocations", home="one", bitten="https://github.com/wazuh/wazuh/issues/35043")
class WholeSeconds(Wrap):
    """Refuses a principal's grants from before a revoke of all, and reads the time in whole seconds."""

    def track(self, principal_id, token_id, expires_at):
        self.__dict__.setdefault("issued", {})[token_id] = principal_id, int(time.time())
        self.right.track(principal_id, token_id, expires_at)

    def revoke_principal(self, principal_id):
        self.__dict__.setdefault("until_s", {})[principal_id] = int(time.time())
        return 0

    def is_revoked(self, token_id):
        principal_id, issued_s = self.__dict__.get("issued", {}).get(token_id, ("", 0))
        return self.right.is_revoked(token_id) or issued_s <= self.__dict__.get("until_s", {}).get(
            principal_id, -1
        )


@invents("revocations", home="one")
class RevokesEverybody(Wrap):
    """Revokes the tokens of all principals where the tokens of one principal should be revoked."""

    def revoke_principal(self, principal_id):
        return sum(self.right.revoke_principal(other) for other in list(self.right._principal_tokens))


@invents("revocations", home="one")
class RevokesSiblings(Wrap):
    """Revokes all of a principal's tokens where only one should be revoked."""

    def revoke(self, token_id):
        for principal_id, tokens in list(self.right._principal_tokens.items()):
            if token_id in tokens:
                self.right.revoke_principal(principal_id)
        self.right.revoke(token_id)


@invents("revocations")
class RefusesOneInTwenty(Wrap):
    """Refuses one token in twenty that nobody has revoked, as a small filter would."""

    def is_revoked(self, token_id):
        return self.every(20) or self.right.is_revoked(token_id)


@invents("revocations", home="one")
class ComparesPrefixes(Wrap):
    """Compares the first digit of a token's id only."""

    def is_revoked(self, token_id):
        return any(revoked.startswith(token_id[:1]) for revoked in self.right._revoked)


@invents("revocations", home="one")
class RevokesBeforehand(Wrap):
    """Revokes every token a fifth of a second after it was tracked."""

    def track(self, principal_id, token_id, expires_at):
        self.right.track(principal_id, token_id, expires_at)
        later(0.2, self.right.revoke, token_id)


class LateElsewhere(Wrap):
    """The worker that revoked knows it at once, and the others some time later."""

    DELAY_S = 0.0

    def is_revoked(self, token_id):
        return token_id in self.__dict__.get("own", ()) or self.right.is_revoked(token_id)

    def revoke(self, token_id):
        self.__dict__.setdefault("own", set()).add(token_id)
        later(self.DELAY_S, self.right.revoke, token_id)


@leaks("revocations")
class LateElsewhereBy5Ms(LateElsewhere):
    """Other workers hear of a revocation 5 ms later."""

    DELAY_S = 0.005


@leaks("revocations")
class LateElsewhereBy20Ms(LateElsewhere):
    """Other workers hear of a revocation 20 ms later."""

    DELAY_S = 0.020


@leaks("revocations", home="one")
class RevokesTenAtMost(Wrap):
    """Revokes only the first ten of a principal's tokens."""

    def revoke_principal(self, principal_id):
        tokens = sorted(self.right._principal_tokens.get(principal_id, ()))[:10]
        for token_id in tokens:
            self.right.revoke(token_id)
        return len(tokens)


@leaks("revocations")
class LosesOneInTen(Wrap):
    """Loses one revocation in ten."""

    def revoke(self, token_id):
        if not self.every(10):
            self.right.revoke(token_id)


@resurrects("revocations", home="one")
class ForgetsAfterASecond(Wrap):
    """Keeps a revocation for a second."""

    def revoke(self, token_id):
        self.right.revoke(token_id)
        later(1.0, self.right._revoked.discard, token_id)


@resurrects("revocations")
class AcceptsOneInTwenty(Wrap):
    """Does not find one revocation in twenty when it is asked."""

    def is_revoked(self, token_id):
        return self.right.is_revoked(token_id) and not self.every(20)


@leaks("revocations", home="one")
class RevokesAllButTheNewest(Wrap):
    """Revokes all of a principal's tokens but the one that was granted last."""

    def track(self, principal_id, token_id, expires_at):
        self.__dict__.setdefault("newest", {})[principal_id] = token_id
        self.right.track(principal_id, token_id, expires_at)

    def revoke_principal(self, principal_id):
        count = self.right.revoke_principal(principal_id)
        self.right._revoked.discard(self.__dict__.get("newest", {}).get(principal_id))
        return count
